"""Where the register lies: one SQLite file, or any other database that SQLAlchemy reaches.

SQLite runs with a write-ahead log and `synchronous=FULL`: what a progress bar counted survives a power cut.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from clearmark.core.errors import Error, Unavailable, UsageError
from clearmark.provenance.training_data._schema import FORMAT, META, METADATA

__all__ = ["Database"]

_HINT = "check the file, its folder's rights and the space left on the disk"


class Database:
    """An engine with the register's tables in it. `where` is a path, a database URL, or an engine."""

    def __init__(self, where: str | Path | Engine, *, create: bool = True) -> None:
        if isinstance(where, Engine):
            self.engine, self.name, self._own = where, str(where.url), False
        elif isinstance(where, str) and "://" in where:
            # SQLAlchemy's own default for this scheme is a driver that is not among our extras.
            url = re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", where)
            self.engine, self._own = create_engine(url), True
            self.name = self.engine.url.render_as_string(hide_password=True)
        else:
            self.engine, self.name, self._own = _sqlite(Path(where), create), str(where), True
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure)
            event.listen(self.engine, "begin", _begin)
        self._prepare()

    def close(self) -> None:
        """Close every connection of an engine that was opened here."""
        if self._own:
            self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the register from its start to its end.

        Raises:
            Unavailable: when the database cannot be read.
        """
        try:
            with self.engine.connect() as conn, conn.begin():
                yield conn
        except SQLAlchemyError as exc:
            raise Unavailable(f"the register {self.name} cannot be read: {_cause(exc)}", hint=_HINT) from exc

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is kept whole or not at all.

        Raises:
            UsageError: when another import wrote the same items first.
            Unavailable: when the database cannot be written.
        """
        try:
            with self.engine.connect() as raw:
                conn = raw.execution_options(clearmark_write=True)
                with conn.begin():
                    yield conn
        except IntegrityError as exc:
            raise UsageError(
                "another import writes the same version of this dataset", hint="wait until it has ended"
            ) from exc
        except SQLAlchemyError as exc:
            raise Unavailable(
                f"the register {self.name} cannot be written: {_cause(exc)}", hint=_HINT
            ) from exc

    def scrub(self) -> None:
        """Empty SQLite's write-ahead log, so that what was deleted is in no file of the database any more.

        Raises:
            Unavailable: when it cannot be emptied, because somebody reads it at this moment.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with self.engine.connect() as conn:
            raw: Any = conn.connection.driver_connection
            busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Unavailable(
                f"the write-ahead log of {self.name} is being read, so what was removed may still lie in it",
                hint="open and close the register once nobody else reads it",
            )

    def _prepare(self) -> None:
        with self.writing() as conn:
            METADATA.create_all(conn)
            found = conn.execute(select(META.c.value).where(META.c.name == "format")).scalar()
            if found is None:
                conn.execute(insert(META).values(name="format", value=FORMAT))
            elif found != FORMAT:
                raise UsageError(
                    f"the register {self.name} has format {found}; this version reads {FORMAT}",
                    hint="update clearmark",
                )


def _sqlite(path: Path, create: bool) -> Engine:
    try:
        if not path.exists():
            if not create:
                raise UsageError(f"there is no register at {path}", hint="clearmark data add makes it")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Names of creators are personal data: the file is for its owner.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except Error:
        raise
    except OSError as exc:
        raise Unavailable(f"the register {path} cannot be made: {exc.strerror}", hint=_HINT) from exc
    return create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30.0})


def _configure(dbapi: sqlite3.Connection, _: object) -> None:
    dbapi.isolation_level = None
    cursor = dbapi.cursor()
    cursor.execute("PRAGMA trusted_schema = OFF")
    cursor.execute("PRAGMA cell_size_check = ON")
    cursor.execute("PRAGMA foreign_keys = ON")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.execute("PRAGMA cache_size = -32000")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    # The switch needs the file alone and does not wait by itself, so two first openings can meet here.
    for attempt in range(100):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorname != "SQLITE_BUSY" or attempt == 99:
                raise
            time.sleep(0.02)
        else:
            return


def _begin(conn: Connection) -> None:
    write = conn.get_execution_options().get("clearmark_write", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _cause(exc: SQLAlchemyError) -> str:
    # Never the statement: its values are captions and names.
    return str(getattr(exc, "orig", None) or type(exc).__name__)
