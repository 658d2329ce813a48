"""What the embedder tries its marks on: copies compressed, cut, shrunk, brightened and contrasted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._front import resized

__all__ = ["HARD", "WORTH", "Damage", "at", "brightened", "contrasted"]

Floats = npt.NDArray[np.float32]

LARGER = 1.42
"""Compression is tried at a picture's own size, but at no more than so many times the canonical one."""

Damage = Callable[[Floats, float], tuple[Floats, float, float]]
"""From luma and its native size over this one: a damaged copy, and how much was cut off above and left."""


def _compressed(quality: int) -> Damage:
    return lambda marked, native: (at(marked, native, quality), 0, 0)


def _cut(marked: Floats, eighths: int) -> tuple[Floats, float, float]:
    height, width = marked.shape
    top, left = height * (8 - eighths) // 16, width * (8 - eighths) // 16
    return marked[top : top + height * eighths // 8, left : left + width * eighths // 8], top, left


def _cut_and_shrunk(marked: Floats, native: float) -> tuple[Floats, float, float]:
    view, top, left = _cut(marked, 6)
    return at(view, native / 2, 50), top, left


def at(plane: Floats, scale: float, quality: int) -> Floats:
    """Return `plane` after JPEG at `scale` of its size (at most LARGER of it)."""
    scale = min(scale, LARGER)
    if 0.95 < scale < 1.05:  # as good as its own size
        return _jpeg(plane, quality)
    height, width = plane.shape
    small = resized(plane, max(8, round(width * scale)), max(8, round(height * scale)))
    return resized(_jpeg(small, quality), width, height)


def brightened(marked: Floats, _: float) -> tuple[Floats, float, float]:
    return np.clip(marked * 1.3, 0, 255), 0, 0


def contrasted(marked: Floats, _: float) -> tuple[Floats, float, float]:
    return np.clip((marked - 128) * 1.4 + 128, 0, 255), 0, 0


HARD: tuple[Damage, ...] = (
    _compressed(30),
    lambda marked, _: _cut(marked, 4),
    _cut_and_shrunk,
    brightened,
    contrasted,
)
WORTH = (2, 1, 1, 1, 1)
"""What passing each of HARD counts where not all can be had."""


def _jpeg(plane: Floats, quality: int) -> Floats:
    import cv2

    grey = np.clip(np.round(plane), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)
