"""The stored tiles, against the tree over the events; those of level 0 in step with the walk over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._merkle import HASH_SIZE, root_of
from clearmark.audits.ledger._schema import TILE
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.core.errors import LedgerError

__all__ = ["StoredTiles", "Tiles"]

PAGE = 64
"""Tiles read at once: half a megabyte."""

MOST_MOVED = 65_536
"""Hashes in other places that are kept in mind; beyond, moved events are named with less precision."""


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

    def hashes(self, number: int) -> list[bytes] | None:
        """Return the hashes of one tile; None when it is missing, unreadable or of another length."""
        row = self.take(number)
        joined = row[0] if isinstance(row, tuple) else None
        if not isinstance(joined, bytes) or len(joined) != TILE_WIDTH * HASH_SIZE:
            return None
        return [joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)]

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


class Tiles:
    """Comparison of all stored tiles with the events."""

    def __init__(self, store: Store, conn: Connection, finding: Finding) -> None:
        self.stored = StoredTiles(store, conn)
        self.finding = finding
        self.roots: list[bytes] = []
        """Of the complete tiles of level 0, as the events give them."""
        self.elsewhere: dict[bytes, int] = {}
        """Hashes that a tile has, but not the event in that place: where the event of that hash once was."""

    def compare(self, leaves: Sequence[bytes], root: bytes) -> None:
        """Compare the next tile of level 0 with the hashes of its events and the root over them."""
        finding, number = self.finding, len(self.roots)
        first = number * TILE_WIDTH
        self.roots.append(root)
        row = self.stored.take(number)
        if row is None:
            finding.bad(f"tile {number} of level 0 is missing", first)
        elif isinstance(row, LedgerError):
            finding.bad(row.message, first)
        elif row[0] != b"".join(leaves):
            hashes = row[0] if isinstance(row[0], bytes) else b""
            told = [hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] for at in range(len(leaves))]
            wrong = [at for at, leaf in enumerate(leaves) if told[at] != leaf] or [0]
            if len(self.elsewhere) < MOST_MOVED:
                self.elsewhere.update((told[at], first + at) for at in wrong)
            finding.bad(f"tile {number} of level 0 disagrees with event {first + wrong[0]}", first + wrong[0])
        elif row[1] != root:
            finding.bad(f"tile {number} of level 0 has another root than its events", first)

    def compare_rest(self, size: int) -> None:
        """Report the tiles of level 0 that stand above none of the `size` events."""
        for number in self.stored.rest():
            self.finding.bad(f"tile {number} of level 0 is above no events", size)

    def compare_upper(self, conn: Connection, size: int | None, exactly: Callable[[int, int], int]) -> None:
        """Compare every tile above level 0, and that there are no others above `size` events.

        `exactly` returns the first bad event between two; without `size`, not all events were walked.
        """
        finding = self.finding
        columns = (TILE.c.level, TILE.c.number, TILE.c.hashes, TILE.c.root)
        rows = conn.execute(select(*columns).where(TILE.c.level != 0)).all()
        expected: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        level, below = 1, self.roots
        while len(below) >= TILE_WIDTH:
            groups = [below[at : at + TILE_WIDTH] for at in range(0, len(below), TILE_WIDTH)]
            whole = [group for group in groups if len(group) == TILE_WIDTH]
            below = [root_of(group) for group in whole]
            for number, (group, root) in enumerate(zip(whole, below, strict=True)):
                expected[level, number] = (b"".join(group), root)
            level += 1
        for row in rows:
            found = expected.pop((row.level, row.number), None)
            if found is None:
                if size is not None:
                    finding.bad(f"tile {row.number} of level {row.level} is above no events", size)
            elif (row.hashes, row.root) != found:
                span = TILE_WIDTH ** (row.level + 1)
                first = exactly(row.number * span, (row.number + 1) * span)
                finding.bad(f"tile {row.number} of level {row.level} disagrees with its events", first)
        for level, number in expected:
            finding.bad(f"tile {number} of level {level} is missing", number * TILE_WIDTH ** (level + 1))
        finding.done = f"{len(self.roots) + len(rows)} tiles agree with the events"
