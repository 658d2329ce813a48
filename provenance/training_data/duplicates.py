"""Near-copies: found by perceptual hash and colour, in time that grows little faster than the items.

Pictures that occur often are what a model memorizes (Webster et al., arXiv:2303.12733; Somepalli et al.,
arXiv:2305.20086). The hash alone takes an icon for another of the same outline; a thumbnail tells them apart.

Hashes are cut into `distance` + 1 bands; of two hashes that differ in at most `distance` bits, at least one
band is equal, so only items that share a band are compared, and no near one is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Clusters", "colour_distance", "find_clusters"]

_BLOCK = 2048
_MAX_COMPARED = 50_000
_POPCOUNT = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True)
class Clusters:
    """`leaders[i]` is the position of the item whose near-copy item i is; its own where it is the first.

    Every copy lies within the distance of its leader, so clusters do not grow by chains. `exact` is False
    when so many items shared a band that not all of them were compared.
    """

    leaders: npt.NDArray[np.int64]
    exact: bool = True

    @property
    def count(self) -> int:
        """How many different pictures there are."""
        return len(np.unique(self.leaders))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """The sizes of the clusters, largest first."""
        return np.sort(np.unique(self.leaders, return_counts=True)[1])[::-1]

    @property
    def duplication_factor(self) -> float:
        """Items per different picture; 1.0 when nothing occurs twice."""
        return len(self.leaders) / self.count if len(self.leaders) else 1.0


def colour_distance(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the root mean square difference of thumbnails, shape (…, 192), in levels of 255."""
    apart = one.astype(np.int32) - other.astype(np.int32)
    return np.asarray(np.sqrt((apart**2).mean(axis=-1)))


def find_clusters(
    hashes: npt.NDArray[np.uint64],
    colours: npt.NDArray[np.uint8],
    *,
    distance: int = 3,
    levels: int = 6,
) -> Clusters:
    """Cluster items by hash, shape (N,), and thumbnail, shape (N, 192).

    Two are near-copies within `distance` bits and `levels` of `colour_distance`.
    """
    count = len(hashes)
    if count == 0:
        return Clusters(np.zeros(0, dtype=np.int64))
    # Copies that are equal in both fold into one before anything is compared.
    keys = np.concatenate([hashes.view(np.uint8).reshape(count, 8), colours], axis=1)
    packed = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.shape[1]))).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # distinct pictures, in the order of their first item
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    firsts = first[order]
    found, exact = _pairs(hashes[firsts], colours[firsts], distance, levels)
    leaders = _stars(len(firsts), found)
    return Clusters(firsts[leaders[rank[inverse.ravel()]]].astype(np.int64), exact)


def _pairs(
    hashes: npt.NDArray[np.uint64], colours: npt.NDArray[np.uint8], distance: int, levels: int
) -> tuple[npt.NDArray[np.int64], bool]:
    """Return all pairs of distinct pictures that are near, shape (P, 2)."""
    bands = distance + 1
    width = -(-64 // bands)
    pairs: list[npt.NDArray[np.int64]] = []
    exact = True
    for band in range(bands):
        keys = (hashes >> np.uint64(band * width)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.diff(keys[order])) + 1
        for group in np.split(order, edges):
            if len(group) < 2:
                continue
            if len(group) > _MAX_COMPARED:
                exact = False
            pairs.extend(_near(group[:_MAX_COMPARED], hashes, colours, distance, levels))
    return (np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)), exact


def _near(
    group: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    colours: npt.NDArray[np.uint8],
    distance: int,
    levels: int,
) -> Iterator[npt.NDArray[np.int64]]:
    group = np.sort(group)
    for start in range(0, len(group), _BLOCK):
        block = group[start : start + _BLOCK]
        for other in range(start, len(group), _BLOCK):
            against = group[other : other + _BLOCK]
            left, right = np.nonzero(_bits(hashes[block][:, None] ^ hashes[against][None, :]) <= distance)
            a, b = block[left], against[right]
            a, b = a[a < b], b[a < b]
            keep = colour_distance(colours[a], colours[b]) <= levels
            if keep.any():
                yield np.stack([a[keep], b[keep]], axis=1)


def _bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """Count the bits that are set (numpy 1.26 has no bitwise_count)."""
    total = np.zeros(values.shape, dtype=np.uint8)
    for shift in (0, 16, 32, 48):
        total += _POPCOUNT[(values >> np.uint64(shift)).astype(np.uint16)]
    return total


def _stars(count: int, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give every picture the earliest leader that it is near to, in order of the leaders."""
    leaders = np.arange(count, dtype=np.int64)
    pairs = np.unique(pairs, axis=0)
    starts = np.searchsorted(pairs[:, 0], np.unique(pairs[:, 0]))
    for at, start in enumerate(starts):
        end = starts[at + 1] if at + 1 < len(starts) else len(pairs)
        leader = pairs[start, 0]
        if leaders[leader] != leader:
            continue
        for member in pairs[start:end, 1]:
            if leaders[member] == member:
                leaders[member] = leader
    return leaders
