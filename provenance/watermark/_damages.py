"""What the embedder tries its marks on: copies compressed, cut, shrunk, brightened and contrasted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._front import resized

__all__ = [
    "EASIER",
    "HARD",
    "LIGHT",
    "QUICK",
    "ROUGH",
    "WORTH",
    "Damage",
    "at",
    "brightened",
    "contrasted",
    "grey",
]

Floats = npt.NDArray[np.float32]

LARGER = 1.42
"""Compression is tried at a picture's own size, but at no more than so many times the canonical one."""

Damage = Callable[[Floats, float], tuple[Floats, float, float]]
"""From luma, or a picture in BGR, and its native size over this one: a damaged copy, and how much was cut off
above and left."""


def _compressed(quality: int) -> Damage:
    return lambda marked, native: (at(marked, native, quality), 0, 0)


def _webp(marked: Floats, native: float) -> tuple[Floats, float, float]:
    return at(marked, native, 50, ".webp"), 0, 0


def _cut(marked: Floats, eighths: int) -> tuple[Floats, float, float]:
    height, width = marked.shape[:2]
    top, left = height * (8 - eighths) // 16, width * (8 - eighths) // 16
    return marked[top : top + height * eighths // 8, left : left + width * eighths // 8], top, left


def _cut_and_shrunk(marked: Floats, native: float) -> tuple[Floats, float, float]:
    view, top, left = _cut(marked, 6)
    return at(view, native / 2, 50), top, left


def at(picture: Floats, scale: float, quality: int, kind: str = ".jpg") -> Floats:
    """Return `picture` after JPEG (or WebP) at `scale` of its size (at most LARGER of it)."""
    scale = min(scale, LARGER)
    if 0.95 < scale < 1.05:  # as good as its own size
        return _compressed_as(kind, picture, quality)
    height, width = picture.shape[:2]
    small = resized(picture, max(8, round(width * scale)), max(8, round(height * scale)))
    return resized(_compressed_as(kind, small, quality), width, height)


def grey(picture: Floats) -> Floats:
    """Return luma of luma, or of a picture in BGR."""
    import cv2

    if picture.ndim == 2:
        return picture
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture, np.float32), cv2.COLOR_BGR2GRAY))


def brightened(marked: Floats, _: float) -> tuple[Floats, float, float]:
    out = marked * np.float32(1.3)
    return np.minimum(out, 255, out=out), 0, 0


def contrasted(marked: Floats, _: float) -> tuple[Floats, float, float]:
    out = marked * np.float32(1.4)
    out += np.float32(128 - 128 * 1.4)
    np.maximum(out, 0, out=out)
    return np.minimum(out, 255, out=out), 0, 0


HARD: tuple[Damage, ...] = (
    _compressed(30),
    lambda marked, _: _cut(marked, 4),
    _cut_and_shrunk,
    contrasted,
    brightened,
    _webp,
)
QUICK, ROUGH = HARD[:-1], HARD[:-2]
"""Those that outlines are chosen by, since WebP takes as long as all others; and those that size and slope
are: where contrast leaves more, brightness does, too."""

LIGHT = slice(3, 5)
"""The places of contrast and brightness in HARD."""

EASIER: dict[Damage, float] = {_webp: 1.0}
"""By how many dB each is passed more easily than what is left in hand says: WebP as it was seen to be."""

WORTH = (2, 1, 1, 1, 1, 1)
"""What passing each of HARD counts where not all can be had."""


def _compressed_as(kind: str, picture: Floats, quality: int) -> Floats:
    import cv2

    setting = cv2.IMWRITE_WEBP_QUALITY if kind == ".webp" else cv2.IMWRITE_JPEG_QUALITY
    pixels = cv2.add(picture, 0.0, dtype=cv2.CV_8U)
    # WebP knows no grey pictures.
    sent = cv2.merge([pixels] * 3) if kind == ".webp" and picture.ndim == 2 else pixels
    _, data = cv2.imencode(kind, sent, [setting, quality])
    way = cv2.IMREAD_GRAYSCALE if picture.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(data, way), np.float32)
