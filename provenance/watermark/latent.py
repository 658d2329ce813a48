"""A mark in the noise that a latent diffusion model starts from: Gaussian Shading (Yang et al. 2024).

Only the signs of the initial noise are chosen, by the coded message under a key; the sizes stay random. So
each latent alone is distributed exactly as without a mark, and nothing of the picture's quality is spent. To
read it, the picture is encoded and the sampler run backwards (DDIM inversion), which is the pipeline's
business; what comes out is an estimate of the noise, and its signs are voted on here.

The message is the one of the pixel codecs: 64 bits of id and a CRC-32 behind the rate 1/6 code, decoded
softly. A latent without a mark passes by accident at most 8 times in 2**32 (1.9e-9).

Unlike the paper's stream cipher with a nonce for each picture, one key draws the same signs for all of them,
so that a picture is read without knowing which one it is. Whoever collects the inverted noise of many
pictures of one key can therefore find out that they are marked, though not what a mark says.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.core.errors import UsageError
from clearmark.provenance.watermark._convolution import CODE_BITS, decode, encode
from clearmark.provenance.watermark._payload import frame, unframe
from clearmark.provenance.watermark.codec import Extracted

__all__ = ["LatentWatermark"]

SALT = b"clearmark latent 1"
MAX_VALUES = 1 << 24

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LatentWatermark:
    """The mark under `key` for latents of `shape`, such as (4, 64, 64): channels, height, width.

    Raises:
        UsageError: a shape with fewer values than the code has bits, or with too many.
    """

    shape: tuple[int, ...]
    key: bytes = b""

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 1 or not CODE_BITS <= math.prod(self.shape) <= MAX_VALUES:
            raise UsageError(
                f"latents of shape {self.shape} cannot hold a mark",
                hint=f"from {CODE_BITS:,} to {MAX_VALUES:,} values",
            )

    def noise(self, mark_id: str, rng: np.random.Generator) -> Floats:
        """Return initial noise of mean 0 and variance 1 that holds `mark_id`; its sizes are drawn by `rng`.

        Raises:
            UsageError: when `mark_id` is not 16 lower-case hex digits.
        """
        bit, sign = self._layout()
        code = (1 - 2 * encode(frame(mark_id, salt=SALT)).astype(np.float32)).astype(np.float32)
        sizes = np.abs(rng.standard_normal(math.prod(self.shape), dtype=np.float32))
        out: Floats = (sizes * code[bit] * sign).reshape(self.shape)
        return out

    def read(self, noise: npt.NDArray[np.floating]) -> Extracted | None:
        """Return the mark of an estimate of the initial noise, or None.

        Raises:
            UsageError: when the array has another shape.
        """
        if noise.shape != self.shape:
            raise UsageError(f"a latent of shape {noise.shape}; {self.shape} was marked")
        bit, sign = self._layout()
        values = np.nan_to_num(noise.ravel().astype(np.float64), posinf=0.0, neginf=0.0)
        # A value far out is no surer a vote than one at two standard deviations: inversion errs in spots.
        scale = max(float(np.median(np.abs(values))) / 0.6745, 1e-12)
        votes = np.clip(values / scale, -2, 2) * sign
        soft = np.bincount(bit, votes, CODE_BITS).astype(np.float32)
        for bits in decode(soft):
            mark_id = unframe(bits, salt=SALT)
            if mark_id is not None:
                agree = (votes < 0) == encode(bits)[bit].astype(bool)
                return Extracted(mark_id=mark_id, confidence=round(float(agree.mean()), 4))
        return None

    def _layout(self) -> tuple[npt.NDArray[np.intp], Floats]:
        """Return which code bit each value holds, and with which sign, both from the key and the shape."""
        count = math.prod(self.shape)
        prefix = SALT + repr(tuple(int(side) for side in self.shape)).encode() + b"\0" + self.key
        words = np.frombuffer(hashlib.shake_256(prefix).digest(8 * count), "<u4")
        order = np.argsort(words[:count], kind="stable")
        bit = np.empty(count, np.intp)
        bit[order] = np.arange(count) % CODE_BITS
        return bit, (1 - 2 * (words[count:] & 1).astype(np.float32)).astype(np.float32)
