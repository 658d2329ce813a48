"""The carrier of the codec `clearmark`: which frequencies of a periodic tile hold which bit, under a key.

A tile of 256 x 256 pixels at the canonical size repeats over the picture. Its frequencies between 7 and 48
cycles per tile are the carrier: a seventh of them hold a fixed pattern by which the decoder finds position,
scale and turn, and the others hold the coded message, each bit once in every ring of 576 values, so that
whatever a blur or a compression takes from one ring it takes from all bits alike.

All of it comes from SHAKE-256 over the key, not from a library's random generator: the format must still be
read in years.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._convolution import CODE_BITS

__all__ = ["TILE", "Carrier", "carrier_for"]

TILE = 256
"""Period of the tile in pixels at the canonical size."""

LOWEST, HIGHEST = 7, 48
"""The band, in cycles per tile."""

SYNC_SHARE = 7
"""One of so many frequencies serves position."""

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Carrier:
    """The layout under one key. Frequencies are those of the half plane, in cycles per tile.

    `fy, fx, radius` describe all frequencies; `sync` and `data` index them; `phase` is the fixed pattern on
    `sync`; `bit` and `sign` say of each of the 2 x len(data) real values (real and imaginary part in turn)
    which code bit it holds and with which sign; `count` is how many values each code bit has.
    """

    fy: Index
    fx: Index
    radius: Floats
    sync: Index
    data: Index
    phase: Complex
    bit: Index
    sign: Floats
    count: Floats

    def coefficients(self, code: Floats) -> Complex:
        """Return the spectrum of a tile: the fixed pattern, and `code` (CODE_BITS signed amplitudes)."""
        out = np.empty(len(self.fy), np.complex64)
        values = code[self.bit] * self.sign
        out[self.data] = values[0::2] + 1j * values[1::2]
        out[self.sync] = self.phase * np.float32(np.sqrt(2))
        return out

    def tile(self, spectrum: Complex) -> Floats:
        """Return the tile of `spectrum`, TILE x TILE; mean power 1 when each value's is 2."""
        scale = TILE * TILE / np.sqrt(4 * len(self.fy))
        out: Floats = np.fft.irfft2(_half_plane(spectrum, self.fy, self.fx, TILE)).astype(np.float32)
        return out * np.float32(scale)

    def collect(self, spectrum: Complex, weight: Floats) -> Floats:
        """Return the soft value of each code bit: `spectrum` on the carrier, weighted per frequency."""
        held = spectrum[self.data] * weight[self.data]
        values = np.empty(2 * len(held), np.float32)
        values[0::2], values[1::2] = held.real, held.imag
        out: Floats = np.bincount(self.bit, values * self.sign, CODE_BITS).astype(np.float32)
        return out

    def moved(self, spectrum: Complex, down: float, right: float) -> Complex:
        """Return the spectrum of the tile moved by so many pixels, around its edges."""
        steps = -2j * np.pi / TILE * np.arange(-HIGHEST, HIGHEST + 1)
        rows, columns = np.exp(steps * down), np.exp(steps * right)
        turn = (rows[self.fy + HIGHEST] * columns[self.fx + HIGHEST]).astype(np.complex64)
        out: Complex = spectrum * turn
        return out

    def position(self, spectrum: Complex) -> Floats:
        """Return how well the fixed pattern fits at each shift, TILE x TILE: about N(0, 1) if there is none.

        `spectrum` must be equalised. The peak's place is by how much the tile is moved.
        """
        product = spectrum[self.sync] * np.conj(self.phase)
        half = _half_plane(product, self.fy[self.sync], self.fx[self.sync], TILE)
        out: Floats = np.fft.irfft2(half).astype(np.float32)
        return out * np.float32(TILE * TILE / np.sqrt(2 * len(self.sync)))

    def fit(self, spectrum: Complex) -> Floats:
        """Return how strong the fixed pattern is in each sync frequency of an equalised, aligned spectrum."""
        out: Floats = (spectrum[self.sync] * np.conj(self.phase)).real
        return out


def _half_plane(values: Complex, fy: Index, fx: Index, size: int) -> Complex:
    """Return the spectrum that `irfft2` takes, size x (size / 2 + 1), with `values` at the frequencies."""
    out = np.zeros((size, size // 2 + 1), np.complex64)
    out[fy % size, fx] = values
    edge = fx == 0
    out[-fy[edge] % size, 0] = np.conj(values[edge])
    return out


def _draw(key: bytes, label: bytes, count: int) -> npt.NDArray[np.uint32]:
    """Return `count` words of 32 bits that follow from key and label."""
    prefix = b"clearmark tile 1" + len(label).to_bytes(4) + label + len(key).to_bytes(4) + key
    return np.frombuffer(hashlib.shake_256(prefix).digest(4 * count), "<u4")


def _shuffled(key: bytes, label: bytes, count: int) -> Index:
    return np.argsort(_draw(key, label, count), kind="stable")


@functools.lru_cache(maxsize=64)
def carrier_for(key: bytes) -> Carrier:
    """Return the layout under `key`."""
    down, right = np.mgrid[-HIGHEST : HIGHEST + 1, 0 : HIGHEST + 1]
    length = np.hypot(down, right)
    # One of each pair of conjugates.
    chosen = (length >= LOWEST) & (length <= HIGHEST) & ~((right == 0) & (down <= 0))
    fy, fx, radius = down[chosen], right[chosen], length[chosen]
    sync = np.sort(_shuffled(key, b"sync", len(radius))[: len(radius) // SYNC_SHARE])
    data = np.setdiff1d(np.arange(len(radius)), sync)
    data = data[np.argsort(radius[data], kind="stable")]
    values = 2 * len(data)
    rings = -(-values // CODE_BITS)
    bit = np.concatenate([_shuffled(key, b"ring%d" % ring, CODE_BITS) for ring in range(rings)])[:values]
    turns = _draw(key, b"phase", len(sync)).astype(np.float64) / 2**32
    sign = 1 - 2 * (_draw(key, b"sign", values) & 1).astype(np.float32)
    return Carrier(
        fy=fy.astype(np.intp),
        fx=fx.astype(np.intp),
        radius=radius.astype(np.float32),
        sync=sync,
        data=data,
        phase=np.exp(2j * np.pi * turns).astype(np.complex64),
        bit=bit,
        sign=sign,
        count=np.bincount(bit, minlength=CODE_BITS).astype(np.float32),
    )
