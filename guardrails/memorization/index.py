"""The index: what a model was trained on, as codes that a picture can be held against.

A folder of immutable segments (`_segment`) and a SQLite catalogue, the one point of commit (`_catalogue`).
Search by hash and descriptor is exact: a scan of sign codes, ranked again by estimated cosine; multi-index
hashing for PDQ. Search by key points is an inverted file of visual words (`_words`).
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.closing import Closing
from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization._catalogue import Catalogue, Place
from clearmark.guardrails.memorization._hashing import HashTable
from clearmark.guardrails.memorization._items import Entry, Hit, Item, Removal
from clearmark.guardrails.memorization._keypoints import Features, apart
from clearmark.guardrails.memorization._scan import nearest
from clearmark.guardrails.memorization._segment import (
    FileWriter,
    IndexDamaged,
    Segment,
    read_segment,
    sync_folder,
    write_segment,
)
from clearmark.guardrails.memorization._words import Postings, offsets, votes
from clearmark.guardrails.memorization.descriptor import cosines, sign_codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Entry", "Hit", "Index", "IndexDamaged", "Item", "Removal"]

SEGMENT_ITEMS = 1 << 20
"""Items that compaction puts into one segment at most, so that erasing from one rewrites little."""

_POSTINGS = 1 << 22
"""From so many postings on, where each word begins is kept at hand: 8 MiB a segment."""


class Index(Closing):
    """An index in the folder `path`. One writer at a time, any number of readers, in any process.

    >>> with Index.create("training.index", descriptor=default_descriptor().ref) as index:
    ...     index.add(entries)

    Raises:
        UsageError: there is no index at `path`.
        IndexDamaged: it is not what was written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._catalogue = Catalogue(self.path)
        self._lock = self._catalogue.lock
        self._segments: list[Segment] = []
        self._tables: dict[str, HashTable] = {}
        self._starts: dict[str, Any] = {}
        self._gone: frozenset[int] = frozenset()
        self._seen: object = None

    @classmethod
    def create(cls, path: str | Path, *, descriptor: str) -> Index:
        """Make an empty index for vectors of the descriptor `descriptor` (its `ref`).

        Raises:
            UsageError: something stands there already.
        """
        Catalogue.create(Path(path), descriptor=descriptor)
        return cls(path)

    def close(self) -> None:
        """Close the catalogue."""
        with self._lock:
            self._segments, self._tables, self._starts = [], {}, {}
            self._catalogue.close()

    @property
    def descriptor(self) -> str:
        """The `ref` of the descriptor whose codes the index holds."""
        return self._catalogue.meta("descriptor")

    @property
    def calibration(self) -> dict[str, Any]:
        """What `calibrate` stored; empty before."""
        out = json.loads(self._catalogue.meta("calibration") or "{}")
        return out if isinstance(out, dict) else {}

    def set_calibration(self, document: dict[str, Any]) -> None:
        """Store what `calibrate` found."""
        with self._catalogue.writing():
            self._catalogue.set_meta("calibration", json.dumps(document))

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the segments and the tombstones: two states differ in it."""
        return self._catalogue.digest

    def __len__(self) -> int:
        return self._catalogue.count()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._catalogue.holds(key)

    def item(self, number: int) -> Item:
        """Return an item by its id.

        Raises:
            UsageError: there is none.
        """
        return self._catalogue.item(number)

    def picture(self, number: int) -> bytes:
        """Return the small picture of an item, empty where none was kept.

        Raises:
            IndexDamaged: the bytes are not those that were written.
        """
        return self.kept(number)[1]

    def kept(self, number: int) -> tuple[bytes, bytes]:
        """Return the packed features and the small picture of an item; either is empty where none was kept.

        Raises:
            IndexDamaged: the bytes are not those that were written.
        """
        with self._lock:
            place = self._catalogue.place(number)
            return apart(self._catalogue.read_picture(place)) if place is not None else (b"", b"")

    def near_hashes(self, codes: NDArray[np.uint8], count: int) -> list[Hit]:
        """Return the items whose PDQ is nearest to any of `codes` [n, 32], nearest first, with the distance.

        Exact up to `REACH` bits, beyond which a PDQ says nothing; large segments return nothing further away.
        """
        best: dict[int, float] = {}
        with self._lock:
            self._refresh()
            for segment in self._segments:
                table = self._tables.get(segment.name)
                for number, value in self._live(segment, segment.pdq, codes, count, table=table):
                    best[number] = min(best.get(number, 1e9), float(value))
        return [Hit(*pair) for pair in sorted(best.items(), key=lambda pair: (pair[1], pair[0]))[:count]]

    def _live(
        self,
        segment: Segment,
        codes: NDArray[np.uint8],
        queries: NDArray[np.uint8],
        count: int,
        *,
        table: HashTable | None,
    ) -> list[tuple[int, int]]:
        """Return ids and distances of the `count` nearest of each query that are not removed."""
        out: list[tuple[int, int]] = []
        if table is not None:
            for some, values in table.within(queries):
                numbers = zip(segment.ids[some].tolist(), values.tolist(), strict=True)
                live = [(number, value) for number, value in numbers if number not in self._gone]
                out += live[:count]
            return out
        for found in self._rows(segment, codes, queries, count, items=True):
            ids = segment.ids[[row for row, _ in found]].tolist()
            out += [(number, value) for number, (_, value) in zip(ids, found, strict=True)]
        return out

    def _rows(
        self,
        segment: Segment,
        codes: NDArray[np.uint8],
        queries: NDArray[np.uint8],
        count: int,
        *,
        items: bool,
    ) -> list[list[tuple[int, int]]]:
        """Return the `count` nearest rows of each query whose item is not removed, and their distances.

        Rows of removed items still stand in the segment until they are erased, so when some of them are among
        the nearest, more are asked for.
        """
        asked = count
        while True:
            rows, found = nearest(codes, queries, asked)
            out = []
            for some, values in zip(rows, found, strict=True):
                places = some if items else segment.owner[some]
                numbers = segment.ids[places].tolist()
                live = [
                    (row, value)
                    for row, value, number in zip(some.tolist(), values.tolist(), numbers, strict=True)
                    if number not in self._gone
                ]
                out.append(live[:count])
            if asked >= len(codes) or all(len(live) == count for live in out):
                return out
            asked = min(4 * asked, len(codes))

    def near_vectors(self, vectors: NDArray[np.float32], count: int, *, depth: int = 50) -> list[Hit]:
        """Return the items most like any of `vectors` [n, 512], with the cosine as `cosines` estimates it.

        The `depth` nearest sign codes of each are found by exact scan and ranked again.
        """
        best: dict[int, float] = {}
        codes = sign_codes(vectors)
        with self._lock:
            self._refresh()
            for segment in self._segments:
                found = self._rows(segment, segment.codes, codes, depth, items=False)
                for vector, some in zip(vectors, found, strict=True):
                    rows = [row for row, _ in some]
                    values = cosines(vector, segment.codes[rows])
                    for number, value in zip(segment.ids[segment.owner[rows]], values, strict=True):
                        best[int(number)] = max(best.get(int(number), -1.0), float(value))
        return [Hit(*pair) for pair in sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]

    def near_features(self, query: Features, count: int) -> list[Hit]:
        """Return the items that share most key points with `query` or its mirror image, with their votes."""
        best: list[Hit] = []
        with self._lock:
            self._refresh()
            for segment in self._segments:
                places, values = votes(segment.postings, query, starts=self._starts.get(segment.name))
                numbers = segment.ids[places]
                best += [
                    Hit(int(number), float(value))
                    for number, value in zip(numbers, values, strict=True)
                    if int(number) not in self._gone
                ]
        return sorted(best, key=lambda hit: (-hit.value, hit.id))[:count]

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries in one step, all or none; keys that are there already are passed over. Return
        how many."""
        given = list(entries)
        for entry in given:
            if (
                len(entry.pdq) != 32
                or entry.codes.ndim != 2
                or entry.codes.shape[1] != 64
                or not entry.item.key
            ):
                raise UsageError("an entry has a key, 32 bytes of PDQ and codes [n, 64]")
        with self._catalogue.writing():
            known = self._catalogue.known([entry.item.key for entry in given])
            fresh = {e.item.key: e for e in given if e.item.key not in known}
            if fresh:
                self._insert(list(fresh.values()))
            return len(fresh)

    def _insert(self, entries: Sequence[Entry]) -> None:
        import numpy as np

        name = secrets.token_hex(8)
        ids, start = [], 0
        with FileWriter(self._catalogue.file(name, ".pic")) as pictures:
            for entry in entries:
                kept = entry.features + entry.picture
                ids.append(
                    self._catalogue.insert(entry.item, Place(name, start, len(kept), zlib.crc32(kept)))
                )
                pictures.write(kept)
                start += len(kept)
        self._name(
            name,
            np.frombuffer(b"".join(e.pdq for e in entries), dtype=np.uint8).reshape(-1, 32),
            np.array(ids, dtype=np.int64),
            np.concatenate([e.codes for e in entries]),
            np.repeat(np.arange(len(entries)), [len(e.codes) for e in entries]).astype(np.uint32),
            Postings.of([e.features for e in entries]),
            start,
        )

    def _name(  # noqa: PLR0917  the parts of a segment, in its order
        self, name: str, pdq: Any, ids: Any, codes: Any, owner: Any, postings: Postings, pictures: int
    ) -> None:
        """Write the codes of a segment, and let the catalogue name it."""
        sha256, size = write_segment(self._catalogue.file(name, ".seg"), pdq, ids, codes, owner, postings)
        sync_folder(self.path / "segments")
        row = (name, len(ids), len(owner), sha256, size, pictures)
        self._catalogue.db.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", row)

    def remove(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), erase: bool = True) -> Removal:
        """Take items out of every answer; with `erase`, out of every file as well.

        Raises:
            UsageError: nothing of that name is in the index.
        """
        db = self._catalogue.db
        with self._catalogue.writing():
            before = self.digest
            numbers = self._catalogue.numbers(keys, sha256)
            if not numbers:
                raise UsageError("none of these items is in the index")
            db.executemany("UPDATE item SET tombstone = 1 WHERE id = ?", [(n,) for n in numbers])
            names = [row[0] for row in db.execute("SELECT DISTINCT segment FROM item WHERE tombstone")]
            if erase:
                for name in names:
                    self._rewrite([name])
            after = self.digest
        rewritten = len(names) if erase else 0
        return Removal(items=len(set(numbers)), rewritten=rewritten, before=before, after=after)

    def holds_any(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = ()) -> bool:
        """Return whether any such item is in the index, removed ones that are not erased yet included."""
        with self._lock:
            return bool(self._catalogue.numbers(keys, sha256))

    def compact(self) -> int:
        """Put the segments together, without what is removed. Return how many items the index holds.

        Segments hold up to `SEGMENT_ITEMS` items; those that are full and without removed items stay.
        """
        with self._catalogue.writing():
            gone = self._catalogue.db.execute("SELECT DISTINCT segment FROM item WHERE tombstone")
            touched = {row[0] for row in gone}
            batch: list[str] = []
            held = 0
            for name, items in self._catalogue.segments():
                if items >= SEGMENT_ITEMS and name not in touched:
                    continue
                if batch and held + items > SEGMENT_ITEMS:
                    self._rewrite(batch)
                    batch, held = [], 0
                batch.append(name)
                held += items
            if len(batch) > 1 or touched & set(batch):
                self._rewrite(batch)
        return len(self)

    def _rewrite(self, names: Sequence[str]) -> None:
        """Put what is left of the segments `names` into one new segment."""
        import numpy as np

        db = self._catalogue.db
        name = secrets.token_hex(8)
        gone = np.fromiter(self._catalogue.removed(), dtype=np.int64)
        parts: list[tuple[Any, Any, Any, Any]] = []
        posted: list[Postings] = []
        start = count = 0
        with FileWriter(self._catalogue.file(name, ".pic")) as pictures:
            for old in names:
                segment = self._read(old)
                keep = ~np.isin(segment.ids, gone)
                places = np.cumsum(keep) - 1 + count
                rows = keep[segment.owner]
                parts.append(
                    (segment.pdq[keep], segment.ids[keep], segment.codes[rows], places[segment.owner[rows]])
                )
                posted.append(segment.postings.kept(keep, places))
                count += int(keep.sum())
                db.execute("DELETE FROM item WHERE segment = ? AND tombstone", (old,))
                # Pictures lie in the order of their ids, and are moved in that order, one at a time.
                held = "SELECT id, start, length, crc FROM item WHERE segment = ? ORDER BY start, id"
                moved = []
                for number, at, length, crc in db.execute(held, (old,)).fetchall():
                    if length:
                        pictures.write(self._catalogue.read_picture(Place(old, at, length, crc)))
                    moved.append((name, start, number))
                    start += length
                db.executemany("UPDATE item SET segment = ?, start = ? WHERE id = ?", moved)
                db.execute("DELETE FROM segment WHERE name = ?", (old,))
        if count:
            pdq, ids, codes, owner = (np.concatenate([part[i] for part in parts]) for i in range(4))
            self._name(name, pdq, ids, codes, owner.astype(np.uint32), Postings.together(posted), start)

    def merge(self, other: Index) -> int:
        """Add everything that `other` holds, in one step; items whose key is here already are passed over.

        Raises:
            UsageError: the two hold codes of different descriptors.
        """
        if other.descriptor != self.descriptor:
            raise UsageError(
                f"{other.path} holds codes of {other.descriptor}, not of {self.descriptor}",
                hint="build one of them again with the other's descriptor",
            )
        return self.add(other.entries())

    def entries(self) -> Iterator[Entry]:
        """Return everything that the index holds, as it was added."""
        import numpy as np

        with self._lock:
            self._refresh()
            for segment in self._segments:
                order = np.argsort(segment.owner, kind="stable")
                bounds = np.searchsorted(segment.owner[order], np.arange(len(segment.ids) + 1))
                for place, number in enumerate(segment.ids):
                    if int(number) not in self._gone:
                        rows = order[bounds[place] : bounds[place + 1]]
                        item = self.item(int(number))
                        codes = np.array(segment.codes[rows])
                        features, picture = self.kept(int(number))
                        yield Entry(item, segment.pdq[place].tobytes(), codes, picture, features)

    def stats(self) -> dict[str, Any]:
        """Count items, rows and bytes; `licences` counts the items of each licence."""
        return {**self._catalogue.stats(), "calibration": self.calibration}

    def _read(self, name: str) -> Segment:
        query = "SELECT sha256, size FROM segment WHERE name = ?"
        sha256, size = self._catalogue.db.execute(query, (name,)).fetchone()
        return read_segment(self._catalogue.file(name, ".seg"), sha256=sha256, size=size)

    def _refresh(self) -> None:
        """Map the segments that the catalogue names now, when anyone changed it."""
        seen = self._catalogue.changes()
        if seen == self._seen:
            return
        with self._catalogue.reading():
            mapped = {segment.name: segment for segment in self._segments}
            names = [name for name, _ in self._catalogue.segments()]
            self._segments = [mapped.get(name) or self._read(name) for name in names]
            self._gone = self._catalogue.removed()
        self._tables = {
            segment.name: self._tables.get(segment.name) or HashTable(segment.pdq)
            for segment in self._segments
            if len(segment.ids) >= HashTable.LEAST
        }
        self._starts = {
            segment.name: offsets(segment.postings.words) if known is None else known
            for segment in self._segments
            if len(segment.postings) >= _POSTINGS
            for known in [self._starts.get(segment.name)]
        }
        self._seen = seen
