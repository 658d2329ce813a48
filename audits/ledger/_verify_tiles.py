"""The stored tiles of level 0, read in step with the walk over the events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select

from clearmark.audits.ledger._schema import TILE
from clearmark.audits.ledger._store import Store
from clearmark.core.errors import LedgerError

__all__ = ["StoredTiles"]

PAGE = 64
"""Tiles read at once: half a megabyte."""


class StoredTiles:
    """What a database holds as tiles of level 0, in their order."""

    def __init__(self, store: Store, conn: Connection) -> None:
        self._store = store
        self._conn = conn
        self._page: dict[object, tuple[object, object]] = {}
        self._next = 0
        self._taken = 0

    def take(self, number: int) -> tuple[object, object] | LedgerError | None:
        """Return hashes and root of one tile, as they stand there; None when it is missing."""
        if number >= self._next:
            try:
                self._page = self._read(number, number + PAGE)
                self._next = number + PAGE
            except self._store.driver_errors:
                # Some tile of the page is unreadable: from here on they are read one by one.
                try:
                    self._page = self._read(number, number + 1)
                except self._store.driver_errors as exc:
                    return self._store.explain(exc)
                self._next = number + 1
        self._taken = number + 1
        return self._page.get(number)

    def rest(self) -> Iterator[object]:
        """Yield the numbers of the tiles that nobody asked for."""
        number = TILE.c.number
        query = select(number).where(TILE.c.level == 0, ~number.between(0, self._taken - 1)).order_by(number)
        with self._store.apart(self._conn):
            yield from self._conn.execute(query.limit(PAGE)).scalars().all()

    def _read(self, start: int, end: int) -> dict[object, tuple[object, object]]:
        columns: tuple[Any, ...] = (TILE.c.number, TILE.c.hashes, TILE.c.root)
        query = select(*columns).where(TILE.c.level == 0, TILE.c.number >= start, TILE.c.number < end)
        with self._store.apart(self._conn):
            return {number: (hashes, root) for number, hashes, root in self._conn.execute(query)}
