"""The catalogue of an index: SQLite, and the one point of commit.

Segment files are written and forced to disk first, under fresh names, and exist only once a transaction of
the catalogue names them. So a kill at any moment leaves the state before or after, and files that no
transaction names are swept by the next writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization._items import Item
from clearmark.guardrails.memorization._segment import IndexDamaged, sync_folder

__all__ = ["Catalogue", "Place"]

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
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Where the packed features and the small picture of an item lie in the `.pic` of a segment."""

    segment: str
    start: int
    length: int
    crc: int


class Catalogue:
    """The catalogue of the index in `folder`, and its segment files by name. The owner of the lock writes.

    Raises:
        UsageError: there is no index in `folder`, or one of another version.
        IndexDamaged: the file is no database.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        if not self.path.exists():
            raise UsageError(f"no index in {folder}", hint="clearmark index build makes one")
        try:
            self.db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            # What is deleted is overwritten: erasure must hold for the catalogue's free pages, too.
            self.db.execute("PRAGMA secure_delete = ON")
            self.db.execute("PRAGMA synchronous = FULL")
            version = self.meta("schema_version")
        except sqlite3.DatabaseError as exc:
            raise IndexDamaged(f"{self.path}: {exc}", hint="restore it from its backup") from exc
        if version != str(SCHEMA_VERSION):
            raise UsageError(f"{folder}: an index of version {version or '?'}", hint="upgrade clearmark")

    @classmethod
    def create(cls, folder: Path, *, descriptor: str) -> None:
        """Write an empty catalogue, whole or not at all.

        Raises:
            UsageError: something stands there already.
        """
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

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / "catalogue.db"

    def file(self, segment: str, suffix: str) -> Path:
        """Return the path of one of the two files of a segment, `.seg` or `.pic`."""
        return self.folder / "segments" / (segment + suffix)

    def close(self) -> None:
        """Close the database."""
        with self.lock:
            self.db.close()

    def meta(self, name: str) -> str:
        """Return a value that stands beside the items, "" where there is none."""
        with self.lock:
            row = self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_meta(self, name: str, value: str) -> None:
        """Store a value; only while `writing`."""
        self.db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the segments and the tombstones: two states differ in it."""
        with self.lock:
            names = self.db.execute("SELECT sha256 FROM segment ORDER BY sha256").fetchall()
            gone = self.db.execute("SELECT id FROM item WHERE tombstone ORDER BY id").fetchall()
        text = "\n".join([*(row[0] for row in names), *(str(row[0]) for row in gone)])
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def count(self) -> int:
        """Return how many items there are that are not removed."""
        with self.lock:
            return int(self.db.execute("SELECT count(*) FROM item WHERE NOT tombstone").fetchone()[0])

    def holds(self, key: str) -> bool:
        """Return whether an item of that key is there."""
        with self.lock:
            found = self.db.execute("SELECT 1 FROM item WHERE key = ? AND NOT tombstone", (key,)).fetchone()
        return found is not None

    def item(self, number: int) -> Item:
        """Return an item by its id.

        Raises:
            UsageError: there is none.
        """
        with self.lock:
            query = f"SELECT {_COLUMNS} FROM item WHERE id = ? AND NOT tombstone"  # noqa: S608  constants
            row = self.db.execute(query, (number,)).fetchone()
        if row is None:
            raise UsageError(f"no item {number} in the index")
        return Item(**dict(zip(_COLUMNS.split(", "), row, strict=True)))

    def numbers(self, keys: Sequence[str], sha256: Sequence[str]) -> list[int]:
        """Return the ids of the items of these keys or with these bytes, removed ones included."""
        return [
            row[0]
            for column, values in (("key", keys), ("sha256", sha256))
            for value in values
            for row in self.db.execute(f"SELECT id FROM item WHERE {column} = ?", (value,))  # noqa: S608
        ]

    def place(self, number: int) -> Place | None:
        """Return where what is kept of an item's picture lies, None where nothing is."""
        with self.lock:
            row = self.db.execute(
                "SELECT segment, start, length, crc FROM item WHERE id = ?", (number,)
            ).fetchone()
        return Place(*row) if row is not None and row[2] else None

    def read_picture(self, place: Place) -> bytes:
        """Read the packed features and the small picture of an item, one after the other.

        Raises:
            IndexDamaged: the bytes are not those that were written.
        """
        try:
            with self.file(place.segment, ".pic").open("rb") as stream:
                stream.seek(place.start)
                data = stream.read(place.length)
        except OSError as exc:
            raise IndexDamaged(f"{place.segment}: {exc.strerror}", hint="restore the index") from exc
        if zlib.crc32(data) != place.crc:
            raise IndexDamaged(
                f"{place.segment}: a picture is not the one on record", hint="restore the index"
            )
        return data

    def known(self, keys: Sequence[str]) -> set[str]:
        """Return those of `keys` that are there.

        Raises:
            UsageError: one of them was removed and is not erased yet.
        """
        found: set[str] = set()
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            query = f"SELECT key, tombstone FROM item WHERE key IN ({marks})"  # noqa: S608  marks alone
            for key, gone in self.db.execute(query, some):
                if gone:
                    raise UsageError(
                        f"{key} was removed and is not erased yet",
                        hint="compact the index first; clearmark index remove does so",
                    )
                found.add(key)
        return found

    def insert(self, item: Item, place: Place) -> int:
        """Put an item on record; return its id."""
        values = (item.key, item.sha256, item.source, item.licence, item.creator, item.opt_out)
        cursor = self.db.execute(
            "INSERT INTO item (key, sha256, source, licence, creator, opt_out, segment, start, length, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, place.segment, place.start, place.length, place.crc),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def segments(self) -> list[tuple[str, int]]:
        """Return the names and item counts of the segments, oldest first."""
        return self.db.execute("SELECT name, items FROM segment ORDER BY rowid").fetchall()

    def removed(self) -> frozenset[int]:
        """Return the ids of the items that are removed and not erased yet."""
        return frozenset(row[0] for row in self.db.execute("SELECT id FROM item WHERE tombstone"))

    def changes(self) -> object:
        """Return a value that is another one once anyone has changed the catalogue."""
        return (self.db.execute("PRAGMA data_version").fetchone()[0], self.db.total_changes)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one state for a few reads."""
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the one write transaction; what no transaction names is swept before and after."""
        with self.lock:
            try:
                self.db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as exc:
                raise UsageError(
                    f"{self.folder}: {exc}", hint="another process is writing; try again"
                ) from exc
            try:
                self._sweep()
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")
            self.db.execute("BEGIN IMMEDIATE")
            try:
                self._sweep()
            finally:
                self.db.execute("COMMIT")

    def _sweep(self) -> None:
        named = {row[0] for row in self.db.execute("SELECT name FROM segment")}
        for path in (self.folder / "segments").iterdir():
            if path.stem not in named:
                path.unlink(missing_ok=True)

    def stats(self) -> dict[str, Any]:
        """Count items, rows and bytes; `licences` counts the items of each licence."""
        with self.lock:
            segments = self.db.execute(
                "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(size), 0),"
                " coalesce(sum(pictures_size), 0) FROM segment"
            ).fetchone()
            licences = self.db.execute(
                "SELECT licence, count(*) FROM item WHERE NOT tombstone"
                " GROUP BY licence ORDER BY 2 DESC LIMIT 50"
            ).fetchall()
            gone = self.db.execute("SELECT count(*) FROM item WHERE tombstone").fetchone()[0]
        return {
            "items": self.count(),
            "tombstones": gone,
            "rows": segments[1],
            "segments": segments[0],
            "bytes_codes": segments[2],
            "bytes_pictures": segments[3],
            "bytes_catalogue": self.path.stat().st_size,
            "descriptor": self.meta("descriptor"),
            "digest": self.digest,
            "licences": dict(licences),
        }
