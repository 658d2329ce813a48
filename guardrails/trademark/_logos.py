"""Logos in pixels: regions of one colour, compared by shape with an index of silhouettes.

A picture is reduced to a few colours; what hangs together in one colour (single parts, and groups of near
parts) is a region. Its mask is brought to a common frame by its centre and spread (Hu, IRE Transactions on
Information Theory 8(2), 1962), blurred, and compared with every silhouette of the index by correlation,
at several small rotations. Each mark has a threshold of its own, above what ordinary photographs reach.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.core import Box
from clearmark.core.errors import Error, GuardUnavailable, ModelCorrupt
from clearmark.guardrails.models import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FRAME", "MARGIN", "LogoHit", "LogoIndex", "find_logos", "frame", "logo_index", "regions"]

FRAME = 32
"""Side of the frame that masks are compared in."""

MARGIN = 0.04
"""How far above its threshold a mark must lie; the card says what it costs and what it spares."""

_SIDE = 384
_COLOURS = 6
_LEAST, _LARGEST = 0.02, 0.9  # shares of the picture's side that a region's longer side may have
_MOST_REGIONS = 120
_ANGLES = (-15, -10, -5, 0, 5, 10, 15)
_SPREAD = 6.5  # pixels of the frame that one standard deviation takes


@dataclass(frozen=True, slots=True)
class LogoHit:
    """A mark, where it is in the picture, its correlation, and the mark's own threshold."""

    name: str
    box: Box
    likeness: float
    threshold: float


class LogoIndex:
    """Names, silhouettes as unit vectors [marks, FRAME * FRAME], and a threshold each."""

    def __init__(self, names: tuple[str, ...], masks: NDArray[np.uint8], limits: NDArray[np.float32]) -> None:
        """Take masks [marks, FRAME, FRAME] of 0 to 255.

        Raises:
            ModelCorrupt: when the arrays do not fit together.
        """
        if masks.shape != (len(names), FRAME, FRAME) or limits.shape != (len(names),):
            raise ModelCorrupt("the logo index's arrays do not fit together", hint="reinstall clearmark")
        self.names, self.limits = names, limits
        self.vectors = unit(masks.reshape(len(names), -1))

    def __len__(self) -> int:
        return len(self.names)


def unit(rows: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows with mean 0 and length 1: their products are correlations."""
    import numpy as np

    flat = rows.astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)


def frame(mask: NDArray[np.uint8], angle: float = 0.0) -> NDArray[np.uint8]:
    """Return a mask (0 or 255) in the common frame [FRAME, FRAME], turned by `angle` degrees, blurred."""
    import cv2
    import numpy as np

    moments = cv2.moments(mask, binaryImage=True)
    if moments["m00"] <= 0:
        return np.zeros((FRAME, FRAME), dtype=np.uint8)
    x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    spread = max(1e-3, ((moments["mu20"] + moments["mu02"]) / (2 * moments["m00"])) ** 0.5)
    scale = _SPREAD / spread
    turn = cv2.getRotationMatrix2D((x, y), angle, scale)
    turn[:, 2] += FRAME / 2 - np.array([x, y]) - 0.5
    if scale < 1:  # keep thin strokes when shrinking
        sigma = 0.5 / scale
        mask = cv2.GaussianBlur(mask, (0, 0), sigma)
    placed = cv2.warpAffine(mask, turn, (FRAME, FRAME), flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(placed, (0, 0), 0.8), dtype=np.uint8)


def regions(rgb: NDArray[np.uint8]) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
    """Yield boxes in pixels of `rgb` and masks of what hangs together in one colour."""
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.bilateralFilter(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), 5, 30, 5)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    seen: set[tuple[int, ...]] = set()
    found: list[tuple[int, Box, NDArray[np.uint8]]] = []
    longest = max(size)
    for labels in _palettes(lab, size):
        for colour in range(int(labels.max()) + 1):
            mask = (labels == colour).astype(np.uint8) * 255
            for reach in (0, 5, 11):
                joined = cv2.dilate(mask, np.ones((reach, reach), np.uint8)) if reach else mask
                count, parts, stats, _ = cv2.connectedComponentsWithStats(joined)
                for part in range(1, count):
                    x, y, w, h, _area = (int(value) for value in stats[part])
                    if not _LEAST * longest * 3 <= max(w, h) <= _LARGEST * longest or min(w, h) < 8:
                        continue
                    key = (x // 4, y // 4, w // 4, h // 4)
                    cut = np.where(parts[y : y + h, x : x + w] == part, mask[y : y + h, x : x + w], 0)
                    inside = int((cut > 0).sum())
                    if inside < 60 or (*key, inside // 64) in seen:
                        continue
                    seen.add((*key, inside // 64))
                    box = Box(round(x / scale), round(y / scale), round(w / scale), round(h / scale))
                    found.append((inside, box, cut.astype(np.uint8)))
    found.sort(key=lambda item: -item[0])
    yield from ((box, cut) for _, box, cut in found[:_MOST_REGIONS])


def _palettes(lab: NDArray[np.float32], size: tuple[int, int]) -> Iterator[NDArray[np.int32]]:
    """Yield the picture reduced to a few colours, found by k-means with a fixed start."""
    import cv2
    import numpy as np

    cv2.setRNGSeed(0)
    step = max(1, len(lab) // 6000)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 1.0)
    for colours in (_COLOURS, 2 * _COLOURS):
        _, _, centres = cv2.kmeans(
            np.ascontiguousarray(lab[::step]), min(colours, max(1, len(lab[::step]))), None, stop, 1,
            cv2.KMEANS_PP_CENTERS,
        )  # fmt: skip
        away = ((lab[:, None, :] - centres[None]) ** 2).sum(2)
        yield away.argmin(1).astype(np.int32).reshape(size[1], size[0])


def likenesses(rgb: NDArray[np.uint8], index: LogoIndex) -> tuple[list[Box], NDArray[np.float32]]:
    """Return the regions of a picture and their best correlation with every mark [regions, marks]."""
    import numpy as np

    boxes: list[Box] = []
    rows: list[NDArray[np.uint8]] = []
    for box, mask in regions(rgb):
        boxes.append(box)
        rows.extend(frame(mask, angle).reshape(-1) for angle in _ANGLES)
    if not boxes:
        return [], np.empty((0, len(index)), dtype=np.float32)
    products = unit(np.stack(rows)) @ index.vectors.T
    return boxes, np.asarray(products.reshape(len(boxes), len(_ANGLES), -1).max(axis=1), dtype=np.float32)


def find_logos(
    rgb: NDArray[np.uint8], index: LogoIndex | None = None, margin: float = MARGIN
) -> list[LogoHit]:
    """Return the marks in a picture [height, width, 3], the clearest first, at most one a region."""
    used = index or logo_index()
    boxes, products = likenesses(rgb, used)
    hits: dict[str, LogoHit] = {}
    for box, row in zip(boxes, products - used.limits - margin, strict=True):
        at = int(row.argmax())
        if row[at] >= 0:
            hit = LogoHit(
                used.names[at],
                box,
                float(row[at] + used.limits[at] + margin),
                float(used.limits[at]) + margin,
            )
            before = hits.get(hit.name)
            if before is None or before.likeness < hit.likeness:
                hits[hit.name] = hit
    return sorted(hits.values(), key=lambda hit: hit.threshold - hit.likeness)


@lru_cache(maxsize=1)
def logo_index() -> LogoIndex:
    """Read the index that ships, after checking its digest; once.

    Raises:
        GuardUnavailable: when it is absent or not the one on record.
    """
    import numpy as np

    try:
        (path,) = entry("logo-shapes").verify().values()
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            names = tuple(arrays["names"].tobytes().decode().split("\n"))
            return LogoIndex(names, arrays["masks"], arrays["limits"].astype(np.float32))
    except Error as exc:
        raise GuardUnavailable(f"logos: {exc.message}", hint=exc.hint) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise GuardUnavailable("logos: the index cannot be read", hint="reinstall clearmark") from exc
