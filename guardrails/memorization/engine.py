"""What a checker asks of an index, and the engines behind it: files of our own, PostgreSQL, LanceDB.

>>> with open_index("postgresql://clearmark@db/platform") as index:
...     CopyChecker(index).check(data)

All of them search exactly and rank by the same figures, so they give the same answers; the contract is
`tests/contract/test_picture_index.py`. Choose by where the data has to live: the files are the fastest on one
machine, a database is shared by many and can stand beside the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization._items import Entry, Hit, Item, Removal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization._keypoints import Features
    from clearmark.guardrails.memorization._words import Postings

__all__ = ["PictureIndex", "copy_index", "create_index", "open_index"]

_AT_ONCE = 1000
_MOST_PLACE = 4096


class PictureIndex(Protocol):
    """An index of pictures: hashes, sign codes, small pictures and the rights to them, by item.

    The three engines that ship keep key points as well (`KeyPointIndex` in `checker`).
    """

    @property
    def descriptor(self) -> str:
        """The `ref` of the descriptor whose codes the index holds."""
        ...

    @property
    def calibration(self) -> dict[str, Any]:
        """What `set_calibration` stored; empty before."""
        ...

    @property
    def digest(self) -> str:
        """A SHA-256 in which two states of the index differ."""
        ...

    def __len__(self) -> int: ...

    def __contains__(self, key: object) -> bool: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def set_calibration(self, document: dict[str, Any]) -> None:
        """Store what `calibrate` found."""
        ...

    def item(self, number: int) -> Item:
        """Return an item by its id; `UsageError` where there is none."""
        ...

    def picture(self, number: int) -> bytes:
        """Return the small picture of an item, empty where none was kept."""
        ...

    def near_hashes(self, codes: NDArray[np.uint8], count: int) -> list[Hit]:
        """Return the items whose PDQ is nearest to any of `codes` [n, 32]; exact to 31 bits."""
        ...

    def near_vectors(self, vectors: NDArray[np.float32], count: int, *, depth: int = 50) -> list[Hit]:
        """Return the items most like any of `vectors` [n, 512], by exact scan of sign codes, ranked again."""
        ...

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries in one step, all or none, past those whose key is there; return how many."""
        ...

    def remove(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), erase: bool = True) -> Removal:
        """Take items out of every answer; with `erase`, out of the engine's files as far as it can."""
        ...

    def holds_any(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = ()) -> bool:
        """Return whether any such item is there."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Return everything that the index holds, as it was added."""
        ...

    def stats(self) -> dict[str, Any]:
        """Count items, bytes and licences."""
        ...


def open_index(place: str | Path) -> PictureIndex:
    """Open the index at `place`.

    A folder of our own files, `postgresql://…` (with the extension pgvector), `lancedb:FOLDER`, or a file
    whose first line is one of these: that is how a state folder points at a database.

    Raises:
        UsageError: there is no index at `place`.
        IndexDamaged: it is not what was written.
        ExtraMissing: the client of the engine is not installed.
    """
    place = _resolved(place)
    if isinstance(place, Path):
        from clearmark.guardrails.memorization.index import Index

        return Index(place)
    if place.startswith(_LANCE):
        from clearmark.guardrails.memorization.lance import LanceIndex

        return LanceIndex(place.removeprefix(_LANCE))
    from clearmark.guardrails.memorization.postgres import PostgresIndex

    return PostgresIndex(place)


def create_index(place: str | Path, *, descriptor: str) -> PictureIndex:
    """Make an empty index at `place`, for vectors of the descriptor `descriptor` (its `ref`).

    Raises:
        UsageError: something stands there already.
        ExtraMissing: the client of the engine is not installed.
    """
    place = _resolved(place)
    if isinstance(place, Path):
        from clearmark.guardrails.memorization.index import Index

        return Index.create(place, descriptor=descriptor)
    if place.startswith(_LANCE):
        from clearmark.guardrails.memorization.lance import LanceIndex

        return LanceIndex.create(place.removeprefix(_LANCE), descriptor=descriptor)
    from clearmark.guardrails.memorization.postgres import PostgresIndex

    return PostgresIndex.create(place, descriptor=descriptor)


def copy_index(source: PictureIndex, target: PictureIndex) -> int:
    """Add all that `source` holds to `target`, some at a time; goes on where it was cut off. Return how many.

    Raises:
        UsageError: the two hold codes of different descriptors.
    """
    if source.descriptor != target.descriptor:
        raise UsageError(
            f"codes of {source.descriptor} do not belong beside those of {target.descriptor}",
            hint="build one of the two again with the other's descriptor",
        )
    return sum(target.add(some) for some in _some(source.entries(), _AT_ONCE))


_LANCE = "lancedb:"
_POSTGRES = ("postgresql://", "postgres://")


def _resolved(place: str | Path) -> str | Path:
    if isinstance(place, str) and place.startswith((_LANCE, *_POSTGRES)):
        return place
    path = Path(place)
    if not path.is_file():
        return path
    try:
        with path.open(encoding="utf-8") as stream:
            line = stream.readline(_MOST_PLACE).strip()
    except (OSError, UnicodeDecodeError):
        line = ""
    if not line.startswith((_LANCE, *_POSTGRES)):
        raise UsageError(
            f"{path} is neither an index nor says where one is",
            hint="its first line: postgresql://USER@HOST/DATABASE, or lancedb:FOLDER",
        )
    return line


def _some(entries: Iterator[Entry], count: int) -> Iterator[list[Entry]]:
    for first in entries:
        yield [first, *islice(entries, count - 1)]


def check_entry(entry: Entry) -> None:
    """Refuse an entry that no index can hold.

    Raises:
        UsageError: it lacks a key, or its codes are not of the widths of PDQ and sign codes.
    """
    fits = len(entry.pdq) == 32 and entry.codes.ndim == 2 and entry.codes.shape[1] == 64 and len(entry.codes)
    if not fits or not entry.item.key:
        raise UsageError("an entry has a key, 32 bytes of PDQ and codes [n, 64]")


def row_digest(entry: Entry) -> bytes:
    """Return SHA-256 over all that an engine stores of an entry."""
    import hashlib
    import json

    state = hashlib.sha256(json.dumps(entry.item.to_dict(), sort_keys=True).encode())
    for part in (entry.pdq, entry.codes.tobytes(), entry.picture, entry.features):
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


def digest_of(rows: Iterable[bytes]) -> str:
    """Return the digest of an index from those of its rows."""
    import hashlib

    return "sha256:" + hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def ranked(
    vectors: NDArray[np.float32], found: Iterable[tuple[int, Sequence[int], NDArray[np.uint8]]], count: int
) -> list[Hit]:
    """Rank what the scans found: triples of the vector's place, ids [k], and codes [k, 64]."""
    from clearmark.guardrails.memorization.descriptor import cosines

    best: dict[int, float] = {}
    for place, ids, codes in found:
        if not len(ids):
            continue
        for number, value in zip(ids, cosines(vectors[place], codes), strict=True):
            best[int(number)] = max(best.get(int(number), -1.0), float(value))
    return [Hit(*pair) for pair in sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]


def nearest_of(found: Iterable[tuple[int, int]], count: int) -> list[Hit]:
    """Keep the least distance of each id, nearest first."""
    best: dict[int, int] = {}
    for number, distance in found:
        best[number] = min(best.get(number, 1 << 30), distance)
    pairs = sorted(best.items(), key=lambda pair: (pair[1], pair[0]))[:count]
    return [Hit(number, float(distance)) for number, distance in pairs]


def asked_words(query: Features) -> list[int]:
    """Return the words whose postings decide who shares key points with `query` or its mirror image."""
    from clearmark.guardrails.memorization._words import ASKED, PROBES, default_vocabulary

    vocabulary, words = default_vocabulary(), set()
    for side in (query, query.flipped()):
        descriptors = side.descriptors[:ASKED]
        if len(descriptors):
            words.update(vocabulary.words(vocabulary.project(descriptors), PROBES).ravel().tolist())
    return sorted(words)


def postings_of(entry: Entry) -> Postings:
    """Return the postings of one entry: what an engine keeps of its key points to find it by."""
    from clearmark.guardrails.memorization._words import Postings

    return Postings.of([entry.features])


def most_shared(query: Features, columns: Sequence[Sequence[int]], count: int) -> list[Hit]:
    """Rank by the postings that an engine found: words, ids, signatures (as signed), turns, octaves."""
    import numpy as np

    from clearmark.guardrails.memorization._words import Postings, votes

    words, ids, signatures, turns, octaves = (np.asarray(column, dtype=np.int64) for column in columns)
    if not len(words):
        return []
    numbers, places = np.unique(ids, return_inverse=True)
    order = np.argsort(words, kind="stable")
    postings = Postings(
        words[order].astype(np.uint32),
        places[order].astype(np.uint32),
        signatures[order].view(np.uint64),
        turns[order].astype(np.uint8),
        octaves[order].astype(np.uint8),
    )
    found, values = votes(postings, query)
    pairs = sorted(zip(numbers[found].tolist(), values.tolist(), strict=True), key=lambda p: (-p[1], p[0]))
    return [Hit(number, value) for number, value in pairs[:count]]
