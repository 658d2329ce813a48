"""The embedder of the codec `clearmark`: the tile under a perceptual mask, as weak as it may be.

What of the picture itself stands on the carrier's frequencies is known, so the code bits that it works
against are written stronger and those that it happens to favour weaker, at the same power: informed
embedding (Miller, Doerr & Cox 2004). The strength is then the weakest at which copies that were compressed,
halved and cropped still decode with something in hand.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._carrier import TILE, Carrier
from clearmark.provenance.watermark._convolution import CODE_BITS
from clearmark.provenance.watermark._front import (
    SIDES,
    activity,
    blur,
    canonical,
    equalised,
    fold,
    resized,
    spectrum,
    whiten,
)
from clearmark.provenance.watermark._payload import Bits
from clearmark.provenance.watermark._reader import soft_bits

__all__ = ["Message", "Plan", "layouts", "plan"]

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]

FLAT = 0.95
"""Strength in flat areas that is not passed for the sake of robustness: root mean square, in grey levels."""

LEAST_PSNR = 38.3
WEAKEST = 0.5
LEAST_AMPLITUDE = 0.1
MARGIN_DB = 2.0
FIT = 7.0
FINE_DETAIL, FINE_GAIN = 1.5, 3.0

SMALL = 384
"""Shortest side below which a picture is tried at the coarsest size first."""


def mask(plane: Floats) -> Floats:
    """Return how much more noise hides at each pixel than in a flat area: the root of one plus activity.

    Noise hides in texture but not beside an edge. The smallest activity around counts, over as far as a lone
    edge is felt, so both of its sides stay as clean as they were.
    """
    import cv2

    detail = plane - blur(plane, FINE_DETAIL)
    fine = cv2.erode(np.sqrt(blur(detail * detail, FINE_DETAIL)), np.ones((9, 9), np.uint8))
    broad = cv2.erode(activity(plane)[1], np.ones((31, 31), np.uint8))
    # Grain of half a grey level is what rounding leaves in flat areas.
    texture = np.maximum(FINE_GAIN * (fine - 0.5), broad - 1)
    out: Floats = blur(np.sqrt(1 + np.maximum(texture, 0)), 2.0)
    return out


@dataclass(frozen=True, eq=False, kw_only=True)
class Message:
    """What is written, and under which key: the id, its code bits, and the carrier of the key."""

    mark_id: str
    code: Bits
    key: bytes
    carrier: Carrier


@dataclass(frozen=True, eq=False)
class Plan:
    """A picture's mark at strength 1, which is a root mean square of one grey level in flat areas.

    `plane` is luma and `mark` what is added to it, both at the canonical size; `origin` is how far the tile
    is moved; `signs` are the code bits as +1 and -1; `native` is the picture's own size over the canonical.
    """

    plane: Floats
    mark: Floats
    mask: Floats
    origin: tuple[int, int]
    signs: Floats
    carrier: Carrier
    native: float

    def passes(self, strength: float) -> bool:
        """Say whether copies with each of the HARD damages would decode with something in hand."""
        return all(margin >= MARGIN_DB for margin in self.margins(strength, HARD))

    def margins(self, strength: float, damages: Sequence[Damage]) -> Iterator[float]:
        """Yield each damage's energy per message bit over noise density in dB; at 0 decoding begins."""
        marked = np.clip(np.round(self.plane + strength * self.mark), 0, 255).astype(np.float32)
        return (self._margin(*damage(marked, self.native)) for damage in damages)

    def limit(self) -> float:
        """Return the strength that is not passed for the sake of robustness."""
        power = float(np.square(self.mark).mean())
        return min(FLAT, float(255 * 10 ** (-LEAST_PSNR / 20) / np.sqrt(power)))

    def _margin(self, view: Floats, top: float, left: float) -> float:
        # Judged by the known message, which costs a tenth of decoding it.
        values = equalised(spectrum(fold(whiten(view)), self.carrier), self.carrier.radius)
        aligned = self.carrier.moved(values, top - self.origin[0], left - self.origin[1])
        sync = self.carrier.fit(aligned)
        soft = soft_bits(aligned, self.carrier) * self.signs
        level = float(soft.mean())
        if level <= 0 or float(sync.sum()) * np.sqrt(2 / len(sync)) < FIT:
            return -math.inf
        # Six code bits to a message bit: 6 mean^2 / (2 variance).
        return 10 * math.log10(3 * level**2 / float(soft.var()))


Damage = Callable[[Floats, float], tuple[Floats, float, float]]
"""From luma and its native size over this one: a damaged copy, and how much was cut off above and left."""


def _compressed(quality: int) -> Damage:
    return lambda marked, native: (_at(marked, native, quality), 0, 0)


def _cut(marked: Floats, eighths: int) -> tuple[Floats, float, float]:
    height, width = marked.shape
    top, left = height * (8 - eighths) // 16, width * (8 - eighths) // 16
    return marked[top : top + height * eighths // 8, left : left + width * eighths // 8], top, left


def _cut_and_shrunk(marked: Floats, native: float) -> tuple[Floats, float, float]:
    view, top, left = _cut(marked, 6)
    return _at(view, native / 2, 50), top, left


def _at(plane: Floats, scale: float, quality: int) -> Floats:
    """Return `plane` after JPEG at `scale` of its size (at most its own)."""
    if scale >= 1:
        return _jpeg(plane, quality)
    height, width = plane.shape
    small = resized(plane, max(8, round(width * scale)), max(8, round(height * scale)))
    return resized(_jpeg(small, quality), width, height)


HARD: tuple[Damage, ...] = (_compressed(30), lambda marked, _: _cut(marked, 4), _cut_and_shrunk)
EASIER: tuple[Damage, ...] = (_compressed(75), _compressed(60), lambda marked, _: _cut(marked, 6))
WORTH = (1, 1, 1, 8, 4, 2)
"""What passing each of HARD and EASIER counts where not all can be had."""


def _jpeg(plane: Floats, quality: int) -> Floats:
    import cv2

    grey = np.clip(np.round(plane), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)


def _origin(message: Message, plane: Floats) -> tuple[int, int]:
    """Return how far this picture's tile is moved: anywhere in it, by key, id and what the picture shows.

    So the marks of one key lie elsewhere in every picture, and an average over pictures holds none of it.
    """
    thumb = resized(plane, 8, 8).astype(np.uint8).tobytes()
    key = message.key
    data = hashlib.shake_256(
        b"clearmark origin 1" + len(key).to_bytes(4) + key + message.mark_id.encode() + thumb
    )
    down, right = data.digest(2)
    return down, right


def plan(luma: Floats, side: int, message: Message) -> Plan:
    """Lay out the mark for `luma` (0-255) at the canonical size of shortest side `side`."""
    plane, carrier = canonical(luma, side), message.carrier
    signs = (1 - 2 * message.code.astype(np.float32)).astype(np.float32)
    origin = _origin(message, plane)
    hides = mask(plane)

    def spread(amplitude: Floats) -> Floats:
        tile = carrier.tile(carrier.moved(carrier.coefficients(signs * amplitude), *origin))
        down, right = -(-plane.shape[0] // TILE), -(-plane.shape[1] // TILE)
        out: Floats = np.tile(tile, (down, right))[: plane.shape[0], : plane.shape[1]] * hides
        return out

    even = np.ones(CODE_BITS, np.float32)
    first = spread(even)
    amplitude = _informed(plane, first, carrier, signs, origin)
    return Plan(plane, spread(amplitude), hides, origin, signs, carrier, min(luma.shape) / side)


def _informed(
    plane: Floats, first: Floats, carrier: Carrier, signs: Floats, origin: tuple[int, int]
) -> Floats:
    """Return each code bit's amplitude, mean square 1, against what of the picture stands in its way."""
    marked = spectrum(fold(whiten(np.clip(plane + first, 0, 255))), carrier)
    before = spectrum(fold(whiten(plane)), carrier)
    # Both are measured with the marked one's equaliser, which is what a decoder will have.
    scale = np.abs(equalised(marked, carrier.radius)) / np.maximum(np.abs(marked), 1e-9)
    even = np.ones(len(carrier.fy), np.float32)

    def level(values: Complex) -> Floats:
        aligned = carrier.moved(values * scale, -origin[0], -origin[1])
        return carrier.collect(aligned, even) * signs / carrier.count

    host = level(before)
    gain = float((level(marked) - host).mean())
    if gain <= 0:
        return np.ones(CODE_BITS, np.float32)
    against = host / gain
    share = min(0.7, 0.5 / max(float(against.std()), 1e-6))
    amplitude = np.maximum(1 - share * (against - against.mean()), LEAST_AMPLITUDE)
    out: Floats = (amplitude / np.sqrt((amplitude**2).mean())).astype(np.float32)
    return out


def layouts(luma: Floats, message: Message) -> Iterator[tuple[Plan, float]]:
    """Yield plans and strengths to try, the best first: the weakest that passes everything hard.

    A picture that can carry no such mark gets, at the limit, the size that passes more. What then follows is
    stronger than the limit, and only for a picture from which a weaker mark would not be read at all.
    """
    sides = SIDES if min(luma.shape) >= SMALL else SIDES[::-1]
    plans = []
    for side in sides:
        candidate = plan(luma, side, message)
        plans.append(candidate)
        if candidate.passes(candidate.limit()):
            yield candidate, _weakest(candidate)
            break
    else:
        plans.sort(key=_worth, reverse=True)
    for candidate in plans:
        yield candidate, candidate.limit()
    for more in (1.25, 1.6):
        for candidate in plans:
            yield candidate, candidate.limit() * more


def _worth(candidate: Plan) -> float:
    """Return what the damages that a plan passes at its limit count; one that it just misses, in part."""
    margins = candidate.margins(candidate.limit(), HARD + EASIER)
    return sum(
        worth * min(1.0, max(0.0, (margin + 2) / 4)) for worth, margin in zip(WORTH, margins, strict=True)
    )


def _weakest(candidate: Plan) -> float:
    """Return the weakest strength that passes, to within a fifth."""
    high = candidate.limit()
    low = min(WEAKEST, high)
    if candidate.passes(low):
        return low
    for _ in range(2):
        between = (low * high) ** 0.5
        low, high = (low, between) if candidate.passes(between) else (between, high)
    return high
