"""Regions of one colour: what could be a flat drawing laid over a picture.

A picture is reduced to a few colours, twice (coarsely and finely); what hangs together in one colour is a
region, and so are groups of parts of one colour that lie near one another. What touches the picture's edge is
cut off there and has no shape to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearmark.core import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Region", "regions", "spread_of"]

_SIDE = 320
_COLOURS = (6, 12)
_REACHES = (0, 5, 11, 21)  # pixels that parts of one group may be apart
_LEAST, _LARGEST = 0.06, 0.9  # shares of the longest side that a region's longer side may have
_THIN, _FEW = 8, 60  # least shorter side, least pixels
_MOST = 400
_SAMPLE = 4000


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A mask [height, width] of 0 and 255, and where it lies in the picture: box, centre and spread."""

    mask: NDArray[np.uint8]
    box: Box
    x: float
    y: float
    spread: float

    def near(self, other: Region) -> bool:
        """Whether both lie at one place and are of one size."""
        reach = 0.5 * min(self.spread, other.spread)
        return (
            abs(self.x - other.x) < reach
            and abs(self.y - other.y) < reach
            and 0.8 < self.spread / other.spread < 1.25
        )


def spread_of(mask: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return centre and spread of a mask: the mean deviation of its pixels from the centre, in both axes."""
    import cv2

    moments = cv2.moments(mask, binaryImage=True)
    area = max(1.0, moments["m00"])
    spread = ((moments["mu20"] + moments["mu02"]) / (2 * area)) ** 0.5
    return moments["m10"] / area, moments["m01"] / area, max(1e-3, spread)


def regions(rgb: NDArray[np.uint8]) -> list[Region]:
    """Return the regions of a picture [height, width, 3], those of the plainest colour first."""
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if min(size) < _THIN:
        return []
    small = cv2.bilateralFilter(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), 5, 30, 5)
    seen: set[tuple[int, ...]] = set()
    found: list[tuple[float, int, int, NDArray[np.uint8]]] = []
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    for labels, count in _palettes(lab):
        for colour in range(count):
            mask = cv2.compare(labels, colour, cv2.CMP_EQ)
            for reach in _REACHES:
                joined = cv2.dilate(mask, np.ones((reach, reach), np.uint8)) if reach else mask
                _, parts, stats, _ = cv2.connectedComponentsWithStats(joined, ltype=cv2.CV_16U)
                for part in _usable(stats, size):
                    x, y, w, h = (int(value) for value in stats[part, :4])
                    whole = cv2.compare(parts[y : y + h, x : x + w], float(part), cv2.CMP_EQ)
                    cut = cv2.bitwise_and(mask[y : y + h, x : x + w], whole)
                    inside = cv2.countNonZero(cut)
                    key = (x // 4, y // 4, w // 4, h // 4, inside // 64)
                    if inside >= _FEW and key not in seen:
                        seen.add(key)
                        _, varied = cv2.meanStdDev(lab[y : y + h, x : x + w], mask=cut)
                        found.append((float((varied**2).sum()), x, y, np.asarray(cut, dtype=np.uint8)))
    found.sort(key=lambda one: one[0])  # a drawing that was laid over a picture is plain
    out = []
    for _, left, top, cut in found[:_MOST]:
        across, down, spread = spread_of(cut)
        box = Box(*(round(value / scale) for value in (left, top, cut.shape[1], cut.shape[0])))
        x, y = (left + across + 0.5) / scale, (top + down + 0.5) / scale
        out.append(Region(cut, box, x, y, spread / scale))
    return out


def _usable(stats: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.intp]:
    """Return the numbers of the parts that are neither too small, too large, nor cut off by an edge."""
    import numpy as np

    x, y, w, h, area = (stats[:, column] for column in range(5))
    longest = max(size)
    longer = np.maximum(w, h)
    good = (longer >= _LEAST * longest) & (longer <= _LARGEST * longest)
    good &= (np.minimum(w, h) >= _THIN) & (area >= _FEW)
    good &= (x > 0) & (y > 0) & (x + w < size[0]) & (y + h < size[1])
    good[0] = False  # what is left over
    return np.flatnonzero(good)


def _palettes(lab: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield the picture reduced to a few colours, found by k-means with a fixed start, and their number."""
    import cv2
    import numpy as np

    flat = lab.reshape(-1, 3)
    sample = np.ascontiguousarray(flat[:: max(1, len(flat) // _SAMPLE)].astype(np.float32))
    # Cells of 4 x 4 x 4 levels are told apart instead of pixels: there are far fewer.
    cells = lab.astype(np.int32) >> 2
    used, which = np.unique(
        (cells[:, :, 0] << 12) | (cells[:, :, 1] << 6) | cells[:, :, 2], return_inverse=True
    )
    middle = np.stack([used >> 12, (used >> 6) & 63, used & 63], axis=1).astype(np.float32) * 4 + 1.5
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
    for colours in _COLOURS:
        cv2.setRNGSeed(0)
        wanted = min(colours, len(sample))
        _, _, centres = cv2.kmeans(sample, wanted, None, stop, 1, cv2.KMEANS_PP_CENTERS)
        nearest = ((middle[:, None] - centres[None]) ** 2).sum(2).argmin(1).astype(np.uint8)
        yield nearest[which.reshape(lab.shape[:2])], len(centres)
