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
        self._rows = np.empty((_WORDS, len(hashes)), dtype=np.uint32)
        self._ends = np.zeros((_WORDS, _KEYS + 1), dtype=np.int64)
        for place in range(_WORDS):
            word = np.ascontiguousarray(words[:, place])
            self._rows[place] = np.argsort(word, kind="stable")
            np.cumsum(np.bincount(word, minlength=_KEYS), out=self._ends[place, 1:])
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

        out = []
        places = np.repeat(np.arange(_WORDS), len(self._probes))
        for query in np.ascontiguousarray(queries):
            words = query.view("<u2")
            keys = (words[:, None] ^ self._probes[None, :]).ravel().astype(np.int64)
            first, last = self._ends[places, keys], self._ends[places, keys + 1]
            parts = [self._rows[p, a:b] for p, a, b in zip(places, first, last, strict=True) if b > a]
            if not parts:
                out.append((np.zeros(0, np.int64), np.zeros(0, np.int64)))
                continue
            rows = np.concatenate(parts)
            far = np.bitwise_count(self._hashes[rows].view("<u8") ^ query.view("<u8")).sum(axis=1)
            near = rows[far <= reach].astype(np.int64)
            near, place = np.unique(near, return_index=True)
            distance = far[far <= reach][place].astype(np.int64)
            order = np.lexsort((near, distance))
            out.append((near[order], distance[order]))
        return out
