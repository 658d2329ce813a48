"""How strong the mark may be at each pixel: what hides in texture, in darkness, in ink and on its edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._front import DETAIL, activity, blur

__all__ = ["FLAT", "edges", "ink", "mask", "near", "outline", "texture"]

Floats = npt.NDArray[np.float32]

FLAT = 0.91
"""Strength in flat areas that is not passed for the sake of robustness: root mean square, in grey levels."""

AIM_PSNR = 40.3
"""Where texture hides more than it must, the mark may use it down to here, in dB."""

EXPONENTS = (0.5, 0.8)
"""How strength grows with the power of what hides it: at least so, and at most."""

FINE_DETAIL, FINE_GAIN = 1.5, 3.0
BETWEEN, BETWEEN_GAIN = 2.0, 10.0
"""Detail that counts as grain, and what each grey level of it hides; how much activity hides where there is
no grain, and how much more with each grey level of it."""

DARK = 0.7
"""Strength in flat dark areas over that in flat bright ones, between which it rises from 100 to 200 grey
levels: what cannot be seen on white is seen as mottle in a dusky sky."""

LOUD_PSNR = 39.2
NEAR_EDGES, NEAR_HEIGHT, NEAR_REACH = 3.0, 60.0, 0.02
"""What is spent where the quiet mark does not hold out: PSNR, strength near an edge of that height and more,
and how far from it, as a share of the shortest side."""

OUTLASTS, ENDS = (34.0, 222.0), 10.0
"""Grey levels between which contrast at 1.4 times leaves something, and over how many it begins and ends."""

SURVIVES = 195.0
"""Grey level from which on brightening by 1.3 leaves only white."""


def texture(plane: Floats) -> Floats:
    """Return how much more noise hides at each pixel than in a flat area, as a power: 1 in flat areas.

    Noise hides in texture but not beside an edge. The smallest activity around counts, over as far as a lone
    edge is felt, so both of its sides stay as clean as they were.
    """
    import cv2

    detail = plane - blur(plane, FINE_DETAIL)
    fine = cv2.erode(np.sqrt(blur(detail * detail, FINE_DETAIL)), np.ones((9, 9), np.uint8))
    broad = cv2.erode(activity(plane)[1], np.ones((31, 31), np.uint8))
    # Grain of half a grey level is what rounding leaves in flat areas.
    grain = np.maximum(fine - 0.5, 0)
    # Between two edges that are near each other it is not flat around, and yet nothing is there to hide in.
    out: Floats = 1 + np.maximum(FINE_GAIN * grain, np.clip(broad - 1, 0, BETWEEN + BETWEEN_GAIN * grain))
    return out


def mask(plane: Floats, loud: float = 0.0, power: Floats | None = None) -> Floats:
    """Return the strength of the mark at each pixel: 1 in flat areas, more in texture.

    The root of texture is what hides anywhere; more of it is used as long as the picture's PSNR allows it.
    `loud`, from 0 to 1, is how much of what is kept back elsewhere is spent: in the dark, and near edges.
    `power` is `texture(plane)`, where it is known.
    """
    power = texture(plane) if power is None else power
    logs = np.log(power[::4, ::4])
    room = (255 * 10 ** (-(AIM_PSNR + loud * (LOUD_PSNR - AIM_PSNR)) / 20) / FLAT) ** 2
    low, high = EXPONENTS
    for _ in range(5):
        between = (low + high) / 2
        low, high = (between, high) if float(np.exp(2 * between * logs).mean()) < room else (low, between)
    dark = (1 - loud) * (1 - DARK) * np.clip((200 - blur(plane, DETAIL)) / 100, 0, 1)
    quiet = blur((power**low * (1 - dark / power)).astype(np.float32), 2.0)
    if not loud:
        return quiet
    out: Floats = np.sqrt(quiet**2 + (NEAR_EDGES * loud * near(plane)) ** 2)
    return out


def near(plane: Floats) -> Floats:
    """Return from 0 to 1 how much an edge hides around it, as it does what compression leaves beside it."""
    import cv2

    reach = max(2, round(NEAR_REACH * min(plane.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    height = cv2.dilate(np.minimum(edges(plane) / NEAR_HEIGHT, 1), disc)
    return blur(height, reach / 2)


def ink(plane: Floats) -> Floats:
    """Return 1 where `plane` is darker than paper, two pixels beyond it too, and 0 elsewhere."""
    import cv2

    dark = np.clip((SURVIVES - plane) / 20, 0, 1).astype(np.float32)
    return blur(cv2.dilate(dark, np.ones((3, 3), np.uint8)), 1.0)


def edges(plane: Floats) -> Floats:
    """Return the height of the edge at each pixel."""
    import cv2

    square = np.ones((3, 3), np.uint8)
    return blur(cv2.dilate(plane, square) - cv2.erode(plane, square), 0.7)


def outline(plane: Floats) -> Floats:
    """Return the height of the edge at each pixel that outlasts contrast, and beside it; 0 elsewhere."""
    import cv2

    low, high = OUTLASTS
    lasts = np.clip((high - plane) / ENDS, 0, 1) * np.clip((plane - low) / ENDS, 0, 1)
    out: Floats = edges(plane) * cv2.dilate(lasts, np.ones((3, 3), np.uint8))
    return out
