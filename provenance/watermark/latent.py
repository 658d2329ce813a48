"""A mark in the noise that a latent diffusion model starts from: Gaussian Shading (Yang et al. 2024).

Only the signs of the initial noise are chosen, by the coded message under a key; the sizes stay random. So
each latent alone is distributed exactly as without a mark, and nothing of the picture's quality is spent. To
read it, the picture is encoded and the sampler run backwards (DDIM inversion), which is the pipeline's
business; what comes out is an estimate of the noise, and its signs are voted on here.

The message is the one of the pixel codecs: 64 bits of id and a CRC-32 behind the rate 1/6 code, decoded
softly. A latent without a mark passes `read` by accident at most 8 times in 2**32 (1.9e-9).

To read 64 unknown bits takes several times the evidence that it takes to tell whether one known id is there.
Small latents and models that compress strongly do not leave that much; so `identify` looks for the ids that
are on record instead, and its rate of false alarms holds for all of them together.

Unlike the paper's stream cipher with a nonce for each picture, one key draws the same signs for all of them,
so that a picture is read without knowing which one it is. Whoever collects the inverted noise of many
pictures of one key can therefore find out that they are marked, though not what a mark says.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.core.errors import UsageError
from clearmark.provenance.watermark._convolution import CODE_BITS, decode, encode
from clearmark.provenance.watermark._payload import frame, unframe
from clearmark.provenance.watermark.codec import Extracted

__all__ = ["CODEC", "FALSE_ALARMS", "Identified", "LatentWatermark", "chance"]

CODEC = "latent"
"""The name under which records, manifests and verifications call this mark."""

VERSION = "1"

FALSE_ALARMS = 1e-6
"""How often `identify` may name an id for a picture without a mark."""

SALT = b"clearmark latent 1"
MAX_VALUES = 1 << 24

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Identified:
    """An id that was looked for and found.

    `score` is in standard deviations of what noise without a mark gives; `confidence` as in `Extracted`.
    """

    mark_id: str
    score: float
    confidence: float


def chance(score: float) -> float:
    """Return an upper bound of the probability that a latent without the mark reaches `score`.

    Under a key that the latent knows nothing of, the signs of the sum are fair and independent, whatever the
    values are. For such sums Bentkus and Dzindzalieta (Bernoulli 21, 2015) prove a bound of 3.18 times the
    normal tail, with no appeal to the central limit.
    """
    if score <= 0:
        return 1.0
    return min(1.0, math.erfc(score / math.sqrt(2)) / 2 * _BENTKUS)


_BENTKUS = 0.25 / (math.erfc(1.0) / 2)
"""1 / (4 P{Z >= sqrt 2})."""


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
        bit, sign = self._layout()
        # A value far out is no surer a vote than one at four standard deviations: inversion errs in spots.
        votes = self._votes(noise, limit=4) * sign
        soft = np.bincount(bit, votes, CODE_BITS).astype(np.float32)
        for bits in decode(soft):
            mark_id = unframe(bits, salt=SALT)
            if mark_id is not None:
                agree = (votes < 0) == encode(bits)[bit].astype(bool)
                return Extracted(mark_id=mark_id, confidence=round(float(agree.mean()), 4))
        return None

    def identify(
        self,
        noises: Sequence[npt.NDArray[np.floating]],
        mark_ids: Sequence[str],
        *,
        false_alarms: float = FALSE_ALARMS,
    ) -> Identified | None:
        """Return which of `mark_ids` one of `noises` holds, or None.

        `noises` are estimates of one picture's noise (as it is, mirrored, at another size). Without a mark,
        an answer other than None comes with probability `false_alarms` at most, however many ids and
        estimates there are: each gets its share.

        Raises:
            UsageError: an estimate of another shape, or a malformed mark id.
        """
        if not noises or not mark_ids:
            return None
        bit, sign = self._layout()
        codes = np.stack([encode(frame(mark_id, salt=SALT)) for mark_id in mark_ids])
        best: Identified | None = None
        for noise in noises:
            values = self._votes(noise, limit=4) * sign
            length = float(np.linalg.norm(values))
            if length == 0:
                continue
            sums = np.bincount(bit, values, CODE_BITS) @ (1 - 2 * codes.astype(np.float64)).T / length
            place = int(np.argmax(sums))
            if best is None or sums[place] > best.score:
                agree = (values < 0) == codes[place][bit].astype(bool)
                best = Identified(
                    mark_id=mark_ids[place],
                    score=float(sums[place]),
                    confidence=round(float(agree.mean()), 4),
                )
        share = false_alarms / (len(noises) * len(mark_ids))
        return best if best is not None and chance(best.score) <= share else None

    def _votes(self, noise: npt.NDArray[np.floating], *, limit: float) -> npt.NDArray[np.float64]:
        """Return the values of `noise` in standard deviations, clipped."""
        if noise.shape != self.shape:
            raise UsageError(f"a latent of shape {noise.shape}; {self.shape} was marked")
        values = np.nan_to_num(noise.ravel().astype(np.float64), posinf=0.0, neginf=0.0)
        scale = max(float(np.median(np.abs(values))) / 0.6745, 1e-12)
        return np.clip(values / scale, -limit, limit)

    def _layout(self) -> tuple[npt.NDArray[np.intp], Floats]:
        """Return which code bit each value holds, and with which sign, both from the key and the shape."""
        count = math.prod(self.shape)
        prefix = SALT + repr(tuple(int(side) for side in self.shape)).encode() + b"\0" + self.key
        words = np.frombuffer(hashlib.shake_256(prefix).digest(8 * count), "<u4")
        order = np.argsort(words[:count], kind="stable")
        bit = np.empty(count, np.intp)
        bit[order] = np.arange(count) % CODE_BITS
        return bit, (1 - 2 * (words[count:] & 1).astype(np.float32)).astype(np.float32)
