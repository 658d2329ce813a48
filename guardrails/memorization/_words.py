"""Which items share key points with a picture: visual words in an inverted file.

Sivic and Zisserman (2003), with the words of an inverted multi-index (Babenko and Lempitsky 2012), Hamming
embedding and weak geometric consistency (Jégou, Douze and Schmid 2008). A descriptor is turned to 64
principal axes; the nearest of 1,024 centres in each half of them make one of 2^20 words, and the signs of
what is left a signature of 64 bits. A match counts when the signatures are near, and the matches of an item
when they agree on a turn and a scale. That finds pasted parts and templates,
which no descriptor of the whole does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.core.errors import ModelCorrupt
from clearmark.guardrails.memorization._keypoints import STEPS, Features, unpack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ASKED",
    "AXES",
    "CENTRES",
    "PROBES",
    "Postings",
    "Vocabulary",
    "default_vocabulary",
    "offsets",
    "votes",
]

MODEL = "copy-words"
AXES = 64
CENTRES = 1024
INDEXED = 128
"""Key points of an item that have postings."""

ASKED = 300
PROBES = 8
_EACH = 5
_ROWS = 96
_LONGEST = 4096
_NEAR = 20
_SPREAD = 13.0
_TURNS, _OCTAVES = 12, 16
_LEAST = 3


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The mean [128] and principal axes [128, 64] of root SIFT, and the centres [2, 1024, 32] of words."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    centres: NDArray[np.float32]

    def project(self, descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return descriptors [n, 128] along the axes [n, 2, 32]: even ones first, odd ones second."""
        import numpy as np

        turned = (descriptors * np.float32(1 / STEPS) - self.mean) @ self.axes
        out: NDArray[np.float32] = np.ascontiguousarray(
            turned.reshape(len(turned), AXES // 2, 2).transpose(0, 2, 1)
        )
        return out

    def words(self, y: NDArray[np.float32], probes: int) -> NDArray[np.int64]:
        """Return the `probes` nearest words of each projected descriptor [n, probes]."""
        import numpy as np

        out = np.empty((len(y), probes), dtype=np.int64)
        # A part at a time, whose distances stay in the cache.
        for first in range(0, len(y), _ROWS):
            some = y[first : first + _ROWS]
            one = np.ones((len(some), 1), dtype=np.float32)
            # The squared distances less those of the descriptors, by one product each.
            far = [
                np.concatenate([some[:, half], one], axis=1) @ product
                for half, product in enumerate(_products(self))
            ]
            if probes == 1:
                out[first : first + _ROWS, 0] = far[0].argmin(axis=1) * CENTRES + far[1].argmin(axis=1)
                continue
            (near, first_far), (beside, second_far) = (_least(distances, _EACH) for distances in far)
            both = (first_far[:, :, None] + second_far[:, None, :]).reshape(len(some), -1)
            best = np.argpartition(both, probes, axis=1)[:, :probes]
            words = np.take_along_axis(near, best // _EACH, 1) * CENTRES
            out[first : first + _ROWS] = words + np.take_along_axis(beside, best % _EACH, 1)
        return out

    def signatures(self, y: NDArray[np.float32], words: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return which side of the centres of its word [n] each projected descriptor lies on: 64 bits [n]."""
        import numpy as np

        above = np.concatenate(
            [
                y[:, 0] > self.centres[0][words // CENTRES],
                y[:, 1] > self.centres[1][words % CENTRES],
            ],
            axis=1,
        )
        return np.packbits(above, axis=1).view("<u8")[:, 0]


@lru_cache(maxsize=4)
def _products(vocabulary: Vocabulary) -> list[NDArray[np.float32]]:
    """Return the matrices [33, 1024] that turn a half of a descriptor and a one to distances to centres."""
    import numpy as np

    return [
        np.ascontiguousarray(np.concatenate([-2 * centres.T, (centres * centres).sum(axis=1)[None]]))
        for centres in vocabulary.centres
    ]


def _least(far: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the columns of the `count` least values of each row, and those values; `far` is used up.

    A few scans for the least are much faster than one partition.
    """
    import numpy as np

    rows = np.arange(len(far))
    columns = np.empty((len(far), count), dtype=np.int64)
    values = np.empty((len(far), count), dtype=np.float32)
    for place in range(count):
        columns[:, place] = far.argmin(axis=1)
        values[:, place] = far[rows, columns[:, place]]
        far[rows, columns[:, place]] = np.inf
    return columns, values


@lru_cache(maxsize=1)
def default_vocabulary() -> Vocabulary:
    """Return the vocabulary that ships, after checking its digest against the catalogue.

    Raises:
        ModelMissing, ModelCorrupt: the file is absent or altered.
    """
    import numpy as np

    from clearmark.guardrails.models import entry

    (path,) = entry(MODEL).verify().values()
    with np.load(path, allow_pickle=False) as data:
        found = Vocabulary(*(data[name].astype(np.float32) for name in ("mean", "axes", "centres")))
    if found.axes.shape != (128, AXES) or found.centres.shape != (2, CENTRES, AXES // 2):
        raise ModelCorrupt(f"{MODEL}: not of the shape that this version reads", hint="install it again")
    return found


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted file, sorted by word: words, places of items, signatures, turns (256ths) and octaves
    (24ths)."""

    words: NDArray[np.uint32]
    places: NDArray[np.uint32]
    signatures: NDArray[np.uint64]
    turns: NDArray[np.uint8]
    octaves: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        parts = (self.words, self.places, self.signatures, self.turns, self.octaves)
        return sum(part.nbytes for part in parts)

    @classmethod
    def empty(cls) -> Postings:
        """Return that of no items."""
        import numpy as np

        kinds = ("<u4", "<u4", "<u8", "u1", "u1")
        return cls(*(np.zeros(0, dtype=kind) for kind in kinds))

    @classmethod
    def of(cls, packed: Sequence[bytes]) -> Postings:
        """Return that of items by their packed features, which may be empty."""
        parts = [_posted(place, unpack(data)) for place, data in enumerate(packed) if data]
        return cls.together(parts) if parts else cls.empty()

    @classmethod
    def together(cls, parts: Sequence[Postings]) -> Postings:
        """Return one of several, whose places are distinct already."""
        import numpy as np

        if len(parts) == 1:
            return parts[0]
        words = np.concatenate([part.words for part in parts])
        order = np.argsort(words, kind="stable")
        rest = (
            np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("places", "signatures", "turns", "octaves")
        )
        return cls(words[order], *rest)

    def kept(self, keep: NDArray[np.bool_], places: NDArray[np.int64]) -> Postings:
        """Return what is left of the items `keep` [items], at their new `places` [items]."""
        import numpy as np

        rows = np.flatnonzero(keep[self.places])
        moved = places[self.places[rows]].astype(np.uint32)
        return Postings(self.words[rows], moved, self.signatures[rows], self.turns[rows], self.octaves[rows])


def _posted(place: int, found: Features) -> Postings:
    import numpy as np

    vocabulary = default_vocabulary()
    y = vocabulary.project(found.descriptors[:INDEXED])
    words = vocabulary.words(y, 1)[:, 0]
    order = np.argsort(words, kind="stable")
    turns, octaves = _coarse(found.points[:INDEXED])
    return Postings(
        words[order].astype(np.uint32),
        np.full(len(order), place, dtype=np.uint32),
        vocabulary.signatures(y, words)[order],
        turns[order],
        octaves[order],
    )


def _coarse(points: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return turns in 256ths and sizes in 24ths of an octave."""
    import numpy as np

    turns = np.round(points[:, 2] * (256.0 / 360.0)).astype(np.int64) % 256
    octaves = np.round(np.log2(np.maximum(points[:, 3], 1.0)) * 24.0).clip(0, 255)
    return turns.astype(np.uint8), octaves.astype(np.uint8)


def offsets(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return where each word begins in sorted `words`, and the end [2^20 + 1]."""
    import numpy as np

    return np.searchsorted(words, np.arange(CENTRES * CENTRES + 1, dtype=np.uint32))


def votes(
    postings: Postings, query: Features, *, starts: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places of the items that share key points with `query` or its mirror image, and how much.

    The votes of an item are its near matches, each key point once, that agree on a turn (30 degrees) and a
    scale (0.7 octaves); a match counts the more the nearer the signatures are. `starts` are the `offsets` of
    the words, where they are at hand. Items with fewer than three matches are left out; the rest come in no
    order.
    """
    import numpy as np

    found: dict[int, float] = {}
    for side in (query, query.flipped()):
        for place, value in zip(*_votes_of(postings, side, starts), strict=True):
            found[int(place)] = max(found.get(int(place), 0.0), float(value))
    return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float32)


def _votes_of(
    postings: Postings, query: Features, starts: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    import numpy as np

    nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    descriptors = query.descriptors[:ASKED]
    if not len(descriptors) or not len(postings):
        return nothing
    vocabulary = default_vocabulary()
    y = vocabulary.project(descriptors)
    probed = vocabulary.words(y, PROBES)
    point = np.repeat(np.arange(len(y)), probed.shape[1])
    words = probed.ravel()
    if starts is None:
        first = np.searchsorted(postings.words, words)
        lengths = np.searchsorted(postings.words, words, side="right") - first
    else:
        first, lengths = starts[words], starts[words + 1] - starts[words]
    used = (lengths > 0) & (lengths <= _LONGEST)  # a word that is everywhere says nothing
    first, lengths, point, words = first[used], lengths[used], point[used], words[used]
    if not len(words):
        return nothing
    ours = vocabulary.signatures(y[point], words)
    before = np.cumsum(lengths) - lengths
    rows = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
    asked = np.repeat(np.arange(len(words)), lengths)
    far = np.bitwise_count(postings.signatures[rows] ^ ours[asked])
    near = np.flatnonzero(far <= _NEAR)
    rows, far, point = rows[near], far[near], point[asked[near]]
    places = postings.places[rows].astype(np.int64)
    # Most items match by chance, and once or twice: they are left out before anything is sorted.
    _, inverse, counts = np.unique(places, return_inverse=True, return_counts=True)
    many = np.flatnonzero(counts[inverse] >= _LEAST)
    if not len(many):
        return nothing
    rows, far, point, places = rows[many], far[many], point[many], places[many]
    order = np.lexsort((far, point, places))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(places[order]) != 0) | (np.diff(point[order]) != 0)
    once = order[new]
    rows, far, point, places = rows[once], far[once], point[once], places[once]
    turns, octaves = _coarse(query.points[: len(y)])
    turn = (turns[point].astype(np.float32) - postings.turns[rows]) % 256 * np.float32(_TURNS / 256)
    scale = (octaves[point].astype(np.float32) - postings.octaves[rows]) / np.float32(24 * 0.7)
    return _agreeing(places, turn, scale + _OCTAVES // 2, np.exp(-((far / np.float32(_SPREAD)) ** 2)))


def _agreeing(
    places: NDArray[np.int64],
    turn: NDArray[np.float32],
    scale: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the places, and the weight in the fullest cell of turn and scale; a match counts in four."""
    import numpy as np

    scale = scale.clip(0, _OCTAVES - 0.01)
    keys, at = [], (turn.astype(np.int64) % _TURNS, scale.astype(np.int64))
    beside = (
        np.where(turn % 1 < 0.5, at[0] - 1, at[0] + 1) % _TURNS,
        np.where(scale % 1 < 0.5, at[1] - 1, at[1] + 1).clip(0, _OCTAVES - 1),
    )
    for one, other in itertools.product((at[0], beside[0]), (at[1], beside[1])):
        keys.append((places * _TURNS + one) * _OCTAVES + other)
    cells, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    full = np.bincount(inverse, weights=np.tile(weight, 4))
    of = cells // (_TURNS * _OCTAVES)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(of) != 0]))
    return of[starts], np.maximum.reduceat(full, starts).astype(np.float32)
