"""Silhouettes in a common frame, and how well one of them explains a place of a picture.

A shape is brought to a frame by its centre and spread (Hu, IRE Transactions on Information Theory 8(2),
1962). Candidates are found by correlation in a small frame. Each is then held against the picture itself: the
silhouette is laid over the place, moved, turned and scaled a little to where it fits best, and compared with
how far every pixel there is from the colour inside. Flat drawings have one colour inside, another outside,
and the edge between them all along the outline; what only looks like the shape at 32 pixels has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.guardrails.trademark._regions import Region, spread_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ANGLES",
    "FEATURES",
    "FINE",
    "FRAME",
    "Silhouette",
    "embed",
    "features",
    "framed",
    "silhouette",
    "unit",
]

FRAME, FINE = 32, 64
"""Sides of the frames: for finding candidates, and for comparing with the picture."""

ANGLES = (-7.0, 7.0, -14.0, 0.0, 14.0)
"""Degrees by which a region is turned to find candidates; the first two to see which are worth the others."""

FEATURES = (
    "likeness", "over usual", "separation", "gain", "spread inside", "contrast", "agreement", "overlap",
    "outline", "parts", "share", "size",
)  # fmt: skip
"""What `features` returns, in order. Likenesses are stretched: 0.95 is as far from 0.9 as that from 0.8."""

_SPREAD = 6.5  # pixels of the small frame that one spread takes
_ROOM = 8  # pixels around the fine frame that a silhouette may be moved into
_FAR = 60.0  # colour distance from which pixels are simply other


@dataclass(frozen=True, slots=True, eq=False)
class Silhouette:
    """What is known of one mark: which pixels of the fine frame it has, which lie in it or around it."""

    inside: NDArray[np.bool_]
    zone: NDArray[np.bool_]
    core: NDArray[np.bool_]
    outline: float
    parts: float
    share: float

    @classmethod
    def of(cls, shape: NDArray[np.bool_]) -> Silhouette:
        """Make one of a shape [FINE, FINE]."""
        import cv2
        import numpy as np

        bits = shape.astype(np.uint8)
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
        core = cv2.erode(bits, np.ones((3, 3), np.uint8))
        if int(core.sum()) < 40:
            core = bits
        lines, _ = cv2.findContours(bits, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        length = sum(cv2.arcLength(line, True) for line in lines)
        area = max(1.0, float(bits.sum()))
        return cls(
            shape, cv2.dilate(bits, around) > 0, core > 0, float(np.log(max(1.0, length) / area**0.5)),
            float(np.log1p(len(lines))), area / bits.size,
        )  # fmt: skip


def unit(rows: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with mean 0 and length 1: their products are correlations."""
    import numpy as np

    flat = rows.astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)


def framed(mask: NDArray[np.uint8], side: int = FINE, angle: float = 0.0) -> NDArray[np.uint8]:
    """Return a mask (0 or 255) in the common frame [side, side], turned by `angle` degrees."""
    import cv2
    import numpy as np

    x, y, spread = spread_of(mask)
    scale = _SPREAD * side / FRAME / spread
    if scale < 1:  # keep thin strokes when shrinking
        mask = cv2.GaussianBlur(mask, (0, 0), 0.5 / scale)
    return np.asarray(
        cv2.warpAffine(mask, _into(x, y, scale, angle, side), (side, side), flags=cv2.INTER_LINEAR), np.uint8
    )


def embed(masks: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return masks of the common frame of any side as rows [masks, FRAME * FRAME], blurred a little."""
    import cv2
    import numpy as np

    rows = np.empty((len(masks), FRAME * FRAME), dtype=np.uint8)
    for number, mask in enumerate(masks):
        small = (
            mask if mask.shape[0] == FRAME else cv2.resize(mask, (FRAME, FRAME), interpolation=cv2.INTER_AREA)
        )
        rows[number] = cv2.GaussianBlur(small, (0, 0), 0.8).reshape(-1)
    return rows


def features(
    lab: NDArray[np.float32], region: Region, mark: Silhouette, *, angle: float, likeness: float, over: float
) -> NDArray[np.float32]:
    """Return what tells a mark from a chance likeness, as `FEATURES` names it.

    `lab` is the picture in CIE L*a*b* [height, width, 3]; `likeness` the correlation in the small frame at
    `angle`, `over` how far that is above what regions of ordinary pictures reach with this mark.
    """
    import cv2
    import numpy as np

    side = FINE + 2 * _ROOM
    scale = _SPREAD * FINE / FRAME / region.spread
    place = cv2.warpAffine(
        lab, _into(region.x - 0.5, region.y - 0.5, scale, angle, side), (side, side),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    middle = place[_ROOM : _ROOM + FINE, _ROOM : _ROOM + FINE]
    colour = np.median(middle[mark.core], axis=0)
    away = np.minimum(np.sqrt(((place - colour) ** 2).sum(2)), _FAR).astype(np.float32)
    first, best, fit = _fitted(away, mark)
    inside, outside = best[mark.inside], best[mark.zone & ~mark.inside]
    contrast = float(np.median(outside))
    edge = max(4.0, 0.5 * contrast)
    agreement = (float((outside > edge).mean()) + float((inside <= edge).mean())) / 2
    shape = cv2.warpAffine(framed(region.mask, FINE, angle), fit, (FINE, FINE)) > 127
    both, either = int((shape & mark.inside).sum()), int((shape | mark.inside).sum())
    noise = float(np.percentile(inside, 80))
    return np.array(
        [
            _stretched(likeness), over, _stretched(first[1]), first[1] - first[0],
            np.log1p(noise) - np.log1p(contrast), np.log1p(contrast), _stretched(agreement),
            _stretched(both / max(1, either)), mark.outline, mark.parts, mark.share, np.log(region.spread),
        ],
        dtype=np.float32,
    )  # fmt: skip


def _stretched(share: float) -> float:
    import math

    return -math.log(max(1e-3, 1.02 - share))


def _fitted(
    away: NDArray[np.float32], mark: Silhouette
) -> tuple[tuple[float, float], NDArray[np.float32], NDArray[np.float64]]:
    """Move a silhouette to where it fits best.

    Returns the correlation before and after, the place in the fine frame, and the movement in that frame.
    """
    import cv2
    import numpy as np

    where = np.flatnonzero(mark.zone)
    wanted = (~mark.inside.reshape(-1)[where]).astype(np.float32)
    wanted -= wanted.mean()
    wanted /= max(1e-6, float(np.linalg.norm(wanted)))

    def look(at: tuple[float, ...]) -> tuple[float, NDArray[np.float32]]:
        turn = _moved(at, FINE + 2 * _ROOM)
        turn[:, 2] -= _ROOM
        seen = cv2.warpAffine(away, turn, (FINE, FINE), flags=cv2.INTER_LINEAR)
        row = seen.reshape(-1)[where]
        row = row - row.mean()
        length = float(np.linalg.norm(row))
        return (float(row @ wanted) / length if length > 1e-3 else 0.0), seen

    at = [0.0, 0.0, 0.0, 1.0]
    start, place = look(tuple(at))
    best = start
    steps = [1.2, 1.2, 3.0, 0.04]
    for _ in range(3):
        for axis in range(4):
            for sign in (1, -1):
                trial = [*at]
                trial[axis] += sign * steps[axis]
                value, seen = look(tuple(trial))
                if value > best:
                    best, place, at = value, seen, trial
                    break
        steps = [0.55 * step for step in steps]
    return (start, best), place, _moved(tuple(at), FINE)


def _moved(at: tuple[float, ...], side: int) -> NDArray[np.float64]:
    import cv2
    import numpy as np

    centre = side / 2 - 0.5
    turn: NDArray[np.float64] = cv2.getRotationMatrix2D((centre, centre), at[2], at[3])
    turn[:, 2] += np.array(at[:2])
    return turn


def _into(x: float, y: float, scale: float, angle: float, side: int) -> NDArray[np.float64]:
    """Return what brings a place of a picture into the middle of a frame."""
    import cv2
    import numpy as np

    turn: NDArray[np.float64] = cv2.getRotationMatrix2D((x, y), angle, scale)
    turn[:, 2] += side / 2 - 0.5 - np.array([x, y])
    return turn


@lru_cache(maxsize=4096)
def silhouette(bits: bytes) -> Silhouette:
    """Return the silhouette of a shape given as packed bits; kept, for the same marks come up again."""
    import numpy as np

    return Silhouette.of(np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(FINE, FINE).astype(bool))
