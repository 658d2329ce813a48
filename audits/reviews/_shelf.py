"""Where held items lie: sealed bytes in one SQLite file, mode 0600, beside the ledger.

The file decides nothing: it says where an item's events are and holds what only the ledger's secrets can
open. Its columns `state` and `until_us` are a note for lists, refreshed from the ledger.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable

__all__ = ["Place", "Shelf"]

FORMAT = 1
_COLUMNS = ("review_id", "opened_event", "request_id", "tenant", "created_us", "due_us", "state", "category")
_SCHEMA = (
    """CREATE TABLE held (
        review_id TEXT PRIMARY KEY, opened_event TEXT NOT NULL UNIQUE, request_id TEXT NOT NULL,
        tenant TEXT NOT NULL, created_us INTEGER NOT NULL, due_us INTEGER NOT NULL,
        state TEXT NOT NULL, category TEXT NOT NULL, sealed BLOB) WITHOUT ROWID""",
    "CREATE INDEX held_state ON held (state, created_us)",
    """CREATE VIEW place AS
        SELECT review_id, opened_event, request_id, tenant, created_us, due_us, state, category FROM held""",
    """CREATE TABLE marked (
        review_id TEXT NOT NULL, sha256 TEXT NOT NULL, sealed BLOB NOT NULL,
        PRIMARY KEY (review_id, sha256)) WITHOUT ROWID""",
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One row: where the events of a review are, and since when and until when it is held."""

    review_id: str
    opened_event: str
    request_id: str
    tenant: str
    created_us: int
    due_us: int
    state: str
    category: str


class Shelf:
    """The file at `path`; made, readable by its owner only, when it is absent."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 30.0) -> None:
        self.path = path
        self._timeout = busy_timeout_s
        _touch(path)
        with self._connection() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._create()
        elif version != FORMAT:
            raise LedgerError(
                f"{path} has format {version}; this version reads {FORMAT}", hint="update clearmark"
            )

    def _create(self) -> None:
        with self.writing() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # another first opening may be ahead
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # One connection per use: threads share none, and no file stays open across a fork.
        try:
            db = sqlite3.connect(self.path, timeout=self._timeout, isolation_level=None)
            try:
                for pragma in ("trusted_schema=OFF", "secure_delete=ON", "synchronous=FULL"):
                    db.execute(f"PRAGMA {pragma}")
                yield db
            finally:
                db.close()
        except sqlite3.DatabaseError as exc:
            raise _explain(self.path, exc) from exc

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the only writing transaction; what the block did is durable when it ends without an error."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def put(self, places: Sequence[Place], sealed: Sequence[bytes]) -> None:
        """Keep items, all or none."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*(getattr(place, name) for name in _COLUMNS), data)
                    for place, data in zip(places, sealed, strict=True)
                ],
            )

    def find(self, review_id: str) -> Place | None:
        """Return one row."""
        with self._connection() as db:
            row = db.execute("SELECT * FROM place WHERE review_id = ?", (review_id,)).fetchone()
        return None if row is None else _place(row)

    def page(
        self,
        *,
        states: Sequence[str],
        tenant: str | None,
        category: str | None,
        after: tuple[int, str],
        most: int,
    ) -> list[Place]:
        """Return up to `most` rows in those states, oldest first, that come after `(created_us, id)`."""
        query = (
            "SELECT * FROM place WHERE (created_us, review_id) > (:created, :last) "
            "AND state IN (SELECT value FROM json_each(:states)) "
            "AND (:tenant IS NULL OR tenant = :tenant) AND (:category IS NULL OR category = :category) "
            "ORDER BY created_us, review_id LIMIT :most"
        )
        values = {
            "created": after[0],
            "last": after[1],
            "states": json.dumps(list(states)),
            "tenant": tenant,
            "category": category,
            "most": most,
        }
        with self._connection() as db:
            return [_place(row) for row in db.execute(query, values).fetchall()]

    def count(self, states: Sequence[str]) -> int:
        """Return how many rows are in those states."""
        query = "SELECT count(*) FROM held WHERE state IN (SELECT value FROM json_each(?))"
        with self._connection() as db:
            return int(db.execute(query, (json.dumps(list(states)),)).fetchone()[0])

    def note(self, db: sqlite3.Connection, review_id: str, state: str) -> None:
        """Note the state that the ledger says."""
        db.execute("UPDATE held SET state = ? WHERE review_id = ? AND state <> ?", (state, review_id, state))

    def sealed(self, review_id: str) -> bytes | None:
        """Return the sealed payload; None once it is destroyed."""
        with self._connection() as db:
            row = db.execute("SELECT sealed FROM held WHERE review_id = ?", (review_id,)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def destroy(self, db: sqlite3.Connection, review_id: str, *, keep: str = "") -> bool:
        """Overwrite and delete what a review holds, but for the marked picture of the digest `keep`."""
        held = db.execute(
            "UPDATE held SET sealed = NULL WHERE review_id = ? AND sealed IS NOT NULL", (review_id,)
        )
        marked = db.execute("DELETE FROM marked WHERE review_id = ? AND sha256 <> ?", (review_id, keep))
        return held.rowcount + marked.rowcount > 0

    def put_marked(self, review_id: str, sha256: str, sealed: bytes) -> None:
        """Keep a marked picture before it is on record as released."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO marked VALUES (?, ?, ?)", (review_id, sha256, sealed))

    def marked(self, review_id: str, sha256: str) -> bytes | None:
        """Return a marked picture, sealed."""
        with self._connection() as db:
            row = db.execute(
                "SELECT sealed FROM marked WHERE review_id = ? AND sha256 = ?", (review_id, sha256)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def remove(self, db: sqlite3.Connection, review_id: str) -> bool:
        """Remove a row that no event leads to."""
        self.destroy(db, review_id)
        return db.execute("DELETE FROM held WHERE review_id = ?", (review_id,)).rowcount > 0


def _place(row: Sequence[object]) -> Place:
    whole = {"created_us", "due_us"}
    for name, value in zip(_COLUMNS, row, strict=True):
        if type(value) is not (int if name in whole else str):
            raise LedgerTampered(f"the review queue holds no {name} where one belongs")
    return Place(**dict(zip(_COLUMNS, row, strict=True)))  # type: ignore[arg-type]  # checked above


def _touch(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError as exc:
        raise LedgerUnavailable(
            f"the review queue {path} cannot be opened: {exc.strerror}",
            hint="check the folder, its rights and the space left",
        ) from exc


def _explain(path: Path, exc: sqlite3.DatabaseError) -> LedgerError:
    code = getattr(exc, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return LedgerTampered(f"the review queue {path} is damaged: {exc}", hint="restore it from a copy")
    return LedgerUnavailable(f"the review queue {path} is not available: {exc}", hint="check the disk")
