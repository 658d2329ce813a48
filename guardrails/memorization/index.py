"""The index: what a model was trained on, as codes that a picture can be held against.

A folder of immutable segments and a SQLite catalogue. The catalogue is the one point of commit: segment files
are written and forced to disk first, under fresh names, and exist only once a transaction names them.
So a kill
at any moment leaves the state before or after, and files that no transaction names are swept by the
next writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization._scan import nearest
from clearmark.guardrails.memorization._segment import (
    IndexDamaged,
    Segment,
    read_segment,
    sync_folder,
    write_file,
    write_segment,
)
from clearmark.guardrails.memorization.descriptor import cosines, sign_codes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Entry", "Hit", "Index", "IndexDamaged", "Item", "Removal"]

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE segment (name TEXT PRIMARY KEY, items INTEGER NOT NULL, rows INTEGER NOT NULL,
                      sha256 TEXT NOT NULL, size INTEGER NOT NULL, pictures_size INTEGER NOT NULL);
CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL,
                   source TEXT NOT NULL, licence TEXT NOT NULL, creator TEXT NOT NULL, opt_out TEXT NOT NULL,
                   segment TEXT NOT NULL,
                   start INTEGER NOT NULL, length INTEGER NOT NULL, crc INTEGER NOT NULL,
                   tombstone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX item_sha256 ON item (sha256);
CREATE INDEX item_segment ON item (segment);
"""
_COLUMNS = "id, key, sha256, source, licence, creator, opt_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture on record: its key, the SHA-256 of its bytes, and what is known of its rights."""

    id: int = 0
    key: str
    sha256: str
    source: str = ""
    licence: str = ""
    creator: str = ""
    opt_out: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "item": self.key,
            "sha256": self.sha256,
            "source": self.source,
            "licence": self.licence,
            "creator": self.creator,
            "opt_out": self.opt_out,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """What is added: an item, its PDQ (32 bytes), sign codes [views, 64], and the small picture (WebP)."""

    item: Item
    pdq: bytes = field(repr=False)
    codes: NDArray[np.uint8] = field(repr=False)
    picture: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a search found; `value` is a distance in bits, or a cosine."""

    id: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a removal did: how many items, the files rewritten, and the digest of the index before and
    after."""

    items: int
    rewritten: int
    before: str
    after: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"items": self.items, "rewritten": self.rewritten, "before": self.before, "after": self.after}


class Index:
    """An index in the folder `path`. One writer at a time, any number of readers, in any process.

    >>> with Index.create("training.index", descriptor=default_descriptor().ref) as index:
    ...     index.add(entries)

    Raises:
        UsageError: there is no index at `path`.
        IndexDamaged: it is not what was written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        if not self._catalogue.exists():
            raise UsageError(f"no index in {self.path}", hint="clearmark index build makes one")
        try:
            self._db = sqlite3.connect(
                self._catalogue, timeout=60, isolation_level=None, check_same_thread=False
            )
            # What is deleted is overwritten: erasure must hold for the catalogue's free pages, too.
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._meta("schema_version")
        except sqlite3.DatabaseError as exc:
            raise IndexDamaged(f"{self._catalogue}: {exc}", hint="restore it from its backup") from exc
        if version != str(SCHEMA_VERSION):
            raise UsageError(f"{self.path}: an index of version {version or '?'}", hint="upgrade clearmark")
        self._segments: list[Segment] = []
        self._gone: frozenset[int] = frozenset()
        self._seen: object = None

    @classmethod
    def create(cls, path: str | Path, *, descriptor: str) -> Index:
        """Make an empty index for vectors of the descriptor `descriptor` (its `ref`).

        Raises:
            UsageError: something stands there already.
        """
        folder = Path(path)
        if (folder / "catalogue.db").exists():
            raise UsageError(f"{folder} holds an index", hint="clearmark index add goes on with it")
        try:
            (folder / "segments").mkdir(parents=True, exist_ok=True)
            draft = folder / f".catalogue-{secrets.token_hex(4)}"
            with contextlib.closing(sqlite3.connect(draft)) as database:
                database.executescript(_SCHEMA)
                rows = (("schema_version", str(SCHEMA_VERSION)), ("descriptor", descriptor))
                database.executemany("INSERT INTO meta VALUES (?, ?)", rows)
                database.commit()
            draft.replace(folder / "catalogue.db")
            sync_folder(folder)
        except OSError as exc:
            raise UsageError(f"{folder}: {exc.strerror}", hint="choose a writable place") from exc
        return cls(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue."""
        with self._lock:
            self._segments = []
            self._db.close()

    @property
    def _catalogue(self) -> Path:
        return self.path / "catalogue.db"

    @property
    def descriptor(self) -> str:
        """The `ref` of the descriptor whose codes the index holds."""
        return self._meta("descriptor")

    @property
    def calibration(self) -> dict[str, Any]:
        """What `calibrate` stored; empty before."""
        out = json.loads(self._meta("calibration") or "{}")
        return out if isinstance(out, dict) else {}

    def set_calibration(self, document: dict[str, Any]) -> None:
        """Store what `calibrate` found."""
        with self._writing():
            row = ("calibration", json.dumps(document))
            self._db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", row
            )

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the segments and the tombstones: two states differ in it."""
        with self._lock:
            names = self._db.execute("SELECT sha256 FROM segment ORDER BY sha256").fetchall()
            gone = self._db.execute("SELECT id FROM item WHERE tombstone ORDER BY id").fetchall()
        text = "\n".join([*(row[0] for row in names), *(str(row[0]) for row in gone)])
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM item WHERE NOT tombstone").fetchone()[0])

    def __contains__(self, key: object) -> bool:
        with self._lock:
            found = self._db.execute("SELECT 1 FROM item WHERE key = ? AND NOT tombstone", (key,)).fetchone()
        return found is not None

    def item(self, number: int) -> Item:
        """Return an item by its id.

        Raises:
            UsageError: there is none.
        """
        with self._lock:
            query = f"SELECT {_COLUMNS} FROM item WHERE id = ? AND NOT tombstone"  # noqa: S608  constants
            row = self._db.execute(query, (number,)).fetchone()
        if row is None:
            raise UsageError(f"no item {number} in the index")
        return Item(**dict(zip(_COLUMNS.split(", "), row, strict=True)))

    def picture(self, number: int) -> bytes:
        """Return the small picture of an item, empty where none was kept.

        Raises:
            IndexDamaged: the bytes are not those that were written.
        """
        with self._lock:
            row = self._db.execute(
                "SELECT segment, start, length, crc FROM item WHERE id = ?", (number,)
            ).fetchone()
            if row is None or not row[2]:
                return b""
            return self._read_picture(*row)

    def _read_picture(self, segment: str, start: int, length: int, crc: int) -> bytes:
        try:
            with self._file(segment, ".pic").open("rb") as stream:
                stream.seek(start)
                data = stream.read(length)
        except OSError as exc:
            raise IndexDamaged(f"{segment}: {exc.strerror}", hint="restore the index") from exc
        if zlib.crc32(data) != crc:
            raise IndexDamaged(f"{segment}: a picture is not the one on record", hint="restore the index")
        return data

    def near_hashes(self, codes: NDArray[np.uint8], count: int) -> list[Hit]:
        """Return the items whose PDQ is nearest to any of `codes` [n, 32], nearest first, with the
        distance."""
        best: dict[int, float] = {}
        with self._lock:
            self._refresh()
            for segment in self._segments:
                rows, found = nearest(segment.pdq, codes, count + len(self._gone))
                for row, value in zip(rows.ravel(), found.ravel(), strict=True):
                    number = int(segment.ids[row])
                    if number not in self._gone:
                        best[number] = min(best.get(number, 1e9), float(value))
        return [Hit(*pair) for pair in sorted(best.items(), key=lambda pair: (pair[1], pair[0]))[:count]]

    def near_vectors(self, vectors: NDArray[np.float32], count: int, *, depth: int = 50) -> list[Hit]:
        """Return the items most like any of `vectors` [n, 512], with the cosine as `cosines` estimates it.

        The `depth` nearest sign codes of each are found by exact scan and ranked again.
        """
        best: dict[int, float] = {}
        codes = sign_codes(vectors)
        with self._lock:
            self._refresh()
            for segment in self._segments:
                rows, _ = nearest(segment.codes, codes, depth + len(self._gone))
                for vector, some in zip(vectors, rows, strict=True):
                    values = cosines(vector, segment.codes[some])
                    for number, value in zip(segment.ids[segment.owner[some]], values, strict=True):
                        if int(number) not in self._gone:
                            best[int(number)] = max(best.get(int(number), -1.0), float(value))
        return [Hit(*pair) for pair in sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]

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
        with self._writing():
            known = {e.item.key for e in given if self._known(e.item.key)}
            fresh = {e.item.key: e for e in given if e.item.key not in known}
            if fresh:
                self._insert(list(fresh.values()))
            return len(fresh)

    def _known(self, key: str) -> bool:
        row = self._db.execute("SELECT id, tombstone FROM item WHERE key = ?", (key,)).fetchone()
        if row is not None and row[1]:
            raise UsageError(
                f"{key} was removed and is not erased yet",
                hint="compact the index first; clearmark index remove does so",
            )
        return row is not None

    def _insert(self, entries: Sequence[Entry]) -> None:
        import numpy as np

        name = secrets.token_hex(8)
        ids, start = [], 0
        for entry in entries:
            item = entry.item
            cursor = self._db.execute(
                "INSERT INTO item (key, sha256, source, licence, creator, opt_out, segment, start, length, crc)"  # noqa: E501
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item.key,
                    item.sha256,
                    item.source,
                    item.licence,
                    item.creator,
                    item.opt_out,
                    name,
                    start,
                    len(entry.picture),
                    zlib.crc32(entry.picture),
                ),
            )
            ids.append(cursor.lastrowid)
            start += len(entry.picture)
        self._write(
            name,
            np.frombuffer(b"".join(e.pdq for e in entries), dtype=np.uint8).reshape(-1, 32),
            np.array(ids, dtype=np.int64),
            np.concatenate([e.codes for e in entries]),
            np.repeat(np.arange(len(entries)), [len(e.codes) for e in entries]).astype(np.uint32),
            b"".join(e.picture for e in entries),
        )

    def _write(  # noqa: PLR0917  the parts of a segment, in its order
        self, name: str, pdq: Any, ids: Any, codes: Any, owner: Any, pictures: bytes
    ) -> None:
        write_file(self._file(name, ".pic"), pictures)
        sha256, size = write_segment(self._file(name, ".seg"), pdq, ids, codes, owner)
        sync_folder(self.path / "segments")
        row = (name, len(ids), len(owner), sha256, size, len(pictures))
        self._db.execute("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?)", row)

    def remove(self, *, keys: Sequence[str] = (), sha256: Sequence[str] = (), erase: bool = True) -> Removal:
        """Take items out of every answer; with `erase`, out of every file as well.

        Raises:
            UsageError: nothing of that name is in the index.
        """
        with self._writing():
            before = self.digest
            numbers = [
                row[0]
                for column, values in (("key", keys), ("sha256", sha256))
                for value in values
                for row in self._db.execute(f"SELECT id FROM item WHERE {column} = ?", (value,))  # noqa: S608
            ]
            if not numbers:
                raise UsageError("none of these items is in the index")
            self._db.executemany("UPDATE item SET tombstone = 1 WHERE id = ?", [(n,) for n in numbers])
            rewritten = self._erase() if erase else 0
            after = self.digest
        return Removal(items=len(set(numbers)), rewritten=rewritten, before=before, after=after)

    def compact(self) -> int:
        """Write all segments as one, without what is removed. Return how many items it holds."""
        with self._writing():
            names = [row[0] for row in self._db.execute("SELECT name FROM segment ORDER BY rowid")]
            if names:
                self._rewrite(names)
        return len(self)

    def _erase(self) -> int:
        names = [row[0] for row in self._db.execute("SELECT DISTINCT segment FROM item WHERE tombstone")]
        for name in names:
            self._rewrite([name])
        return len(names)

    def _rewrite(self, names: Sequence[str]) -> None:
        """Put what is left of the segments `names` into one new segment."""
        import numpy as np

        name = secrets.token_hex(8)
        gone = {row[0] for row in self._db.execute("SELECT id FROM item WHERE tombstone")}
        parts: list[tuple[Any, Any, Any, Any]] = []
        pictures: list[bytes] = []
        start = count = 0
        for old in names:
            segment = self._read(old)
            keep = np.array([int(number) not in gone for number in segment.ids], dtype=bool)
            places = np.cumsum(keep) - 1 + count
            rows = keep[segment.owner]
            parts.append(
                (segment.pdq[keep], segment.ids[keep], segment.codes[rows], places[segment.owner[rows]])
            )
            count += int(keep.sum())
            for number in segment.ids[keep]:
                where = self._db.execute(
                    "SELECT segment, start, length, crc FROM item WHERE id = ?", (int(number),)
                )
                row = where.fetchone()
                data = self._read_picture(*row) if row[2] else b""
                self._db.execute(
                    "UPDATE item SET segment = ?, start = ? WHERE id = ?", (name, start, int(number))
                )
                pictures.append(data)
                start += len(data)
            self._db.execute("DELETE FROM item WHERE segment = ? AND tombstone", (old,))
            self._db.execute("DELETE FROM segment WHERE name = ?", (old,))
        if count:
            pdq, ids, codes, owner = (np.concatenate([part[i] for part in parts]) for i in range(4))
            self._write(name, pdq, ids, codes, owner.astype(np.uint32), b"".join(pictures))

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
                        yield Entry(item, segment.pdq[place].tobytes(), codes, self.picture(int(number)))

    def stats(self) -> dict[str, Any]:
        """Count items, rows and bytes; `licences` counts the items of each licence."""
        with self._lock:
            segments = self._db.execute(
                "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(size), 0),"
                " coalesce(sum(pictures_size), 0) FROM segment"
            ).fetchone()
            licences = self._db.execute(
                "SELECT licence, count(*) FROM item WHERE NOT tombstone"
                " GROUP BY licence ORDER BY 2 DESC LIMIT 50"
            ).fetchall()
            gone = self._db.execute("SELECT count(*) FROM item WHERE tombstone").fetchone()[0]
        return {
            "items": len(self),
            "tombstones": gone,
            "rows": segments[1],
            "segments": segments[0],
            "bytes_codes": segments[2],
            "bytes_pictures": segments[3],
            "bytes_catalogue": self._catalogue.stat().st_size,
            "descriptor": self.descriptor,
            "digest": self.digest,
            "licences": dict(licences),
            "calibration": self.calibration,
        }

    def _meta(self, name: str) -> str:
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _file(self, name: str, suffix: str) -> Path:
        return self.path / "segments" / (name + suffix)

    def _read(self, name: str) -> Segment:
        row = self._db.execute("SELECT sha256, size FROM segment WHERE name = ?", (name,)).fetchone()
        return read_segment(self._file(name, ".seg"), sha256=row[0], size=row[1])

    def _refresh(self) -> None:
        """Map the segments that the catalogue names now, when anyone changed it."""
        seen = (self._db.execute("PRAGMA data_version").fetchone()[0], self._db.total_changes)
        if seen == self._seen:
            return
        self._db.execute("BEGIN")
        try:
            names = [row[0] for row in self._db.execute("SELECT name FROM segment ORDER BY rowid")]
            mapped = {segment.name: segment for segment in self._segments}
            self._segments = [mapped.get(name) or self._read(name) for name in names]
            self._gone = frozenset(row[0] for row in self._db.execute("SELECT id FROM item WHERE tombstone"))
        finally:
            self._db.execute("COMMIT")
        self._seen = seen

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the one write transaction; what no transaction names is swept before and after."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                raise UsageError(f"{self.path}: {exc}", hint="another process is writing; try again") from exc
            try:
                self._sweep()
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._sweep()
            finally:
                self._db.execute("COMMIT")

    def _sweep(self) -> None:
        named = {row[0] for row in self._db.execute("SELECT name FROM segment")}
        for path in (self.path / "segments").iterdir():
            if path.stem not in named:
                path.unlink(missing_ok=True)
