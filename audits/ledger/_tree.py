"""The tree of a ledger over stored tiles: appending in O(log n), and any node of it in a few reads.

Hashes are kept in tiles of 256 (C2SP tlog-tiles). Complete tiles are stored and never change; the incomplete
one of each level is held in memory, and made again from the events when a ledger is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from clearmark.audits.ledger._merkle import HASH_SIZE, Frontier, hash_node
from clearmark.core.errors import LedgerTampered

__all__ = ["TILE_WIDTH", "Tile", "Tree"]

TILE_WIDTH = 256
"""Hashes in a complete tile."""

TILE_HEIGHT = 8
"""Levels of the tree in a tile: 2**8 = 256."""


@dataclass(frozen=True)
class Tile:
    """A complete tile: its level, its number, its 256 hashes in one piece, and the root over them."""

    level: int
    number: int
    hashes: bytes
    root: bytes


class Tree:
    """The state at one size. Never changed once made: `extend` returns the next one.

    `read_tile` gives the hashes of a complete stored tile.
    """

    __slots__ = ("_edges", "_frontier", "_read_tile")

    def __init__(
        self, frontier: Frontier, edges: Sequence[Sequence[bytes]], read_tile: Callable[[int, int], bytes]
    ) -> None:
        self._frontier = frontier
        self._edges = edges
        self._read_tile = read_tile

    @classmethod
    def load(
        cls,
        size: int,
        *,
        edge: Callable[[int, int, int], Sequence[bytes]],
        read_tile: Callable[[int, int], bytes],
    ) -> Tree:
        """Return the tree of the first `size` events of a store.

        `edge(level, start, count)` gives the hashes number `start` to `start + count` of a tile level: leaf
        hashes of events at level 0, roots of the tiles one level below above that.

        Raises:
            LedgerTampered: when the store lacks some of them.
        """
        edges: list[list[bytes]] = []
        level, width = 0, size
        while width:
            start = width - width % TILE_WIDTH
            hashes = list(edge(level, start, width - start))
            if len(hashes) != width - start or any(len(item) != HASH_SIZE for item in hashes):
                raise LedgerTampered(f"the tree lacks hashes at level {level * TILE_HEIGHT} from {start}")
            edges.append(hashes)
            level, width = level + 1, width // TILE_WIDTH
        made = cls(Frontier(size), edges, read_tile)
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                made._frontier.peaks.append(made.node(bit, (size >> bit) - 1))
        return made

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._frontier.size

    def root(self) -> bytes:
        """Return the root over all leaves."""
        return self._frontier.root()

    def extend(self, leaves: Iterable[bytes]) -> tuple[Tree, list[Tile]]:
        """Return the tree with more leaf hashes, and the tiles that became complete."""
        frontier = self._frontier.copy()
        edges = list(self._edges)
        tiles: list[Tile] = []
        before = frontier.size
        rows = frontier.extend(leaves)
        for level, row in enumerate(rows[::TILE_HEIGHT]):
            edge = [*edges[level], *row] if level < len(edges) else row
            number = before // TILE_WIDTH
            whole = len(edge) - len(edge) % TILE_WIDTH
            # What is new a tile's height above is the roots of the tiles that became complete.
            roots = rows[(level + 1) * TILE_HEIGHT] if whole else ()
            for at, root in zip(range(0, whole, TILE_WIDTH), roots, strict=True):
                tiles.append(Tile(level, number, b"".join(edge[at : at + TILE_WIDTH]), root))
                number += 1
            edges[level : level + 1] = [edge[whole:]]
            before //= TILE_WIDTH
        return Tree(frontier, edges, self._read_tile), tiles

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree: `2**level` leaves, from `index * 2**level`.

        Raises:
            LedgerTampered: when its tile is not in the store.
        """
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, within = divmod(index << height, TILE_WIDTH)
        width = self.size >> TILE_HEIGHT * tile_level
        if number == width // TILE_WIDTH:
            hashes = self._edges[tile_level][within : within + (1 << height)]
        else:
            raw = self._read_tile(tile_level, number)
            if len(raw) != TILE_WIDTH * HASH_SIZE:
                raise LedgerTampered(f"tile {number} of level {tile_level} is damaged")
            hashes = [
                raw[at * HASH_SIZE : (at + 1) * HASH_SIZE] for at in range(within, within + (1 << height))
            ]
        while len(hashes) > 1:
            hashes = [hash_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    def roots(self, size: int) -> bytes:
        """Return the root over the first `size` leaves."""
        edge = Frontier(size)
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                edge.peaks.append(self.node(bit, (size >> bit) - 1))
        return edge.root()
