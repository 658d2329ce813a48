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

        longs = np.ascontiguousarray(self._hashes).view("<u8")
        out = []
        places = np.repeat(np.arange(_WORDS), len(self._probes))
        for query in np.ascontiguousarray(queries):
            keys = (query.view("<u2")[:, None] ^ self._probes[None, :]).ravel().astype(np.int64)
            first = self._ends[places, keys]
            lengths = self._ends[places, keys + 1] - first
            before = np.cumsum(lengths) - lengths
            # The places of all buckets in a row, without a loop over them.
            rows = self._rows[np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))]
            far = np.bitwise_count(longs[rows] ^ query.view("<u8")).sum(axis=1, dtype=np.int64)
            close = far <= reach
            near, place = np.unique(rows[close], return_index=True)
            distance = far[close][place]
            order = np.lexsort((near, distance))
            out.append((near[order].astype(np.int64), distance[order]))
        return out
