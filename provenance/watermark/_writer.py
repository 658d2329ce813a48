"""The embedder of the codec `clearmark`: the tile under a perceptual mask, as weak as it may be.

What of the picture itself stands on the carrier's frequencies is known, so the code bits that it works
against are written stronger and those that it happens to favour weaker, at the same power: informed
embedding (Miller, Doerr & Cox 2004), in rounds over the picture, its centre and a compressed copy. Size,
slope of the spectrum, loudness and strength are chosen by what is left in hand in damaged copies.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._carrier import TILE, Carrier
from clearmark.provenance.watermark._convolution import CODE_BITS
from clearmark.provenance.watermark._damages import (
    EASIER,
    HARD,
    LIGHT,
    QUICK,
    ROUGH,
    WORTH,
    Damage,
    at,
    brightened,
    contrasted,
    grey,
)
from clearmark.provenance.watermark._front import (
    SIDES,
    canonical,
    equalised,
    fold,
    on_all,
    resized,
    spectrum,
    whiten,
)
from clearmark.provenance.watermark._mask import FLAT, ink, mask, outline, texture
from clearmark.provenance.watermark._payload import Bits
from clearmark.provenance.watermark._reader import soft_bits
from clearmark.provenance.watermark.codec import Pixels

__all__ = ["Message", "Plan", "layouts", "plan"]

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]
Index = npt.NDArray[np.intp]

LEAST_PSNR = 38.5
"""Below this no picture is marked for the sake of robustness, in dB."""

WEAKEST = 0.5
"""Strength that is not gone below, root mean square in flat areas."""

MARGIN_DB = 2.5
"""What the hard damages must leave in hand: at 0 about half of all messages are read."""

FIT = 6.0
"""Fit of the fixed pattern that counts as 0 dB: there the search begins to find it."""

SYNC_GAIN = 1.25
"""Amplitude of the fixed pattern over that of the message: it is looked for among thousands of places."""

TILTS = (-1.2,)
"""Other slopes of the mark's spectrum over radius: fine texture leaves more room at higher frequencies."""

ORIGINS = 48
"""Places for the tile, of which the one that the picture itself favours is taken."""

ROUNDS = 4
STEP = 0.4
SPREAD = 0.6
PLAIN, LIT = (0.4, 0.4, 0.2, 0.0, 0.0), (0.2, 0.2, 0.2, 0.2, 0.2)
LEAST_AMPLITUDE = 0.1
"""Rounds in which the code bits' amplitudes are fitted, how far each goes, their standard deviation at most,
the shares of what is looked at (see `informed`) where light leaves enough and where it does not, and the
least amplitude."""

OUTLINES = ((1, 0.12, 0.25), (0, 0.12))
"""What is tried on a drawing that light takes from: size, by its place in SIDES, and shares of an edge."""

INK = (0.01, 0.6)
"""Share of a picture that is darker than paper, between which it counts as a drawing."""

HEADROOM = 1.0
"""How far white and black give way for the mark, in units of its local strength."""

ROOM = 3.0
"""The strength to which they give way at most, where a mark beside an edge is stronger."""

END, VIVID = 12, 0.01
"""Grey levels from white or black at which a colour has no room for the mark; share of a picture with such
colours from which copies are tried in colour."""

ENOUGH_DB, HOPELESS_DB = 1.0, -2.0
"""What a copy must leave in hand so that the quiet mask is kept, and below what louder is no help, either."""

LEAST_LOUD, MOST_LOUD, SLACK = 0.25, 0.85, 0.25
"""How loud a mask is at least that is not quiet, from where it is taken for 1, and how much worth is given up
for less of it."""

LOST = -10.0
"""Margin of a copy in which nothing is left, in dB."""


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

    `plane` is luma and `mark` what is added to it, both at the canonical size; `base` is luma, too, or the
    picture in BGR where colours at the end of their range hold back the mark; `origin` is how far the tile
    is moved; `signs` are the code bits as +1 and -1; `native` is the picture's own size over the canonical;
    the amplitudes fall with radius to the power `tilt`; `hides` is the strength for which white and black
    give way, and `power` what texture hides.
    """

    plane: Floats
    base: Floats
    mark: Floats
    mask: Floats
    origin: tuple[int, int]
    signs: Floats
    carrier: Carrier
    native: float
    tilt: float
    hides: Floats
    power: Floats

    def given(self, strength: float, base: Floats | None = None) -> Floats:
        """Return the picture (or `base`) with white and black given way for the mark."""
        base = self.base if base is None else base
        return _given(base, self.hides, strength)

    def marked(self, strength: float) -> Floats:
        """Return the picture with the mark on it, 0-255."""
        return with_mark(self.given(strength), strength * self.mark)

    def margins(self, strength: float, damages: Sequence[Damage]) -> Iterator[float]:
        """Yield each damage's energy per message bit over noise density in dB; at 0 decoding begins."""
        marked = self.marked(strength)
        np.rint(marked, out=marked)
        return (self._margin(*damage(marked, self.native)) for damage in damages)

    @functools.cached_property
    def limit(self) -> float:
        """The strength that is not passed for the sake of robustness."""
        # One pixel of four says it as well.
        base, hides, mark = (
            np.ascontiguousarray(plane[::2, ::2]) for plane in (self.base, self.hides, self.mark)
        )
        moved = with_mark(_given(base, hides, FLAT), FLAT * mark)
        moved -= base
        power = float(np.square(moved, out=moved).mean()) / FLAT**2
        return min(FLAT, float(255 * 10 ** (-LEAST_PSNR / 20) / np.sqrt(power)))

    def _margin(self, view: Floats, top: float, left: float) -> float:
        # Judged by the known message, which costs a tenth of decoding it.
        values = equalised(spectrum(fold(whiten(grey(view))), self.carrier), self.carrier.radius)
        aligned = self.carrier.moved(values, top - self.origin[0], left - self.origin[1])
        sync = self.carrier.fit(aligned)
        soft = soft_bits(aligned, self.carrier) * self.signs
        level = float(soft.mean())
        fit = float(sync.sum()) * math.sqrt(2 / len(sync))
        if level <= 0 or fit <= 1:
            return LOST
        # Six code bits to a message bit: 6 mean^2 / (2 variance).
        signal = 10 * math.log10(3 * level**2 / max(float(soft.var()), 1e-12))
        return max(LOST, min(signal, 20 * math.log10(fit / FIT)))


def _given(base: Floats, hides: Floats, strength: float) -> Floats:
    room = np.minimum(hides, np.float32(ROOM))
    room *= np.float32(HEADROOM * strength)
    room = on_all(room, base)
    out: Floats = np.maximum(base, room)
    np.subtract(np.float32(255), room, out=room)
    return np.minimum(out, room, out=out)


def with_mark(given: Floats, mark: Floats) -> Floats:
    """Return a picture with `mark` on all its channels."""
    out: Floats = np.add(given, mark if given.ndim == 2 else on_all(mark, given))
    np.maximum(out, 0, out=out)
    return np.minimum(out, 255, out=out)


def _origins(message: Message, plane: Floats) -> Index:
    """Return where this picture's tile may begin: anywhere, by key, id and what the picture shows.

    So the marks of one key lie elsewhere in every picture, and an average over pictures holds none of it.
    """
    thumb = resized(plane, 8, 8).astype(np.uint8).tobytes()
    key = message.key
    data = hashlib.shake_256(
        b"clearmark origin 1" + len(key).to_bytes(4) + key + message.mark_id.encode() + thumb
    )
    return np.frombuffer(data.digest(2 * ORIGINS), np.uint8).reshape(ORIGINS, 2).astype(np.intp)


def _origin(message: Message, plane: Floats, z: Floats) -> tuple[int, int]:
    """Return the origin at which the picture itself favours the fixed pattern most, whole and in part."""
    carrier, fit = message.carrier, np.zeros((TILE, TILE), np.float32)
    for part in (z, z * _centre(z.shape)):
        fit += carrier.position(equalised(spectrum(fold(part), carrier), carrier.radius))
    places = _origins(message, plane)
    down, right = places[int(fit[places[:, 0], places[:, 1]].argmax())].tolist()
    return down, right


def _centre(shape: tuple[int, ...]) -> Floats:
    out = np.zeros(shape, np.float32)
    height, width = shape
    out[height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return out


def _spread(layout: Plan, amplitude: Floats) -> Floats:
    """Return the mark at strength 1: the tile of the code bits' amplitudes, repeated under the mask."""
    carrier, hides, tilt = layout.carrier, layout.mask, layout.tilt
    values = carrier.coefficients(layout.signs * amplitude)
    values[carrier.sync] *= SYNC_GAIN
    values *= carrier.radius**-tilt
    values *= np.float32(math.sqrt(2 * len(values) / float((np.abs(values) ** 2).sum())))
    tile = carrier.tile(carrier.moved(values, *layout.origin))
    down, right = -(-hides.shape[0] // TILE), -(-hides.shape[1] // TILE)
    out: Floats = np.tile(tile, (down, right))[: hides.shape[0], : hides.shape[1]] * hides
    return out


def plan(picture: Floats, seen: Floats, side: int, message: Message) -> Plan:
    """Lay out the mark for luma `seen` (0-255) at the canonical size of shortest side `side`."""
    plane = canonical(seen, side)
    base = plane if picture.ndim == 2 else resized(picture, plane.shape[1], plane.shape[0])
    signs = (1 - 2 * message.code.astype(np.float32)).astype(np.float32)
    origin = _origin(message, plane, whiten(plane))
    power = texture(plane)
    hides = mask(plane, power=power)
    bare = Plan(
        plane,
        base,
        np.zeros_like(plane),
        hides,
        origin,
        signs,
        message.carrier,
        min(seen.shape) / side,
        0.0,
        hides,
        power,
    )
    return tilted(bare, 0.0)


def tilted(layout: Plan, tilt: float) -> Plan:
    """Return `layout` with its energy at lower frequencies (a positive `tilt`) or at higher ones."""
    bare = replace(layout, tilt=tilt)
    return replace(bare, mark=_spread(bare, np.ones(CODE_BITS, np.float32)))


def informed(first: Plan, shares: Sequence[float] = PLAIN) -> Plan:
    """Return `first` with each code bit's amplitude against what of the picture stands in its way.

    In rounds: views of the marked picture are read, and bits that come out weak gain at the expense of the
    others, at the same power. The views count by their `shares`: the whole, its centre alone, a small
    compressed copy, and copies with too much light and with more contrast.
    """
    amplitude = np.ones(CODE_BITS, np.float32)
    mark, strength = first.mark, first.limit
    # In colour where light is looked at: each channel ends its range by itself.
    given = first.given(strength, first.base if any(shares[3:]) else first.plane)
    carrier, origin, signs = first.carrier, first.origin, first.signs
    centre = _centre(first.plane.shape)

    def lacking(z: Floats) -> Floats:
        values = equalised(spectrum(fold(z), carrier), carrier.radius)
        soft = soft_bits(carrier.moved(values, -origin[0], -origin[1]), carrier) * signs
        level = float(soft.mean())
        out: Floats = (level - soft) / max(level, 0.2 * float(soft.std()), 1e-6)
        return out * np.float32(min(1, SPREAD / max(float(out.std()), 1e-6)))

    def views(marked: Floats) -> Iterator[Floats]:
        z = whiten(grey(marked))
        yield z
        yield z * centre
        yield whiten(grey(at(marked, first.native / 2, 50)))
        if any(shares[3:]):
            yield whiten(grey(brightened(marked, 1)[0]))
            yield whiten(grey(contrasted(marked, 1)[0]))

    for _ in range(ROUNDS):
        marked = with_mark(given, strength * mark)
        change = sum(share * lacking(view) for share, view in zip(shares, views(marked), strict=False))
        amplitude = np.maximum(amplitude + STEP * change, LEAST_AMPLITUDE)
        amplitude /= amplitude.mean()
        amplitude = 1 + (amplitude - 1) * min(1, SPREAD / max(float(amplitude.std()), 1e-6))
        amplitude = (amplitude / np.sqrt((amplitude**2).mean())).astype(np.float32)
        mark = _spread(first, amplitude)
    return replace(first, mark=mark)


def outlined(loud: Plan, share: float) -> Plan:
    """Return `loud` with `share` of each edge's height on what of it outlasts light.

    Of what is drawn on white, too much light or contrast leaves the outline alone. It is moved by as many
    tenths of a pixel as `share` says.
    """
    lines = share * outline(loud.plane)
    return tilted(replace(loud, mask=np.sqrt(lines * lines + loud.hides * loud.hides)), 0.0)


@dataclass(frozen=True, eq=False)
class _Tried:
    """A plan, and what each of HARD leaves of it in hand at its limit, in dB."""

    plan: Plan
    margins: list[float]

    @property
    def worth(self) -> float:
        """Return the chance, in all, of what they should pass."""
        chances = (1 / (1 + math.exp(-(margin - 1) / 1.5)) for margin in self.margins)
        return sum(worth * chance for worth, chance in zip(WORTH, chances, strict=False))


def layouts(picture: Pixels, seen: Floats, message: Message) -> Iterator[tuple[Plan, float]]:
    """Yield plans and strengths to try for a picture and its luma, the best first.

    The first is the quietest that passes everything hard. A picture that can carry no such mark gets, at the
    limit, the plan that passes more. What then follows is stronger than the limit, and only for a picture
    from which a weaker mark would not be read at all.
    """
    base = _vivid(picture)
    plans = [plan(seen if base is None else base, seen, side, message) for side in SIDES]
    likely = sorted((_tried(each, ROUGH) for each in plans), key=_worth, reverse=True)
    best = _best(likely[0])
    if min(best.margins) < ENOUGH_DB:
        best = _loud_enough(likely[:2], plans, best)
    yield best.plan, _weakest(best)
    yield best.plan, best.plan.limit
    for more in (1.25, 1.6):
        for candidate in (best.plan, *(each.plan for each in likely[1:])):
            yield candidate, candidate.limit * more


def _loud_enough(likely: Sequence[_Tried], plans: Sequence[Plan], quiet: _Tried) -> _Tried:
    """Return what passes most with all that is kept back, or as much with less of it."""
    louder = (_tried(_louder(each.plan, 1), ROUGH) for each in likely)
    loudest = _best(max(louder, key=_worth))
    if min(loudest.margins[LIGHT]) < ENOUGH_DB and INK[0] < float(ink(plans[-1].plane).mean()) < INK[1]:
        drawn = max((_outlined(_louder(plans[size], 1), *shares) for size, *shares in OUTLINES), key=_worth)
        loudest = max(loudest, _completed(drawn), key=_worth)
        if loudest.plan is drawn.plan:
            return max(quiet, loudest, key=_worth)
    if quiet.worth >= loudest.worth:
        return quiet
    loud = LEAST_LOUD
    for before, after in zip(quiet.margins, loudest.margins, strict=True):
        if before < ENOUGH_DB and after > max(before, HOPELESS_DB):
            loud = max(loud, min(1.0, (ENOUGH_DB - before) / (after - before)))
    if loud > MOST_LOUD:
        return loudest
    same = next(each for each in plans if each.plane.shape == loudest.plan.plane.shape)
    middle = _tried(informed(tilted(_louder(same, loud), loudest.plan.tilt)))
    return middle if middle.worth >= loudest.worth - SLACK else loudest


def _outlined(loud: Plan, *shares: float) -> _Tried:
    """Return the better of some shares, informed."""
    bare = (_tried(outlined(loud, share), QUICK) for share in shares)
    return _tried(informed(max(bare, key=_worth).plan, LIT), QUICK)


def _vivid(picture: Pixels) -> Floats | None:
    """Return the picture at no more than it is planned at, in BGR, if many colours end their range."""
    import cv2

    side = min(picture.shape[:2])
    if side > 2 * SIDES[0]:
        scale = 2 * SIDES[0] / side
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    one, two, three = cv2.split(picture)
    low, high = cv2.min(cv2.min(one, two), three), cv2.max(cv2.max(one, two), three)
    ends = ((low < END) | (high > 255 - END)) & (high.astype(np.int16) - low > END)
    if float(ends.mean()) < VIVID:
        return None
    return np.ascontiguousarray(picture[..., ::-1]).astype(np.float32)


def _louder(layout: Plan, loud: float) -> Plan:
    hides = mask(layout.plane, loud, layout.power)
    return tilted(replace(layout, mask=hides, hides=hides), 0.0)


def _best(likeliest: _Tried) -> _Tried:
    """Return the likeliest size with the slope that passes more, informed."""
    slopes = (_tried(tilted(likeliest.plan, tilt), ROUGH) for tilt in TILTS)
    return _tried(informed(max(likeliest, *slopes, key=_worth).plan))


def _worth(tried: _Tried) -> float:
    return tried.worth


def _tried(plan: Plan, damages: Sequence[Damage] = HARD) -> _Tried:
    return _Tried(plan, _margins(plan, plan.limit, damages))


def _completed(quick: _Tried) -> _Tried:
    """Return what was tried on QUICK, tried on all of HARD."""
    return _Tried(quick.plan, quick.margins + _margins(quick.plan, quick.plan.limit, HARD[len(QUICK) :]))


def _margins(plan: Plan, strength: float, damages: Sequence[Damage] = HARD) -> list[float]:
    margins = plan.margins(strength, damages)
    return [margin + EASIER.get(damage, 0) for margin, damage in zip(margins, damages, strict=True)]


def _weakest(tried: _Tried) -> float:
    """Return the weakest strength that passes."""
    high = tried.plan.limit
    over = min(tried.margins) - MARGIN_DB
    if over <= 0.5:
        return high
    low = max(min(WEAKEST, high), high * 10 ** (-over / 20))
    # What leaves least there leaves least here: half of the damages answer for all.
    least = np.argsort(tried.margins)[: len(HARD) // 2]
    margins = _margins(tried.plan, low, [HARD[index] for index in least])
    return low if min(margins) >= MARGIN_DB else (low * high) ** 0.5
