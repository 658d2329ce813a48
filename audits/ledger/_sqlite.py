"""A ledger in one SQLite file: write-ahead log, `synchronous=EXTRA`, readable by its owner only.

With `NORMAL`, acknowledged transactions are lost when the power fails; see SQLite's documentation of
`PRAGMA synchronous`. `BEGIN IMMEDIATE` makes writing safe across processes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Select, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from clearmark.audits.ledger._checkpoint_log import sync_folder
from clearmark.audits.ledger._schema import EVENT, FORMAT, METADATA, sqlite_triggers
from clearmark.audits.ledger._store import Duplicate, Store, driver_of
from clearmark.audits.ledger._turnstile import TurnNotCome, Turnstile
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable

__all__ = ["SqliteStore"]

_COLUMNS = tuple(column.name for column in EVENT.columns if column.name != "pruned")
_ROW = f"({', '.join('?' for _ in _COLUMNS)})"
_AT_ONCE = 64
"""Rows of one statement: sqlite3 lets other threads in at each step, and turns cost more than a row."""
_CACHE = 16_000
"""KiB of pages that each connection keeps."""
_CACHE_OF_CHECKS = 160_000
"""KiB that a verification keeps, if the file is as large: 120,000 events or so."""
# SQLITE_ERROR is what a missing table or column gives: our statements are right for the schema that we made.
_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_ERROR", "SQLITE_MISMATCH"}
_WORDS = {
    "SQLITE_FULL": ("the disk is full", "free some space; nothing was written"),
    "SQLITE_READONLY": ("it may not be written", "check the rights of the file and of its folder"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "check that its folder exists and may be written"),
    "SQLITE_PERM": ("it may not be opened", "check the rights of the file and of its folder"),
    "SQLITE_BUSY": ("another process holds its lock", "try again, or raise busy_timeout_s"),
    "SQLITE_LOCKED": ("another connection holds its lock", "try again, or raise busy_timeout_s"),
    "SQLITE_IOERR": ("the disk cannot be read or written", "check the disk and its quota"),
}


class SqliteStore(Store):
    """The SQLite database at `path`; it is made, with mode 0600, when absent and `create` is set."""

    driver_errors = (SQLAlchemyError, sqlite3.Error)
    placeholder = "?"

    def __init__(self, path: Path, *, create: bool, busy_timeout_s: float) -> None:
        super().__init__()
        self.path = path
        self.name = str(path)
        self.fresh = _touch(path, create)
        self._busy_timeout_s = busy_timeout_s
        self._turnstile = Turnstile(path)
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
            pool_size=4,
            max_overflow=28,
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)

    def explain(self, exc: Exception) -> LedgerError:
        """Say what an error of SQLite means."""
        orig = getattr(exc, "orig", exc)
        code = getattr(orig, "sqlite_errorname", "") or ""
        short = "_".join(code.split("_")[:2])
        if short in _DAMAGED or isinstance(orig, UnicodeDecodeError) or "decode to UTF-8" in str(orig):
            return LedgerTampered(
                f"the ledger {self.name} is damaged: {orig}",
                hint="run `clearmark ledger verify`; restore a copy",
            )
        if short in _WORDS:
            what, hint = _WORDS[short]
            return LedgerUnavailable(f"the ledger {self.name} is not available: {what}", hint=hint)
        if code in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            return Duplicate(f"a row of the ledger {self.name} is there already")
        if code == "SQLITE_CONSTRAINT_TRIGGER":
            return LedgerError(str(orig))
        return LedgerUnavailable(f"the ledger {self.name} is not available: {orig}", hint="check the disk")

    def create(self) -> None:
        """Make the tables and triggers in one transaction, unless they are there."""
        with self.writing() as conn:
            if not self.format(conn):
                METADATA.create_all(conn)
                for statement in sqlite_triggers():
                    conn.execute(text(statement))
                self.mark(conn)
            else:
                self.check_format(conn)
        if self.fresh:
            sync_folder(self.path.parent)

    def format(self, conn: Connection) -> str:
        """Return the number in the header of the file."""
        return str(conn.execute(text("PRAGMA user_version")).scalar() or "")

    def mark(self, conn: Connection) -> None:
        """Put the present format there."""
        conn.execute(text(f"PRAGMA user_version = {FORMAT}"))

    def lock(self, conn: Connection) -> None:
        """Do nothing: `BEGIN IMMEDIATE` took the lock."""

    def inspect(self, conn: Connection) -> Iterator[str]:
        """Run SQLite's own check of pages and indexes, and compare the schema with ours."""
        for (line,) in conn.execute(text("PRAGMA integrity_check(20)")):
            if line != "ok":
                yield f"SQLite: {line}"
        found = {row[0]: row[1] for row in conn.execute(text("SELECT name, sql FROM sqlite_master"))}
        expected = _expected_schema()
        for name in sorted(expected.keys() | found.keys()):
            if str(name).startswith("sqlite_"):
                continue
            if name not in found:
                yield f"{name} is missing from the schema"
            elif name not in expected:
                yield f"{name} does not belong into the schema"
            elif found[name] != expected[name]:
                yield f"{name} is not as it was made"

    def walk_groups(
        self, conn: Connection, query: Select[Any], size: int
    ) -> Generator[Sequence[Sequence[Any] | LedgerError], None, None]:
        """Yield raw rows without asking indexes; find the exact row at which reading fails.

        sqlite3 steps one row ahead of the one it returns, so an error of a long query can belong to the
        next row. After an error the rows are therefore read one by one.
        """
        sql = str(query.compile(self.engine))
        dbapi: Any = conn.connection.driver_connection
        done = 0
        cursor = dbapi.cursor()
        try:
            cursor.execute(sql)
            while rows := cursor.fetchmany(size):
                yield rows
                done += len(rows)
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            rest = self._creep(dbapi, sql, done, size)
            while some := list(islice(rest, size)):
                yield some
        finally:
            with contextlib.suppress(sqlite3.Error):
                cursor.close()

    def _creep(
        self, dbapi: Any, sql: str, done: int, size: int
    ) -> Generator[Sequence[Any] | LedgerError, None, None]:
        for at in range(done, done + size + 1):
            try:
                row = dbapi.execute(f"{sql} LIMIT 1 OFFSET {at}").fetchone()
            except (sqlite3.Error, UnicodeDecodeError, OverflowError) as exc:
                yield self.explain(exc)
                return
            if row is None:
                break
            yield row
        yield LedgerTampered(f"the ledger {self.name} cannot be read further")

    @contextmanager
    def thorough(self, conn: Connection) -> Iterator[None]:
        """Keep what was read once: the walk over the events and SQLite's own check go over the same pages."""
        driver = driver_of(conn)
        driver.execute(f"PRAGMA cache_size = -{_CACHE_OF_CHECKS}")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                driver.execute(f"PRAGMA cache_size = -{_CACHE}")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Stand in the queue of processes: SQLite's own lock has none, and lets some of them starve."""
        try:
            with self._turnstile.turn(self._busy_timeout_s):
                yield
        except TurnNotCome as exc:
            what, hint = _WORDS["SQLITE_BUSY"]
            raise LedgerUnavailable(f"the ledger {self.name} is not available: {what}", hint=hint) from exc

    def close(self) -> None:
        """Close all connections, and the queue."""
        super().close()
        self._turnstile.close()

    def write_options(self) -> dict[str, Any]:
        """Let the transaction begin with the lock; see `_begin`."""
        return {"clearmark_write": True}

    def insert_events(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows of the event table, without building each statement anew."""
        cursor = driver_of(conn).cursor()
        whole = len(rows) // _AT_ONCE * _AT_ONCE
        if whole:
            groups = (rows[at : at + _AT_ONCE] for at in range(0, whole, _AT_ONCE))
            cursor.executemany(_insert(_AT_ONCE), [tuple(chain.from_iterable(group)) for group in groups])
        if len(rows) > whole:
            cursor.executemany(_insert(1), rows[whole:])

    def footprint(self, conn: Connection) -> int:  # noqa: ARG002
        """Return the size of the file."""
        return self.path.stat().st_size

    def scrub(self) -> None:
        """Empty the write-ahead log, so that what was deleted is in no file of the database any more."""
        deadline = time.monotonic() + self._busy_timeout_s
        while not self._empty_wal():
            # Another connection reads an older state, or empties it now, for which SQLite does not wait.
            if time.monotonic() > deadline:
                raise LedgerUnavailable(
                    f"the write-ahead log of {self.name} could not be emptied while others read it",
                    hint="erase again; what was erased is already unreadable in the database itself",
                )
            time.sleep(0.02)

    def _empty_wal(self) -> bool:
        raw = self.engine.raw_connection()
        try:
            busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                return False
            raise self.explain(exc) from exc
        finally:
            raw.close()
        return not busy


@functools.cache
def _insert(rows: int) -> str:
    return f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES {', '.join([_ROW] * rows)}"  # noqa: S608


def _touch(path: Path, create: bool) -> bool:
    """Make the file with mode 0600; tell whether it is new."""
    try:
        if path.exists():
            return False
        if not create:
            raise LedgerError(f"there is no ledger at {path}", hint="check the path, or let it be created")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    except OSError as exc:
        raise LedgerUnavailable(
            f"the ledger {path} cannot be made: {exc.strerror}", hint="check the folder and its rights"
        ) from exc
    return True


def _configure(dbapi: sqlite3.Connection, _: object) -> None:
    dbapi.isolation_level = None
    cursor = dbapi.cursor()
    try:
        # The order matters: the file may be hostile, so nothing of its schema is trusted from the start.
        cursor.execute("PRAGMA trusted_schema = OFF")
        cursor.execute("PRAGMA cell_size_check = ON")
        # EXTRA is FULL, and also makes the removal of the journal durable by which the file turns to
        # write-ahead logging: a journal that came back after a power cut would undo everything.
        cursor.execute("PRAGMA synchronous = EXTRA")
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE}")
        _use_wal(cursor)
    finally:
        cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    # The switch needs the file alone and does not wait by itself, so two first openings can meet here.
    for attempt in range(100):
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        try:
            mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorname != "SQLITE_BUSY" or attempt == 99:
                raise
            time.sleep(0.02)
        else:
            if mode != "wal":
                raise sqlite3.OperationalError("write-ahead logging is not possible on this file system")
            return


def _begin(conn: Connection) -> None:
    write = conn.get_execution_options().get("clearmark_write", False)
    driver_of(conn).execute("BEGIN IMMEDIATE" if write else "BEGIN")


@functools.cache
def _expected_schema() -> dict[str, str | None]:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as conn:
            METADATA.create_all(conn)
            for statement in sqlite_triggers():
                conn.execute(text(statement))
            rows = conn.execute(text("SELECT name, sql FROM sqlite_master")).all()
    finally:
        engine.dispose()
    return {row[0]: row[1] for row in rows}
