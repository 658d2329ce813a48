"""A database that holds a ledger: connections, transactions, and what its errors mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from clearmark.audits.ledger._schema import EVENT, FORMAT, TILE
from clearmark.audits.ledger._tree import TILE_HEIGHT, TILE_WIDTH, Tree
from clearmark.core.errors import LedgerError, LedgerTampered

__all__ = ["Duplicate", "Store", "driver_of"]

CACHED_TILES = 128
CHUNK = 1000
"""Rows read at once."""


class Duplicate(LedgerError):
    """A row with the same key is there already."""


class Store(ABC):
    """One database. `reading` and `writing` give connections inside a transaction."""

    engine: Engine
    name: str
    """What messages call it: a path, or a host and database without credentials."""
    driver_errors: tuple[type[Exception], ...] = (SQLAlchemyError,)
    """What a connection can raise."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], bytes] = {}

    @abstractmethod
    def explain(self, exc: Exception) -> LedgerError:
        """Say what an error of the database means, in our words."""

    @abstractmethod
    def create(self) -> None:
        """Make the tables where they are missing."""

    @abstractmethod
    def format(self, conn: Connection) -> str:
        """Return the format of the tables that are there; empty when there are none of a ledger."""

    @abstractmethod
    def mark(self, conn: Connection) -> None:
        """Note that the tables have the present format."""

    def check_format(self, conn: Connection) -> None:
        """See to it that the tables have the present format.

        Raises:
            LedgerError: when there are none, or they have to be upgraded, or this version is too old.
        """
        found = self.format(conn)
        if not found:
            raise LedgerError(f"there is no ledger in {self.name}", hint="check the path or the URL")
        if found.isdecimal() and int(found) < int(FORMAT):
            raise LedgerError(
                f"the ledger {self.name} has format {found}; this version needs {FORMAT}",
                hint="make a backup, then run `clearmark db upgrade`; no event is changed by it",
            )
        if found != FORMAT:
            raise LedgerError(
                f"the ledger {self.name} has format {found}; this version reads {FORMAT}",
                hint="update clearmark",
            )

    @abstractmethod
    def lock(self, conn: Connection) -> None:
        """Make this writing transaction the only one until it ends."""

    @abstractmethod
    def inspect(self, conn: Connection) -> Iterator[str]:
        """Run the database's own checks, and compare its tables and triggers; yield what is wrong."""

    @abstractmethod
    def walk_groups(
        self, conn: Connection, query: Select[Any], size: int
    ) -> Generator[Sequence[Sequence[Any] | LedgerError], None, None]:
        """Yield the raw rows of `query` in their order, `size` at a time; the last may be fewer.

        An error stands in place of the first unreadable row, and is the last of all.
        """

    def walk(
        self, conn: Connection, query: Select[Any]
    ) -> Generator[Sequence[Any] | LedgerError, None, None]:
        """Yield the raw rows of `query` in their order, and an error in place of the first unreadable row."""
        with closing(self.walk_groups(conn, query, CHUNK)) as groups:
            for group in groups:
                yield from group

    @abstractmethod
    def scrub(self) -> None:
        """See to it that deleted rows are in no file of the database any more, as far as it can be done."""

    @abstractmethod
    def footprint(self, conn: Connection) -> int:
        """Return the size of the database."""

    def apart(self, conn: Connection) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Give a context in which an error of the database leaves the transaction usable."""
        return nullcontext()

    def thorough(self, conn: Connection) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Give a context in which everything is read, and more than once."""
        return nullcontext()

    def turn(self) -> AbstractContextManager[Any]:
        """Give a context that is entered when it is this process's turn to write."""
        return nullcontext()

    def depose(self) -> None:  # noqa: B027  most databases cannot
        """End the connection of whoever holds the lock of writers, where a server can do that."""

    def write_options(self) -> dict[str, Any]:
        """Return options for the connection of a writing transaction."""
        return {}

    placeholder: str
    """What stands for a value in the statements of the driver."""

    def insert(self, conn: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert whole rows of `table`, in the order of its columns.

        In the transaction of `conn`, but through the driver: what SQLAlchemy does for one takes longer
        than the statement, and a ledger makes the same few in every commit.
        """
        columns = table.columns
        values = ", ".join([self.placeholder] * len(columns))
        names = ", ".join([column.name for column in columns])
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({values})"  # noqa: S608
        driver_of(conn).cursor().executemany(statement, rows)

    @abstractmethod
    def insert_events(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows of the event table, without `pruned`."""

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database.

        Raises:
            LedgerError: in place of every error of the database.
        """
        try:
            with self.engine.connect() as conn, conn.begin():
                yield conn
        except self.driver_errors as exc:
            raise self.explain(exc) from exc

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in the one writing transaction; it is durable when the block ends.

        Raises:
            LedgerError: in place of every error of the database; nothing of the block is then on record.
        """
        try:
            with (
                self.turn(),
                self.engine.connect().execution_options(**self.write_options()) as conn,
                conn.begin(),
            ):
                self.lock(conn)
                yield conn
        except self.driver_errors as exc:
            raise self.explain(exc) from exc

    def size(self, conn: Connection) -> int:
        """Return the number of events."""
        last = conn.execute(select(func.max(EVENT.c.seq))).scalar()
        return 0 if last is None else last + 1

    def load_tree(self, conn: Connection, size: int | None = None) -> Tree:
        """Return the tree over the first `size` events, or all."""

        def edge(level: int, start: int, count: int) -> Sequence[bytes]:
            if level == 0:
                query = select(EVENT.c.leaf_hash).where(EVENT.c.seq >= start).order_by(EVENT.c.seq)
            else:
                query = (
                    select(TILE.c.root)
                    .where(TILE.c.level == level - 1, TILE.c.number >= start)
                    .order_by(TILE.c.number)
                )
            hashes = list(conn.execute(query.limit(count)).scalars())
            if not all(isinstance(item, bytes) for item in hashes):
                raise LedgerTampered(f"the tree holds a value that is no hash, at level {level} from {start}")
            return hashes

        total = self.size(conn) if size is None else size
        return Tree.load(total, edge=edge, read_tile=lambda level, number: self.tile(level, number, conn))

    def tile(self, level: int, number: int, conn: Connection | None = None) -> bytes:
        """Return the 256 hashes of a complete tile.

        Raises:
            LedgerTampered: when it is missing.
        """
        known = self._tiles.get((level, number))
        if known is not None:
            return known
        query = select(TILE.c.hashes).where(TILE.c.level == level, TILE.c.number == number)
        if conn is not None and not conn.closed:
            found = conn.execute(query).scalar()
        else:
            with self.reading() as own:
                found = own.execute(query).scalar()
        if not isinstance(found, bytes):
            first = number * TILE_WIDTH << TILE_HEIGHT * level
            raise LedgerTampered(f"tile {number} of level {level} (events from {first}) is missing")
        if len(self._tiles) >= CACHED_TILES:
            self._tiles.pop(next(iter(self._tiles)), None)
        self._tiles[level, number] = found
        return found


def driver_of(conn: Connection) -> Any:
    """Return the connection of the driver under `conn`: what is done there belongs to its transaction."""
    return conn.connection.driver_connection


def one(conn: Connection, query: Select[Any]) -> Row[Any] | None:
    """Return the first row, if any."""
    return conn.execute(query).first()
