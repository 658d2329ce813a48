"""From a picture to matches: hashes first, then descriptors of the whole and its crops, then geometry."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clearmark.core import Box
from clearmark.core.errors import MediaError, UsageError
from clearmark.guardrails.memorization._items import Entry, Item
from clearmark.guardrails.memorization._pictures import read_pixels
from clearmark.guardrails.memorization.calibration import probability, signals
from clearmark.guardrails.memorization.descriptor import Descriptor, default_descriptor, sign_codes, views
from clearmark.guardrails.memorization.geometry import Features, Region, colour_difference, features, locate
from clearmark.guardrails.memorization.hashes import pdq, pdq_dihedral

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization.engine import PictureIndex

__all__ = ["DEFAULT_THRESHOLD", "Check", "CopyChecker", "CopyMatch", "entry_of"]

DEFAULT_THRESHOLD = 0.9
"""Of an index that nobody calibrated."""

_CANDIDATES = 8
_EACH, _OF_WHOLE, _OF_VIEW, _LOOKED_AT = 8, 5, 2, 16
_NEAR = 24
_LEAST_QUALITY = 20
_KEPT = 384
_CACHED = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMatch:
    """An item that a picture may be a copy of, the evidence, and the probability that follows from it.

    `distance` is 1 - cosine of the descriptors; `hash_distance` is of PDQ, in bits (256 where it says
    nothing). `evidence` is what the probability was computed from, in the order of `EVIDENCE`.
    """

    item: Item
    score: float
    distance: float
    hash_distance: int
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
    """Holds pictures against an index; the features of `cached` items stay in memory (170 kB each).

    Raises:
        UsageError: the index holds codes of another descriptor.
    """

    def __init__(
        self, index: PictureIndex, *, descriptor: Descriptor | None = None, cached: int = _CACHED
    ) -> None:
        self.index = index
        self._most = cached
        self.descriptor = descriptor or default_descriptor()
        if self.descriptor.ref != index.descriptor:
            raise UsageError(
                f"the index holds codes of {index.descriptor}, not of {self.descriptor.ref}",
                hint="build it again, or give the descriptor that it was built with",
            )
        self._cache: OrderedDict[int, Features | None] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, data: bytes) -> Check:
        """Check untrusted bytes; boxes come out in pixels of the picture as it is.

        Raises:
            MediaError: broken, unknown, or too large.
        """
        from clearmark.core.pixels import open_image

        pixels = read_pixels(data)
        full = max(open_image(data).size)
        found = self.check_pixels(pixels)
        grown = full / max(pixels.shape[:2])
        return replace(found, matches=tuple(_grown(match, grown) for match in found.matches))

    def check_pixels(self, pixels: NDArray[np.uint8]) -> Check:
        """Check uint8 [height, width, 3]."""
        matches = self.candidates(pixels)
        return Check(matches=tuple(matches[:_CANDIDATES]), threshold=self.threshold)

    def candidates(self, pixels: NDArray[np.uint8]) -> list[CopyMatch]:
        """Return every item that was looked at closely, likeliest first."""
        hashes, quality = pdq_dihedral(pixels)
        near = self.index.near_hashes(hashes, 3) if quality >= _LEAST_QUALITY else []
        distance = {hit.id: int(hit.value) for hit in near}
        shown = views(pixels)
        vectors = self.descriptor.embed(shown)
        cosine, chosen = self._near(vectors)
        chosen = list(dict.fromkeys([*distance, *chosen]))
        query = features(pixels)
        mirror = query.flipped()
        matches = [
            self._match(number, query, mirror, distance.get(number, 256), cosine.get(number, 0.0))
            for number in chosen
        ]
        return sorted(matches, key=lambda match: (-match.score, match.item.key))

    def _near(self, vectors: NDArray[np.float32]) -> tuple[dict[int, float], list[int]]:
        """Return the cosines of the items most like any view [n, 512], and which of them to look at.

        Crops of plain pictures are alike by nature and would fill the list, so each view has its own places.
        """
        hits = [self.index.near_vectors(vector[None], _EACH) for vector in vectors]
        cosine: dict[int, float] = {}
        for hit in (hit for some in hits for hit in some):
            cosine[hit.id] = max(cosine.get(hit.id, -1.0), hit.value)
        first = [hit.id for hit in hits[0][:_OF_WHOLE]]
        second = [hit.id for some in hits[1:] for hit in some[:_OF_VIEW]]
        rest = sorted(cosine, key=lambda number: (-cosine[number], number))
        return cosine, list(dict.fromkeys([*first, *second, *rest]))[:_LOOKED_AT]

    @property
    def threshold(self) -> float:
        """The threshold that the index was calibrated to."""
        value = self.index.calibration.get("threshold", DEFAULT_THRESHOLD)
        return min(1 - 1e-6, max(1e-6, float(value)))

    def _match(
        self, number: int, query: Features, mirror: Features, distance: int, cosine: float
    ) -> CopyMatch:
        item = self._features(number)
        region = locate(query, mirror, item) if item is not None else None
        evidence = signals(
            distance=distance,
            cosine=cosine,
            points=min(len(query.points), len(item.points)) if item is not None else len(query.points),
            colour=colour_difference(query, item) if item is not None else 1.0,
            region=region,
        )
        return CopyMatch(
            item=self.index.item(number),
            score=probability(evidence),
            distance=1.0 - cosine,
            hash_distance=distance,
            evidence=evidence,
            region=region,
        )

    def _features(self, number: int) -> Features | None:
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
        data = self.index.picture(number)
        made = features(read_pixels(data)) if data else None
        with self._lock:
            self._cache[number] = made
            while len(self._cache) > self._most:
                self._cache.popitem(last=False)
        return made


def entry_of(
    data: bytes, item: Item, *, descriptor: Descriptor, crops: bool = True, keep_picture: bool = True
) -> Entry:
    """Measure the bytes of a picture for the index; `item.sha256` is filled in.

    Raises:
        MediaError: broken, unknown, or too large, or without any content that could be told apart.
    """
    import PIL.Image

    pixels = read_pixels(data)
    if float(pixels.std()) < 1.0:
        raise MediaError("a blank picture: every other blank one would be its copy")
    codes = sign_codes(descriptor.embed(views(pixels) if crops else [pixels]))
    small = b""
    if keep_picture:
        picture = PIL.Image.fromarray(pixels)
        picture.thumbnail((_KEPT, _KEPT))
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=75, method=2)
        small = out.getvalue()
    known = replace(item, sha256=item.sha256 or hashlib.sha256(data).hexdigest())
    return Entry(known, pdq(pixels).bits, codes, small)


def _grown(match: CopyMatch, by: float) -> CopyMatch:
    region = match.region
    if region is None or by == 1.0:
        return match
    box = Box(
        *(round(side * by) for side in (region.box.x, region.box.y, region.box.width, region.box.height))
    )
    return replace(match, region=replace(region, box=box, scale=region.scale / by))
