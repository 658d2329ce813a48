"""From a picture to matches: hashes, the descriptor and shared key points find candidates, geometry decides.

A candidate is looked at closely only when one of the three is near enough, so that a picture like nothing in
the index costs no geometry at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from clearmark.core import Box
from clearmark.core.errors import MediaError, UsageError
from clearmark.guardrails.memorization._items import Entry, Hit, Item
from clearmark.guardrails.memorization._keypoints import (
    ASKED_SIDE,
    SIDE,
    Features,
    colour_difference,
    features,
    pack,
    unpack,
)
from clearmark.guardrails.memorization._layout import Agreement, Layout, agreement, layout, turned
from clearmark.guardrails.memorization._pictures import read_pixels, to_pixels
from clearmark.guardrails.memorization.calibration import probability, signals
from clearmark.guardrails.memorization.descriptor import Descriptor, default_descriptor, sign_codes, views
from clearmark.guardrails.memorization.geometry import Region, agreeing_places, locate, soft_region
from clearmark.guardrails.memorization.hashes import pdq, pdq_dihedral

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization.engine import PictureIndex

__all__ = ["DEFAULT_THRESHOLD", "GATE", "Check", "CopyChecker", "CopyMatch", "Gate", "entry_of"]

DEFAULT_THRESHOLD = 0.9
"""Of an index that nobody calibrated."""

_CANDIDATES = 8
_OF_HASH, _OF_WHOLE, _OF_VOTES, _LOOKED_AT = 3, 8, 24, 24
_KNOWN = 32
"""Items by hash and by descriptor whose likeness is known: evidence of candidates that others found."""

_GLANCES = 2, 1, 3
"""Candidates by hash, by descriptor and by votes that the gate shuts out, and that are glanced at."""

_FIRST, _SURE = 2, 0.995
"""Candidates that are held against the picture before it is looked at again, and the probability from which
on it need not be."""

_NEAR = 24
_LEAST_QUALITY = 20
_KEPT = 384
_JPEG = 80


@runtime_checkable
class KeyPointIndex(Protocol):
    """An index that keeps key points of its items, and finds items by them."""

    def near_features(self, query: Features, count: int) -> list[Hit]:
        """Return the items that share most key points with `query` or its mirror image, with their votes."""
        ...

    def kept(self, number: int) -> tuple[bytes, bytes]:
        """Return the packed features and the small picture of an item; either may be empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How near a candidate has to be for geometry to look at it, by any of the three.

    At most so many bits of PDQ, at least such a cosine, at least so many votes. The nearest of those that are
    shut out are let through as well when they are within `soft_bits` or reach `soft_cosine`, and their layout
    agrees by `layout`; so are those that share most key points when `places` of these agree on one map.
    """

    bits: int
    cosine: float
    votes: float
    soft_bits: int = -1
    soft_cosine: float = 2.0
    layout: float = 1.0
    places: int = 1 << 30

    def passes(self, *, bits: float, cosine: float, votes: float) -> bool:
        """Return whether a candidate is near enough."""
        return bits <= self.bits or cosine >= self.cosine or votes >= self.votes

    def passes_softly(self, *, bits: float, cosine: float, layout: float) -> bool:
        """Return whether a candidate that is not is let through for its layout."""
        return (bits <= self.soft_bits or cosine >= self.soft_cosine) and layout >= self.layout


GATE = Gate(bits=44, cosine=0.75, votes=1.0, soft_bits=96, soft_cosine=0.6, layout=0.25, places=5)
"""Chosen on the development packages (docs/memorization.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMatch:
    """An item that a picture may be a copy of, the evidence, and the probability that follows from it.

    `distance` is 1 - cosine of the descriptors; `hash_distance` is of PDQ, in bits (256 where it says
    nothing); `votes` is of shared key points. `evidence` is what the probability was computed from, in the
    order of `EVIDENCE`.
    """

    item: Item
    score: float
    distance: float
    hash_distance: int
    votes: float = 0.0
    evidence: tuple[float, ...] = ()
    region: Region | None = None

    @property
    def kind(self) -> str:
        """One of `KINDS`; without geometry `near-duplicate` for a near hash, else `related`."""
        if self.region is not None:
            return self.region.kind
        return "near-duplicate" if self.hash_distance <= _NEAR else "related"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: boxes in pixels of the picture that was checked."""
        out: dict[str, Any] = self.item.to_dict()
        out |= {"kind": self.kind, "distance": round(self.distance, 4), "score": round(self.score, 6)}
        out |= {"hash_distance": self.hash_distance}
        if self.region is not None:
            out["region"] = {
                **self.region.box.to_dict(),
                "inliers": self.region.inliers,
                "mirrored": self.region.mirrored,
                "share_of_picture": round(self.region.of_query, 4),
                "share_of_item": round(self.region.of_item, 4),
            }
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The matches of one picture, likeliest first, and the threshold of the index."""

    matches: tuple[CopyMatch, ...]
    threshold: float

    @property
    def score(self) -> float:
        """The highest probability; near 0 without any match."""
        return max((match.score for match in self.matches), default=0.0)

    @property
    def memorized(self) -> bool:
        """Whether the threshold is reached."""
        return self.score >= self.threshold


class CopyChecker:
    """Holds pictures against an index; with `gate` None, geometry looks at every candidate.

    Raises:
        UsageError: the index holds codes of another descriptor.
    """

    def __init__(
        self, index: PictureIndex, *, descriptor: Descriptor | None = None, gate: Gate | None = GATE
    ) -> None:
        self.index = index
        self.gate = gate
        self.descriptor = descriptor or default_descriptor()
        if self.descriptor.ref != index.descriptor:
            raise UsageError(
                f"the index holds codes of {index.descriptor}, not of {self.descriptor.ref}",
                hint="build it again, or give the descriptor that it was built with",
            )

    def check(self, data: bytes) -> Check:
        """Check untrusted bytes; boxes come out in pixels of the picture as it is.

        Raises:
            MediaError: broken, unknown, or too large.
        """
        from clearmark.core.pixels import open_image

        opened = open_image(data)
        pixels = to_pixels(opened)
        found = self.check_pixels(pixels)
        grown = max(opened.size) / max(pixels.shape[:2])
        return replace(found, matches=tuple(_grown(match, grown) for match in found.matches))

    def check_pixels(self, pixels: NDArray[np.uint8]) -> Check:
        """Check uint8 [height, width, 3]."""
        matches = self.candidates(pixels)
        return Check(matches=tuple(matches[:_CANDIDATES]), threshold=self.threshold)

    def candidates(self, pixels: NDArray[np.uint8]) -> list[CopyMatch]:
        """Return every item that was looked at closely, likeliest first."""
        hashes, quality = pdq_dihedral(pixels)
        near = self.index.near_hashes(hashes, _KNOWN) if quality >= _LEAST_QUALITY else []
        bits = {hit.id: int(hit.value) for hit in near}
        shares = isinstance(self.index, KeyPointIndex)
        # Without key points in the index, cut-outs are what finds parts.
        vectors = self.descriptor.embed([pixels] if shares else views(pixels))
        like = self.index.near_vectors(vectors, _KNOWN)
        cosine = {hit.id: hit.value for hit in like}
        query = features(pixels, detected=ASKED_SIDE)
        shared = self._sharing(query)
        leading = [hit.id for hits in (near[:_OF_HASH], like[:_OF_WHOLE]) for hit in hits]

        def near_by(votes: dict[int, float]) -> dict[int, tuple[int, float, float]]:
            return {
                number: (bits.get(number, 256), cosine.get(number, 0.0), votes.get(number, 0.0))
                for number in dict.fromkeys([*leading, *votes])
            }

        seen = _Seen(self.index, query)
        first = self._chosen(near_by(shared), seen)
        if not first:
            return []
        values = near_by(shared)
        by_hash, by_cosine = ({hit.id for hit in hits} for hits in (near[:_OF_HASH], like[:2]))

        def matches(chosen: list[int], points: int, known: dict[int, CopyMatch]) -> list[CopyMatch]:
            # The hashes and the nearest come first; of the others, those that share most.
            order = sorted(chosen, key=lambda n: (n not in by_hash, n not in by_cosine, -values[n][2]))
            found = [known.get(n) or self._match(n, seen, values[n], points) for n in order[:_LOOKED_AT]]
            return sorted(found, key=lambda match: (-match.score, match.item.key))

        if self.gate is not None:
            count = round(len(query.points) * SIDE / ASKED_SIDE)
            likely = sorted(first, key=lambda n: (min(values[n][0], 64), -values[n][2]))[:_FIRST]
            known = {n: self._match(n, seen, values[n], count) for n in likely}
            if max(match.score for match in known.values()) >= _SURE:
                return matches(first, count, known)
        # Something is near: a closer look finds more that share key points, and more of these.
        close = features(pixels)
        again = self._sharing(close)
        votes = {n: max(shared.get(n, 0.0), again.get(n, 0.0)) for n in [*shared, *again]}
        seen.look_again(query.joined(close))
        values = near_by(votes)
        chosen = list(dict.fromkeys([*first, *self._chosen(values, seen)]))
        return matches(chosen, len(close.points), {})

    def _sharing(self, query: Features) -> dict[int, float]:
        """Return the items that share most key points, most first, with their votes."""
        if not isinstance(self.index, KeyPointIndex):
            return {}
        return {hit.id: hit.value for hit in self.index.near_features(query, _OF_VOTES)}

    def _chosen(self, near: dict[int, tuple[int, float, float]], seen: _Seen) -> list[int]:
        """Return the candidates that are near enough, and those that a glance lets through."""
        chosen = [number for number, values in near.items() if self._passes(*values)]
        if self.gate is not None:
            chosen += self._glanced({n: near[n] for n in near if n not in chosen}, seen)
        return chosen

    def _glanced(self, shut: dict[int, tuple[int, float, float]], seen: _Seen) -> list[int]:
        """Return those of the candidates that are shut out that a glance at the nearest lets through."""
        assert self.gate is not None
        by_hash = [n for n, near in shut.items() if near[0] <= self.gate.soft_bits]
        by_cosine = [n for n, near in shut.items() if near[1] >= self.gate.soft_cosine and n not in by_hash]
        out = []
        for number in [*by_hash[: _GLANCES[0]], *by_cosine[: _GLANCES[1]]]:
            found = seen.agreement(number)
            if found is not None and found.share * found.weight >= self.gate.layout:
                out.append(number)
        by_votes = sorted((n for n, near in shut.items() if near[2] > 0), key=lambda n: -shut[n][2])
        for number in by_votes[: _GLANCES[2]]:
            if number not in out and seen.places(number) >= self.gate.places:
                out.append(number)
        return out

    def _passes(self, bits: float, cosine: float, votes: float) -> bool:
        return self.gate is None or self.gate.passes(bits=bits, cosine=cosine, votes=votes)

    @property
    def threshold(self) -> float:
        """The threshold that the index was calibrated to."""
        value = self.index.calibration.get("threshold", DEFAULT_THRESHOLD)
        return min(1 - 1e-6, max(1e-6, float(value)))

    def _match(self, number: int, seen: _Seen, near: tuple[int, float, float], points: int) -> CopyMatch:
        query, (distance, cosine, votes) = seen.query, near
        picture, item = seen.kept(number)[1], seen.item(number)
        region, dense = None, seen.agreement(number)
        if item is not None:
            region = locate(query, seen.mirror, item, lambda: _shown(picture, item.size))
        evidence = signals(
            distance=distance,
            cosine=cosine,
            votes=votes,
            points=min(points, len(item.points)) if item is not None else points,
            colour=_colour(query, item, region),
            region=region,
            agreement=dense,
        )
        if region is None and dense is not None and item is not None:
            region = soft_region(query, dense)
        return CopyMatch(
            item=self.index.item(number),
            score=probability(evidence),
            distance=1.0 - cosine,
            hash_distance=distance,
            votes=votes,
            evidence=evidence,
            region=region,
        )


class _Seen:
    """A picture that is checked, and what was read of items so far: nothing is read or compared twice."""

    def __init__(self, index: PictureIndex, query: Features) -> None:
        self.query = query
        self._index = index
        self._turned: list[Layout] = []
        self._kept: dict[int, tuple[bytes, bytes]] = {}
        self._found: dict[int, Agreement | None] = {}
        self._items: dict[int, Features | None] = {}
        self._mirror: Features | None = None

    @property
    def mirror(self) -> Features:
        """The features of the flipped picture."""
        if self._mirror is None:
            self._mirror = self.query.flipped()
        return self._mirror

    def look_again(self, query: Features) -> None:
        """Go on with more key points of the same picture."""
        self.query, self._mirror = query, None

    def kept(self, number: int) -> tuple[bytes, bytes]:
        """Return the packed features and the small picture of an item; either may be empty."""
        if number not in self._kept:
            if isinstance(self._index, KeyPointIndex):
                self._kept[number] = self._index.kept(number)
            else:
                self._kept[number] = b"", self._index.picture(number)
        return self._kept[number]

    def item(self, number: int) -> Features | None:
        """Return the features of an item; None of an item of which nothing is kept."""
        if number not in self._items:
            packed, picture = self.kept(number)
            self._items[number] = (
                unpack(packed) if packed else features(read_pixels(picture)) if picture else None
            )
        return self._items[number]

    def places(self, number: int) -> int:
        """Return how many places agree on one map of the item."""
        item = self.item(number)
        return 0 if item is None else agreeing_places(self.query, self.mirror, item)

    def agreement(self, number: int) -> Agreement | None:
        """Return how far the layouts agree; None of an item without a picture."""
        if number not in self._found:
            luma = _shrunk(self.kept(number)[1])
            if luma is not None and not self._turned and self.query.luma is not None:
                self._turned = turned(layout(self.query.luma))
            self._found[number] = agreement(self._turned, layout(luma)) if luma is not None else None
        return self._found[number]


def _shrunk(picture: bytes) -> NDArray[np.uint8] | None:
    """Return the luma of an item's small picture at half its size, which a JPEG gives for less."""
    import cv2
    import numpy as np

    if not picture:
        return None
    luma = cv2.imdecode(np.frombuffer(picture, dtype=np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    return None if luma is None else np.asarray(luma, dtype=np.uint8)


def _colour(query: Features, item: Features | None, region: Region | None) -> float:
    """Return how far the colours are apart: of the whole, or where geometry laid one on the other."""
    if item is None:
        return 1.0
    whole = colour_difference(query, item)
    return whole if region is None else min(whole, region.colour)


def _shown(picture: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return an item's small picture at the size of its key points [height, width, 3]; None without one."""
    import cv2
    import numpy as np

    if not picture:
        return None
    pixels = np.ascontiguousarray(read_pixels(picture))
    how = cv2.INTER_AREA if max(pixels.shape[:2]) > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=how), dtype=np.uint8)


def entry_of(
    data: bytes, item: Item, *, descriptor: Descriptor, crops: bool = False, keep_picture: bool = True
) -> Entry:
    """Measure the bytes of a picture for the index; `item.sha256` is filled in.

    With `crops`, the descriptor of its corners and middle is kept as well: six codes instead of one. Without
    the picture there are no masks and no kinds in what a check says.

    Raises:
        MediaError: broken, unknown, or too large, or without any content that could be told apart.
    """
    pixels = read_pixels(data)
    if float(pixels.std()) < 1.0:
        raise MediaError("a blank picture: every other blank one would be its copy")
    codes = sign_codes(descriptor.embed(views(pixels) if crops else [pixels]))
    known = replace(item, sha256=item.sha256 or hashlib.sha256(data).hexdigest())
    picture = _small(pixels) if keep_picture else b""
    return Entry(known, pdq(pixels).bits, codes, picture, pack(features(pixels)))


def _small(pixels: NDArray[np.uint8]) -> bytes:
    """Return the picture at 384 pixels at most, as JPEG."""
    import cv2

    share = min(1.0, _KEPT / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, out = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG]
    )
    if not done:
        raise MediaError("the picture cannot be made smaller")
    return out.tobytes()


def _grown(match: CopyMatch, by: float) -> CopyMatch:
    region = match.region
    if region is None or by == 1.0:
        return match
    box = Box(
        *(round(side * by) for side in (region.box.x, region.box.y, region.box.width, region.box.height))
    )
    return replace(match, region=replace(region, box=box, scale=region.scale / by))
