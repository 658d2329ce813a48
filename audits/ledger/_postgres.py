"""A ledger in PostgreSQL, through psycopg: one advisory lock orders all writers, COPY takes their events in.

Every transaction is synchronous, and a server that may lose acknowledged transactions is refused. What is
deleted from PostgreSQL stays in its write-ahead log and backups for as long as those are kept; it is wrapped
by the vault key there, which never enters the database.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import URL, Connection, Select, create_engine, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from clearmark.audits.ledger._schema import EVENT, FORMAT, METADATA, postgres_triggers
from clearmark.audits.ledger._store import Duplicate, Store, driver_of
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable
from clearmark.core.optional import import_optional

__all__ = ["PostgresStore"]

_MARK = "clearmark ledger format "
_COPY = tuple(column.name for column in EVENT.columns if column.name != "pruned")
_COPY_TYPES = ("int8", "text", "int8", "text", "text", "text", "bytea", "bytea")
_WORDS = {
    "23": ("a row contradicts another", "run `clearmark ledger verify`"),
    "25006": ("it may not be written", "is this a standby server?"),
    "28": ("it does not accept this user or password", "check the URL"),
    "3D": ("there is no such database", "create it first; the ledger makes its tables itself"),
    "42501": ("this user has no right to do that", "let the ledger be opened by the owner of its tables"),
    "53": ("the server is out of disk, memory or connections", "free some; nothing was written"),
    "55P03": ("another process holds its lock", "try again, or raise busy_timeout_s"),
    "40": ("another transaction was in the way", "try again"),
    "57": ("the server is shutting down or cancelled this", "try again when it is back"),
}
_DAMAGED = ("42P01", "42703", "42883", "XX001", "XX002", "22021")


class PostgresStore(Store):
    """The tables in the database of `url`, in the first schema of its search path."""

    placeholder = "%s"

    def __init__(self, url: URL, *, create: bool, busy_timeout_s: float) -> None:
        super().__init__()
        self._psycopg = import_optional("psycopg", extra="postgres")
        self.driver_errors = (SQLAlchemyError, self._psycopg.Error)
        self.name = f"{url.host or 'local'}/{url.database}"
        self._create = create
        self._timeout_ms = max(1, round(busy_timeout_s * 1000))
        self.engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="REPEATABLE READ",
            pool_size=4,
            max_overflow=28,
            pool_pre_ping=True,
            connect_args={"connect_timeout": max(2, round(busy_timeout_s))},
        )
        event.listen(self.engine, "connect", _configure)

    def explain(self, exc: Exception) -> LedgerError:
        """Say what an error of PostgreSQL means."""
        orig = getattr(exc, "orig", None) or exc
        state = getattr(orig, "sqlstate", None) or ""
        said = str(orig).strip().partition("\n")[0]
        if state == "23505":
            return Duplicate(f"a row of the ledger {self.name} is there already")
        if state == "P0001":
            return LedgerError(said)
        if state in _DAMAGED or isinstance(orig, UnicodeDecodeError):
            return LedgerTampered(
                f"the ledger {self.name} is damaged: {said}",
                hint="run `clearmark ledger verify`; restore a copy",
            )
        what, hint = _WORDS.get(state) or _WORDS.get(state[:2]) or (said, "check that the server runs")
        return LedgerUnavailable(f"the ledger {self.name} is not available: {what}", hint=hint)

    def create(self) -> None:
        """Make the tables and triggers in one transaction, unless they are there."""
        with self.writing() as conn:
            fsync = conn.execute(text("SHOW fsync")).scalar()
            if fsync != "on":
                raise LedgerUnavailable(
                    f"the server of {self.name} runs with fsync = {fsync} and may lose what it acknowledged",
                    hint="set fsync = on",
                )
            if self.format(conn):
                self.check_format(conn)
                return
            if not self._create:
                raise LedgerError(
                    f"there is no ledger in {self.name}", hint="check the URL, or let it be created"
                )
            METADATA.create_all(conn)
            for statement in postgres_triggers():
                conn.execute(text(statement))
            self.mark(conn)

    def format(self, conn: Connection) -> str:
        """Return the number in the comment on the first table.

        Raises:
            LedgerError: when there are tables of somebody else.
        """
        found = conn.execute(text("SELECT obj_description(to_regclass('meta'), 'pg_class')")).scalar()
        if found is None and not inspect(conn).has_table(EVENT.name):
            return ""
        if found is None or not found.startswith(_MARK):
            raise LedgerError(
                f"the database {self.name} holds tables of another format or program",
                hint="give the ledger a database or schema of its own",
            )
        return str(found).removeprefix(_MARK)

    def mark(self, conn: Connection) -> None:
        """Put the present format there."""
        conn.execute(text(f"COMMENT ON TABLE meta IS '{_MARK}{FORMAT}'"))

    def lock(self, conn: Connection) -> None:
        """Take the advisory lock of this schema; it is given back when the transaction ends."""
        # One round trip: the timeout holds from the moment it is set, and the list is evaluated in its order.
        conn.execute(
            text(
                "SELECT set_config('lock_timeout', :timeout, true), "
                "pg_advisory_xact_lock(hashtextextended('clearmark ledger ' || current_schema(), 0))"
            ),
            {"timeout": f"{self._timeout_ms}ms"},
        )

    def depose(self) -> None:
        """End the connections that hold the advisory lock of this schema; their transactions are undone."""
        held = text(
            "SELECT pg_terminate_backend(pid) FROM pg_locks, "
            "hashtextextended('clearmark ledger ' || current_schema(), 0) AS key "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (classid::int8 << 32 | objid::int8) = key"
        )
        with self.reading() as conn:
            conn.execute(held)

    def write_options(self) -> dict[str, Any]:
        """Let each statement see what was committed before it: the lock is waited for inside."""
        return {"isolation_level": "READ COMMITTED"}

    def insert_events(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows of the event table by COPY."""
        statement = f"COPY event ({', '.join(_COPY)}) FROM STDIN (FORMAT BINARY)"
        with driver_of(conn).cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(_COPY_TYPES)
            for row in rows:
                copy.write_row(row)

    def inspect(self, conn: Connection) -> Iterator[str]:
        """Compare tables, columns and triggers with ours."""
        look = inspect(conn)
        for table in METADATA.sorted_tables:
            if not look.has_table(table.name):
                yield f"the table {table.name} is missing"
                continue
            found = {column["name"] for column in look.get_columns(table.name)}
            if found != {column.name for column in table.columns}:
                yield f"the columns of {table.name} are not as they were made"
        rows = conn.execute(
            text(
                "SELECT tgname, tgenabled FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
                "WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace"
            )
        )
        found_triggers = {row.tgname: row.tgenabled for row in rows}
        for statement in postgres_triggers():
            words = statement.split()
            if words[1] == "TRIGGER" and found_triggers.get(words[2]) not in {"O", "A"}:
                yield f"the trigger {words[2]} is missing or off"

    def walk_groups(
        self, conn: Connection, query: Select[Any], size: int
    ) -> Generator[Sequence[Sequence[Any] | LedgerError], None, None]:
        """Yield rows through a cursor on the server, and an error in place of the first unreadable row."""
        try:
            with conn.execute(query, execution_options={"stream_results": True, "yield_per": size}) as result:
                for part in result.partitions():
                    yield list(map(tuple, part))
        except self.driver_errors as exc:
            yield [self.explain(exc)]

    def apart(self, conn: Connection) -> AbstractContextManager[Any]:
        """Work behind a savepoint: without it one error would end the whole transaction."""
        return conn.begin_nested()

    def scrub(self) -> None:
        """Rewrite the table of keys, so that deleted ones are not in its file any more."""
        try:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
                conn.execute(text(f"SET lock_timeout = {self._timeout_ms}"))
                try:
                    conn.execute(text("VACUUM FULL subject_key"))
                finally:
                    conn.execute(text("RESET lock_timeout"))
        except self.driver_errors as exc:
            raise self.explain(exc) from exc

    def footprint(self, conn: Connection) -> int:
        """Return the size of all tables with their indexes."""
        total = 0
        for table in METADATA.sorted_tables:
            query = text("SELECT pg_total_relation_size(to_regclass(:name))")
            total += conn.execute(query, {"name": table.name}).scalar() or 0
        return total


def _configure(dbapi: Any, _: object) -> None:
    # Only `off` loses what was acknowledged; the other values ask for at least the local disk.
    with dbapi.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("SET synchronous_commit TO on")
    dbapi.commit()
