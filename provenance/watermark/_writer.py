"""The embedder of the codec `clearmark`: the tile under a perceptual mask, as weak as it may be.

What of the picture itself stands on the carrier's frequencies is known, so the code bits that it works
against are written stronger and those that it happens to favour weaker, at the same power: informed
embedding (Miller, Doerr & Cox 2004), in rounds over the picture, its centre and a compressed copy. Size,
slope of the spectrum, layers and strength are chosen by what is left in hand in damaged copies.
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
from clearmark.provenance.watermark._mask import EDGE, FLAT, edges, ink, mask
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
VIEWS = (0.4, 0.4, 0.2)
ROLES = {"paper": (0.25, 0.25, 0.5), "ink": (0.2, 0.4, 0.4)}
LEAST_AMPLITUDE = 0.1
"""Rounds in which the code bits' amplitudes are fitted, how far each goes, their standard deviation at most,
the shares of the views (whole, centre, compressed copy; of the layer for ink: whole, brighter, more
contrast), and the least amplitude."""

INK = (0.01, 0.6)
"""Share of a picture that is darker than that, between which the mark has two layers."""

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
    the amplitudes fall with radius to the power `tilt`; `other` is what another layer adds, at this size;
    `hides` is the strength of all layers together, for which white and black give way.
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
    other: Floats
    hides: Floats

    def given(self, strength: float, base: Floats | None = None) -> Floats:
        """Return the picture (or `base`) with white and black given way for the mark."""
        base = self.base if base is None else base
        hides: Floats = np.minimum(self.hides, ROOM)
        room = on_all(hides * np.float32(HEADROOM * strength), base)
        out: Floats = np.maximum(base, room)
        return np.minimum(out, 255 - room, out=out)

    def marked(self, strength: float) -> Floats:
        """Return the picture with the mark on it, 0-255."""
        return with_mark(self.given(strength), strength * (self.mark + self.other))

    def margins(self, strength: float, damages: Sequence[Damage]) -> Iterator[float]:
        """Yield each damage's energy per message bit over noise density in dB; at 0 decoding begins."""
        marked = np.rint(self.marked(strength))
        return (self._margin(*damage(marked, self.native)) for damage in damages)

    @functools.cached_property
    def limit(self) -> float:
        """The strength that is not passed for the sake of robustness."""
        moved = with_mark(self.given(FLAT), FLAT * (self.mark + self.other)) - self.base
        power = float(np.square(moved[::2, ::2]).mean()) / FLAT**2
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


def with_mark(given: Floats, mark: Floats) -> Floats:
    """Return a picture with `mark` on all its channels."""
    out: Floats = given + on_all(mark, given)
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
    hides = mask(plane)
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
        np.zeros_like(plane),
        hides,
    )
    return tilted(bare, 0.0)


def tilted(layout: Plan, tilt: float) -> Plan:
    """Return `layout` with its energy at lower frequencies (a positive `tilt`) or at higher ones."""
    bare = replace(layout, tilt=tilt)
    return replace(bare, mark=_spread(bare, np.ones(CODE_BITS, np.float32)))


def informed(first: Plan, role: str = "") -> Plan:
    """Return `first` with each code bit's amplitude against what of the picture stands in its way.

    In rounds: the marked picture, its centre alone and a small compressed copy are read, and bits that come
    out weak gain at the expense of the others, at the same power. A layer with a role looks at what it is
    there for: `paper` at compression, `ink` at what too much light leaves.
    """
    amplitude = np.ones(CODE_BITS, np.float32)
    mark, strength = first.mark, first.limit
    given = first.given(strength, first.base if role == "ink" else first.plane)
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
        if role == "ink":
            yield whiten(grey(brightened(marked, 1)[0]))
            yield whiten(grey(contrasted(marked, 1)[0]))
            return
        yield z * centre
        yield whiten(grey(at(marked, first.native / 2, 50)))

    for _ in range(ROUNDS):
        marked = with_mark(given, strength * (mark + first.other))
        shares = ROLES.get(role, VIEWS)
        change = sum(share * lacking(view) for share, view in zip(shares, views(marked), strict=True))
        amplitude = np.maximum(amplitude + STEP * change, LEAST_AMPLITUDE)
        amplitude /= amplitude.mean()
        amplitude = 1 + (amplitude - 1) * min(1, SPREAD / max(float(amplitude.std()), 1e-6))
        amplitude = (amplitude / np.sqrt((amplitude**2).mean())).astype(np.float32)
        mark = _spread(first, amplitude)
    return replace(first, mark=mark)


Layers = tuple[Plan, ...]
"""What is added to a picture: one plan, or one for paper and one for ink."""


def layered(coarse: Plan, fine: Plan, louder: float = 1.0) -> Layers:
    """Return a mark in two layers for what is drawn on white.

    What compression leaves of paper are low frequencies, which the coarse size has. What too much light
    leaves is ink and its outline, and those hold more at the fine size.
    """
    # Where there is ink both lie, each at half the power.
    paper = replace(coarse, mask=coarse.mask * np.sqrt(1 - ink(coarse.plane) / 2))
    lines = np.sqrt(fine.mask**2 / 2 + (louder * EDGE * edges(fine.plane)) ** 2)
    drawn = replace(fine, mask=(lines * ink(fine.plane)).astype(np.float32))
    paper, drawn = tilted(paper, 0.0), tilted(drawn, 0.0)
    both = paper.mask + _at_size_of(paper, drawn.mask)
    paper = informed(replace(paper, other=_at_size_of(paper, drawn.mark), hides=both), "paper")
    both = drawn.mask + _at_size_of(drawn, paper.mask)
    drawn = informed(replace(drawn, other=_at_size_of(drawn, paper.mark), hides=both), "ink")
    return replace(paper, other=_at_size_of(paper, drawn.mark)), drawn


def _at_size_of(layout: Plan, mark: Floats) -> Floats:
    height, width = layout.plane.shape
    return resized(mark, width, height)


@dataclass(frozen=True, eq=False)
class _Tried:
    """Layers, and what each of HARD leaves of them in hand at their limit, in dB."""

    layers: Layers
    margins: list[float]

    @property
    def worth(self) -> float:
        """Return the chance, in all, of what they should pass."""
        chances = (1 / (1 + math.exp(-(margin - 1) / 1.5)) for margin in self.margins)
        return sum(worth * chance for worth, chance in zip(WORTH, chances, strict=False))


def layouts(picture: Pixels, seen: Floats, message: Message) -> Iterator[tuple[Layers, float]]:
    """Yield layers and strengths to try for a picture and its luma, the best first.

    The first is the quietest that passes everything hard. A picture that can carry no such mark gets, at the
    limit, the layers that pass more. What then follows is stronger than the limit, and only for a picture
    from which a weaker mark would not be read at all.
    """
    base = _vivid(picture)
    plans = [plan(seen if base is None else base, seen, side, message) for side in SIDES]
    likely = sorted((_tried((each,), QUICK) for each in plans), key=_worth, reverse=True)
    best = _best(likely[:1], plans)
    if min(best.margins) < ENOUGH_DB:
        best = _loud_enough(likely[:2], plans, best)
    yield best.layers, _weakest(best)
    yield best.layers, best.layers[0].limit
    for more in (1.25, 1.6):
        for candidate in (best.layers, *(each.layers for each in likely[1:])):
            yield candidate, candidate[0].limit * more


def _loud_enough(likely: Sequence[_Tried], plans: Sequence[Plan], quiet: _Tried) -> _Tried:
    """Return what passes most with all that is kept back, or as much with less of it."""
    louder = (_tried((_louder(each.layers[0], 1),), QUICK) for each in likely)
    loudest = _best(sorted(louder, key=_worth, reverse=True), plans, 1)
    if quiet.worth >= loudest.worth:
        return quiet
    loud = LEAST_LOUD
    for before, after in zip(quiet.margins, loudest.margins, strict=True):
        if before < ENOUGH_DB and after > max(before, HOPELESS_DB):
            loud = max(loud, min(1.0, (ENOUGH_DB - before) / (after - before)))
    if loud > MOST_LOUD:
        return loudest
    by_side = {min(each.plane.shape): each for each in plans}
    layers = [_louder(by_side[min(each.plane.shape)], loud) for each in loudest.layers]
    if len(layers) > 1:
        middle = _tried(layered(layers[0], layers[1], 1 + loud))
    else:
        middle = _tried((informed(tilted(layers[0], loudest.layers[0].tilt)),))
    return middle if middle.worth >= loudest.worth - SLACK else loudest


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
    hides = mask(layout.plane, loud)
    return tilted(replace(layout, mask=hides, hides=hides), 0.0)


def _best(likely: Sequence[_Tried], plans: Sequence[Plan], loud: float = 0.0) -> _Tried:
    """Return what passes most: size (of those in `likely`, the likeliest first), slope, and layers."""
    slopes = (_tried((tilted(likely[0].layers[0], tilt),), QUICK) for tilt in TILTS)
    seeds = (max(likely[0], *slopes, key=_worth), *likely[1:])
    best = max((_tried((informed(seed.layers[0]),)) for seed in seeds), key=_worth)
    if min(best.margins[LIGHT]) < ENOUGH_DB and INK[0] < float(ink(plans[-1].plane).mean()) < INK[1]:
        coarse, fine = plans[-1], plans[0]
        if loud:
            coarse, fine = _louder(coarse, loud), _louder(fine, loud)
        best = max(best, _tried(layered(coarse, fine, 1 + loud)), key=_worth)
    return best


def _worth(tried: _Tried) -> float:
    return tried.worth


def _tried(layers: Layers, damages: Sequence[Damage] = HARD) -> _Tried:
    return _Tried(layers, _margins(layers, layers[0].limit, damages))


def _margins(layers: Layers, strength: float, damages: Sequence[Damage] = HARD) -> list[float]:
    """Return what each damage leaves in hand in the layer that holds out better, in dB."""
    each = (layer.margins(strength, damages) for layer in layers)
    best = [max(margins) for margins in zip(*each, strict=True)]
    return [margin + more for margin, more in zip(best, EASIER, strict=False)]


def _weakest(tried: _Tried) -> float:
    """Return the weakest strength that passes."""
    high = tried.layers[0].limit
    over = min(tried.margins) - MARGIN_DB
    if over <= 0.5:
        return high
    low = max(min(WEAKEST, high), high * 10 ** (-over / 20))
    return low if min(_margins(tried.layers, low)) >= MARGIN_DB else (low * high) ** 0.5
