"""Exact search by Hamming distance: faiss where it is installed, numpy otherwise.

Exact on purpose: graphs and inverted files lose a quarter of the near-copies, and a scan of a million codes
takes milliseconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["distances", "nearest"]

_CHUNK = 1 << 16


def distances(table: NDArray[np.uint8], code: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the Hamming distance of every row of `table` [n, b] to `code` [b]; b is a multiple of 8."""
    import numpy as np

    words = np.ascontiguousarray(table).view(np.uint64)
    word = np.ascontiguousarray(code).view(np.uint64)
    out: NDArray[np.int32] = np.bitwise_count(words ^ word).sum(axis=1, dtype=np.int32)
    return out


def nearest(
    table: NDArray[np.uint8], codes: NDArray[np.uint8], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the rows of the `count` nearest of `table` [n, b] to each of `codes` [q, b], and the distances.

    Both are [q, min(count, n)], nearest first.
    """
    import numpy as np

    count = min(count, len(table))
    if count == 0 or not len(codes):
        return np.zeros((len(codes), 0), dtype=np.int64), np.zeros((len(codes), 0), dtype=np.int32)
    faiss = _faiss()
    if faiss is not None:
        # Two OpenMP threads make one query many times slower: they wait for each other.
        faiss.omp_set_num_threads(1)
        found, rows = faiss.knn_hamming(np.ascontiguousarray(codes), np.ascontiguousarray(table), count)
        return rows.astype(np.int64), found.astype(np.int32)
    rows = np.empty((len(codes), count), dtype=np.int64)
    best = np.empty((len(codes), count), dtype=np.int32)
    for number, code in enumerate(codes):
        found = np.concatenate(
            [distances(table[first : first + _CHUNK], code) for first in range(0, len(table), _CHUNK)]
        )
        some = np.argpartition(found, count - 1)[:count]
        order = some[np.lexsort((some, found[some]))]
        rows[number], best[number] = order, found[order]
    return rows, best


@lru_cache(maxsize=1)
def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
