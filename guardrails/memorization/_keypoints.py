"""Key points of a picture: SIFT, and the bytes in which an index keeps those of its items.

SIFT (Lowe 2004) with the square-root normalisation of Arandjelović and Zisserman (2012). The mirrored picture
costs no second detection: a flip permutes the bins of the descriptors. Time is bounded: sizes and key points
are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SIDE", "STEPS", "STORED", "Features", "apart", "colour_difference", "features", "pack", "unpack"]

SIDE = 320
"""Pictures are compared at this many pixels on their longest side; places of key points are of that size."""

STEPS = 512
"""One of a descriptor of unit length, in its uint8 values."""

STORED = 200
"""Key points that an index keeps of an item at most."""

_POINTS = 500
_FEW = 80
_CONTRAST, _FAINT = 0.02, 0.004
ASKED_SIDE = 192
"""Key points of a picture that is checked are looked for at this size first, which costs a third, and again
at `SIDE` where something is near."""

VIEW = 64
_MAGIC = b"CLMF"
_HEAD = struct.Struct("<4sHHHf")
_SMALL = 8 * 8 * 3
_PLACE, _OCTAVE, _TURN = 128.0, 24.0, 256.0 / 360.0
_BYTES = 2 + 2 + 1 + 1 + 128


@dataclass(frozen=True, slots=True)
class Features:
    """What is compared of two pictures.

    Key points [n, 4] (x, y, degrees, size) in the picture at `scale`, their descriptors [n, 128] (root SIFT
    in 512ths, uint8), the size (height, width) there, the picture at 8 x 8 pixels [8, 8, 3], and the luma
    [height, width] and the picture at 64 pixels [h, w, 3]; None of an item as the index keeps it. Any first
    part of the points is a fair sample of them: strong ones and large ones by turns.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    size: tuple[int, int]
    small: NDArray[np.uint8]
    scale: float
    luma: NDArray[np.uint8] | None = None
    view: NDArray[np.uint8] | None = None

    def flipped(self) -> Features:
        """Return the features of the picture flipped left to right."""
        import numpy as np

        points = self.points.copy()
        points[:, 0] = self.size[1] - 1 - points[:, 0]
        points[:, 2] = (180.0 - points[:, 2]) % 360.0
        luma = None if self.luma is None else np.ascontiguousarray(self.luma[:, ::-1])
        view = None if self.view is None else np.ascontiguousarray(self.view[:, ::-1])
        small = self.small[:, ::-1]
        return Features(points, self.descriptors[:, _flip()], self.size, small, self.scale, luma, view)

    def joined(self, other: Features) -> Features:
        """Return these with the key points of `other`, of the same picture, as well."""
        import numpy as np

        points = np.concatenate([self.points, other.points])
        return replace(self, points=points, descriptors=np.concatenate([self.descriptors, other.descriptors]))


def features(pixels: NDArray[np.uint8], *, detected: int = SIDE) -> Features:
    """Find the key points of uint8 [height, width, 3] at `detected` pixels; of plain pictures the faint ones
    as well."""
    import cv2
    import numpy as np

    scale = SIDE / max(pixels.shape[:2])
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    luma = _resized(grey, SIDE)
    small = np.asarray(cv2.resize(pixels, (8, 8), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    view = _resized(pixels, VIEW)  # for its colours
    looked = _resized(grey, detected)
    found, descriptors = _sift(_CONTRAST).detectAndCompute(looked, None)
    if len(found) < _FEW * detected // SIDE:
        # A plain picture has no key point to lose.
        found, descriptors = _faint(looked)
    if descriptors is None or not len(found):
        none = np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
        return Features(*none, luma.shape, small, scale, luma, view)
    response = np.array([p.response for p in found[:_POINTS]], dtype=np.float32)
    points = np.array([(*p.pt, p.angle, p.size) for p in found[:_POINTS]], dtype=np.float32)
    grown = np.array([luma.shape[1] / looked.shape[1], luma.shape[0] / looked.shape[0]], dtype=np.float32)
    points[:, :2] = (points[:, :2] + 0.5) * grown - 0.5
    points[:, 3] *= np.float32(max(luma.shape) / max(looked.shape))
    order = _by_turns(response, points[:, 3])
    rows = descriptors[: len(points)][order]
    root = np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-9))
    values = (root * STEPS + 0.5).clip(0, 255).astype(np.uint8)
    return Features(points[order], values, luma.shape, small, scale, luma, view)


def _sift(contrast: float) -> Any:
    """Return SIFT whose places are centres of pixels, so that a flip mirrors them."""
    import cv2

    return cv2.SIFT.create(_POINTS, 3, contrast, enable_precise_upscale=True)


def _faint(luma: NDArray[np.uint8]) -> tuple[Any, Any]:
    """Return the key points and descriptors of a plain picture, faint ones as well.

    The blur of flat white is white but for rounding, and every such place is tried; that of flat black is
    nothing at all. So on white the negative is searched: its key points face the other way, and the 4 x 4
    cells of their descriptors lie the other way round.
    """
    white = int((luma == 255).sum()) > int((luma == 0).sum())
    found, descriptors = _sift(_FAINT).detectAndCompute(255 - luma if white else luma, None)
    if white and descriptors is not None:
        for point in found:
            point.angle = (point.angle + 180.0) % 360.0
        descriptors = descriptors.reshape(-1, 4, 4, 8)[:, ::-1, ::-1].reshape(-1, 128)
    return found, descriptors


def _resized(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return a picture, or its luma, with `longest` pixels on its longest side."""
    import cv2
    import numpy as np

    scale = longest / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)


def _by_turns(response: NDArray[np.float32], sizes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return an order: two of the strongest, one of the largest, and so on.

    Of a picture that is shown smaller only the large key points are left.
    """
    import numpy as np

    count = len(response)
    rank = np.empty(count)
    rank[np.argsort(-response, kind="stable")] = np.arange(count) / 2.0
    large = np.empty(count)
    large[np.argsort(-sizes, kind="stable")] = np.arange(count) + 0.25
    return np.argsort(np.minimum(rank, large), kind="stable")


@lru_cache(maxsize=1)
def _flip() -> NDArray[np.intp]:
    """Return where the 4 x 4 cells of 8 directions of a descriptor go when its patch is flipped."""
    import numpy as np

    places = np.arange(128).reshape(4, 4, 8)
    return places[::-1][:, :, -np.arange(8) % 8].ravel()


def colour_difference(one: Features, other: Features) -> float:
    """Return the mean difference of two small pictures in [0, 1], the least over flips and half turns."""
    import numpy as np

    a, b = one.small.astype(np.float32), other.small.astype(np.float32)
    turned = (a, a[:, ::-1], a[::-1], a[::-1, ::-1])
    return min(float(np.abs(side - b).mean()) for side in turned) / 255.0


def pack(found: Features, most: int = STORED) -> bytes:
    """Return the first `most` key points as bytes: places in 128ths of a pixel, 134 bytes each."""
    import numpy as np

    points = found.points[:most]
    count = len(points)
    places = (points[:, :2] * _PLACE + 0.5).clip(0, 65535).astype("<u2")
    turns = np.round(points[:, 2] * _TURN).astype(np.int64) % 256
    octaves = np.round(np.log2(np.maximum(points[:, 3], 1.0)) * _OCTAVE).clip(0, 255)
    parts = (places, turns.astype(np.uint8), octaves.astype(np.uint8), found.descriptors[:most])
    head = _HEAD.pack(_MAGIC, count, *found.size, found.scale)
    return head + np.ascontiguousarray(found.small).tobytes() + b"".join(part.tobytes() for part in parts)


def apart(data: bytes) -> tuple[bytes, bytes]:
    """Cut what an index keeps of an item into its packed features and its small picture; either may be
    empty."""
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        return b"", data
    length = _HEAD.size + _SMALL + _BYTES * _HEAD.unpack_from(data)[1]
    return data[:length], data[length:]


def unpack(data: bytes) -> Features:
    """Return what `pack` packed, without the luma.

    Raises:
        ValueError: the bytes are no packed features.
    """
    import numpy as np

    magic, count, height, width, scale = _HEAD.unpack_from(data)
    if magic != _MAGIC or len(data) != _HEAD.size + _SMALL + _BYTES * count:
        raise ValueError("no packed features")
    bytes_ = np.frombuffer(data, dtype=np.uint8, offset=_HEAD.size)
    small, places, turns, octaves, descriptors = np.split(
        bytes_, np.cumsum([_SMALL, 4 * count, count, count])
    )
    points = np.empty((count, 4), dtype=np.float32)
    points[:, :2] = places.view("<u2").reshape(-1, 2) / np.float32(_PLACE)
    points[:, 2] = turns / np.float32(_TURN)
    points[:, 3] = np.exp2(octaves / np.float32(_OCTAVE))
    return Features(
        points, descriptors.reshape(-1, 128), (height, width), small.reshape(8, 8, 3), float(scale)
    )
