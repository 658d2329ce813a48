"""From a picture to the spectrum in which the carrier lies: canonical size, whitening, folding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._carrier import TILE, Carrier

__all__ = [
    "SIDES",
    "activity",
    "blur",
    "canonical",
    "equalised",
    "fold",
    "middle",
    "on_all",
    "resized",
    "spectrum",
    "whiten",
]

SIDES = (512, 362, 256)
"""Shortest side of a picture at each of the canonical sizes, in pixels, the finest first.

At the finest every picture holds at least four tiles, which crops of strong texture need. At the coarsest the
same carrier lies an octave lower, where compression leaves more of it: for small pictures and flat drawings.
"""

LONGEST = 8
"""Longest side that is looked at, in shortest sides: of a longer strip only the middle."""

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]

DETAIL = 4.0
LOCAL = 3.5
NEAR = 1.2
FLOOR = 3.0
LIMIT = 2.5


def blur(plane: Floats, sigma: float) -> Floats:
    """Return `plane` after a Gaussian of `sigma` pixels, mirrored at the border."""
    import cv2

    out: Floats = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return out


def resized(plane: Floats, width: int, height: int) -> Floats:
    """Return `plane` at another size: by area when it shrinks, cubic when it grows."""
    import cv2

    shrinks = width < plane.shape[1]
    out: Floats = cv2.resize(
        plane, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return out


def on_all(plane: Floats, like: Floats) -> Floats:
    """Return `plane` itself, or once for each channel where `like` has three."""
    import cv2

    return plane if like.ndim == 2 else np.asarray(cv2.merge([plane] * 3))


def canonical(plane: Floats, side: int) -> Floats:
    """Return luma, or a picture, at the canonical size of shortest side `side`."""
    height, width = plane.shape[:2]
    scale = side / min(height, width)
    return resized(plane, max(side, round(width * scale)), max(side, round(height * scale)))


def middle(plane: Floats) -> Floats:
    """Return `plane`, or of a strip the middle that is LONGEST times as long as it is wide."""
    limit = LONGEST * min(plane.shape)
    top, left = (max(0, (length - limit) // 2) for length in plane.shape)
    return plane[top : top + limit, left : left + limit]


def activity(plane: Floats) -> tuple[Floats, Floats]:
    """Return the detail of `plane` (without its local mean) and how strong it is around each pixel."""
    detail = plane - blur(plane, DETAIL)
    return detail, np.sqrt(np.maximum(blur(detail * detail, LOCAL), 0))


def whiten(plane: Floats) -> Floats:
    """Return what of `plane` its surroundings do not explain, weighed against its local strength.

    The surroundings are a median, so that edges go with the picture and not with the mark: an outline that is
    taken for noise drowns all that lies beside it. Divided once by its local strength, the rest has the same
    power everywhere; outliers are clipped there. A further division by the root of that strength makes up for
    the mask, which gave flat areas less than their share of noise.
    """
    import cv2

    detail: Floats = cv2.subtract(plane, _median(plane))
    strength = blur(cv2.multiply(detail, detail), NEAR)
    np.maximum(strength, 0, out=strength)
    cv2.sqrt(strength, strength)
    strength += np.float32(FLOOR)
    detail /= strength
    np.minimum(detail, LIMIT, out=detail)
    np.maximum(detail, -LIMIT, out=detail)
    detail /= cv2.sqrt(strength, strength)
    return detail


def _median(plane: Floats) -> Floats:
    """Return the median of 25 places around each pixel, two pixels apart: 9 x 9 for the price of 5 x 5."""
    import cv2

    grey = cv2.add(plane, 0.0, dtype=cv2.CV_8U)
    out = np.empty(grey.shape, np.float32)
    for top in range(2):
        for left in range(2):
            part = np.ascontiguousarray(grey[top::2, left::2])
            out[top::2, left::2] = cv2.medianBlur(part, 5)
    return out


def fold(plane: Floats) -> Floats:
    """Return the sum of all tiles of `plane`: TILE x TILE."""
    height, width = plane.shape
    down, right = math.ceil(height / TILE), math.ceil(width / TILE)
    padded = np.zeros((down * TILE, right * TILE), np.float32)
    padded[:height, :width] = plane
    out: Floats = padded.reshape(down, TILE, right, TILE).sum((0, 2))
    return out


def spectrum(tile: Floats, carrier: Carrier) -> Complex:
    """Return the spectrum of a folded tile on the carrier's frequencies."""
    import cv2

    whole = cv2.dft(tile, flags=cv2.DFT_COMPLEX_OUTPUT).view(np.complex64)
    out: Complex = whole[carrier.fy % TILE, carrier.fx, 0]
    return out


def equalised(values: Complex, radius: Floats) -> Complex:
    """Return `values` with the same strength in every ring of frequencies."""
    ring = (radius / 2).astype(np.intp)
    power = np.bincount(ring, np.abs(values) ** 2) / np.maximum(np.bincount(ring), 1)
    smooth = np.convolve(np.pad(power, 1, "edge"), (0.25, 0.5, 0.25), "valid")
    out: Complex = (values / np.sqrt(smooth[ring] + 1e-12)).astype(np.complex64)
    return out
