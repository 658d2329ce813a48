"""The perceptual hash PDQ, over all eight flips and quarter turns.

PDQ is written from Facebook's description (The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing
Algorithm, 2019), with its bit order, so that its hex form can be exchanged with lists of others. Hashes fail
on every crop: they are the fast first stage, never the whole answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Pdq", "pdq", "pdq_dihedral"]

_SIDE = 64
_BITS = 16


@dataclass(frozen=True, slots=True)
class Pdq:
    """A PDQ hash: 32 bytes, most significant first, and its quality from 0 (blank) to 100."""

    bits: bytes
    quality: int

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits that PDQ tools exchange."""
        return self.bits.hex()


def pdq(pixels: NDArray[np.uint8]) -> Pdq:
    """Hash uint8 [height, width, 3]."""
    small = _shrunk(pixels)
    return Pdq(_bits(_cosines(small)), _quality(small))


def pdq_dihedral(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Return the hashes [8, 32] of all flips and quarter turns, the upright one first, and the quality.

    A flip changes the sign of every other coefficient and a transposition transposes them, so the eight cost
    one transform.
    """
    import numpy as np

    small = _shrunk(pixels)
    plain = _cosines(small)
    sign = np.where(np.arange(_BITS) % 2 == 0, -1.0, 1.0)
    out: list[NDArray[np.float64]] = []
    for turned in (plain, plain.T):
        for rows in (np.ones(_BITS), sign):
            out.extend(turned * rows[:, None] * columns[None, :] for columns in (np.ones(_BITS), sign))
    codes = [np.frombuffer(_bits(coefficients), dtype=np.uint8) for coefficients in out]
    return np.stack(codes), _quality(small)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the luma, smoothed twice by a box in each direction and sampled at 64 x 64."""
    import cv2
    import numpy as np

    weights = np.array([[0.299, 0.587, 0.114]], dtype=np.float32)
    luma = np.asarray(cv2.transform(pixels.astype(np.float32), weights), dtype=np.float32)
    height, width = luma.shape
    # Only what is sampled is smoothed: two matrix products instead of four passes over the picture.
    out: NDArray[np.float64] = (_sampled(height) @ luma @ _sampled(width).T).astype(np.float64)
    return out


@lru_cache(maxsize=32)
def _sampled(length: int) -> NDArray[np.float32]:
    """Return the matrix [64, length] that smooths `length` values twice and takes 64 of them.

    The windows of the box are cut off at the borders.
    """
    import numpy as np

    window = (length + 2 * _SIDE - 1) // (2 * _SIDE)
    after = (window + 2) // 2 if window > 1 else 1
    before = window - after
    places = np.arange(length)
    counts = np.minimum(length, places + after) - np.maximum(0, places - before)
    rows = ((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(int)[:, None]
    weights = ((places >= rows - before) & (places < rows + after)) / counts[rows]
    # What a value gives to all windows that it stands in, as differences of running sums.
    sums = np.concatenate([np.zeros((_SIDE, 1)), np.cumsum(weights / counts, axis=1)], axis=1)
    first, last = np.maximum(0, places - after + 1), np.minimum(length, places + before + 1)
    return np.ascontiguousarray(sums[:, last] - sums[:, first], dtype=np.float32)


@lru_cache(maxsize=1)
def _basis() -> NDArray[np.float64]:
    import numpy as np

    k, n = np.arange(1, _BITS + 1)[:, None], np.arange(_SIDE)[None, :]
    out: NDArray[np.float64] = np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * k * (2 * n + 1))
    return out


def _cosines(small: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = _basis() @ small @ _basis().T
    return out


def _bits(coefficients: NDArray[np.float64]) -> bytes:
    import numpy as np

    flat = coefficients.ravel()
    median = np.partition(flat, flat.size // 2 - 1)[flat.size // 2 - 1]  # the lower of the two middle ones
    return np.packbits((flat > median)[::-1]).tobytes()


def _quality(small: NDArray[np.float64]) -> int:
    import numpy as np

    total = 0
    for axis in (0, 1):
        total += int(np.abs((np.diff(small, axis=axis) * 100 / 255).astype(int)).sum())
    return min(100, total // 90)
