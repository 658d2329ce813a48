"""Multi-index hashing: the 256-bit hashes within 31 bits of a query, exactly, from a fraction of them.

Norouzi, Punjani and Fleet, "Fast exact search in Hamming space with multi-index hashing", 2014. A hash is cut
into 16 words of 16 bits. When two differ in at most 31 bits, one of the words differs in at most one, so only
the rows that share such a word are compared: 17 of 65,536 keys in each of 16 tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["REACH", "HashTable"]

REACH = 31
"""Bits up to which nothing is missed; also where PDQ's authors draw the line between copies and others."""

_WORDS = 16
_KEYS = 1 << 16


class HashTable:
    """The tables over `hashes` [n, 32]: 64 bytes a hash, and 4 MiB. Below `LEAST` hashes a scan is faster."""

    LEAST = 1 << 16

    def __init__(self, hashes: NDArray[np.uint8]) -> None:
        import numpy as np

        self._hashes = hashes
        words = np.ascontiguousarray(hashes).view("<u2")
        rows = np.empty((_WORDS, len(hashes)), dtype=np.uint32)
        # Where in the rows of all tables the bucket of a key begins; it ends where the next one begins.
        self._ends = np.zeros((_WORDS, _KEYS + 1), dtype=np.int64)
        for place in range(_WORDS):
            word = np.ascontiguousarray(words[:, place])
            rows[place] = np.argsort(word, kind="stable")
            np.cumsum(np.bincount(word, minlength=_KEYS), out=self._ends[place, 1:])
            self._ends[place] += place * len(hashes)
        self._rows = rows.ravel()
        self._probes = np.concatenate([[0], 1 << np.arange(16)]).astype(np.uint16)

    @property
    def nbytes(self) -> int:
        """The bytes that the tables take beside the hashes."""
        return self._rows.nbytes + self._ends.nbytes

    def within(
        self, queries: NDArray[np.uint8], reach: int = REACH
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return rows within `reach` <= 31 bits of each query [q, 32], and the distances, nearest first."""
        import numpy as np

        queries = np.ascontiguousarray(queries)
        places = np.repeat(np.arange(_WORDS), len(self._probes))
        keys = (queries.view("<u2")[:, :, None] ^ self._probes).reshape(-1, len(places)).astype(np.int64)
        first = self._ends[places, keys]
        lengths = self._ends[places, keys + 1] - first
        asked = np.repeat(np.arange(len(queries)), lengths.sum(axis=1))
        first, lengths = first.ravel(), lengths.ravel()
        before = np.cumsum(lengths) - lengths
        # The places of all buckets in a row, without a loop over them.
        at = np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
        rows = self._rows[at].astype(np.int64)
        longs, ours = np.ascontiguousarray(self._hashes).view("<u8"), queries.view("<u8")
        # Half of the bits shut out nearly all: the other half is read of those that are left.
        flat = longs.reshape(-1)
        far = np.bitwise_count(flat[4 * rows] ^ ours[asked, 0])
        far += np.bitwise_count(flat[4 * rows + 1] ^ ours[asked, 1])
        close = np.flatnonzero(far <= reach)
        rows, asked = rows[close], asked[close]
        full = np.bitwise_count(longs[rows] ^ ours[asked]).sum(axis=1, dtype=np.int64)
        out = []
        for number in range(len(queries)):
            mine = (asked == number) & (full <= reach)
            near, place = np.unique(rows[mine], return_index=True)
            distance = full[mine][place]
            order = np.lexsort((near, distance))
            out.append((near[order], distance[order]))
        return out
