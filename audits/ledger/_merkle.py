"""The Merkle tree of RFC 6962, section 2: hashes, proofs of inclusion and of consistency, and their checks.

Hashes are 32 bytes of SHA-256. Nothing here reads or writes: a caller that makes proofs passes `node`, which
returns the hash of the complete subtree number `index` at `level` (level 0 holds the leaves).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import TypeAlias

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "MAX_PROOF",
    "Frontier",
    "Node",
    "consistency_proof",
    "hash_leaf",
    "hash_node",
    "inclusion_proof",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
"""Bytes of a hash."""

MAX_PROOF = 63
"""Most hashes that a proof in a tree of up to 2**63 leaves can need."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""

Node: TypeAlias = Callable[[int, int], bytes]
"""`node(level, index)`: the hash over the leaves `index * 2**level` up to `(index + 1) * 2**level`."""


def hash_leaf(data: bytes) -> bytes:
    """Hash the bytes of one entry."""
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Hash two child hashes into their parent."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees on the right edge: enough to append and to give the root.

    Appending costs one hash on average; the root costs at most one per level.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more leaf."""
        rest, top = self.size, leaf
        while rest & 1:
            top = hash_node(self.peaks.pop(), top)
            rest >>= 1
        self.peaks.append(top)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> list[list[bytes]]:
        """Add the hashes of many more leaves; return the new hashes of each level, from the bottom."""
        row = list(leaves)
        rest, self.size = self.size, self.size + len(row)
        added: list[bytes] = []
        rows: list[list[bytes]] = []
        while row:
            rows.append(row.copy())
            if rest & 1:
                row.insert(0, self.peaks.pop())
            if len(row) & 1:
                added.append(row.pop())
            row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
            rest >>= 1
        self.peaks += reversed(added)
        return rows

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        top = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            top = hash_node(peak, top)
        return top

    def copy(self) -> Frontier:
        """Return an independent copy."""
        return Frontier(self.size, self.peaks)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, or over the roots of complete subtrees of equal size."""
    edge = Frontier()
    edge.extend(hashes)
    return edge.root()


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root of the first `size` leaves, lowest first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        split = low + _largest_power_below(high - low)
        if index < split:
            proof.append(_subtree(split, high, node))
            high = split
        else:
            proof.append(_subtree(low, split, node))
            low = split
    proof.reverse()
    return proof


def consistency_proof(first: int, second: int, node: Node) -> list[bytes]:
    """Return the hashes that show the first `first` leaves to be the beginning of the first `second`."""
    if not 0 <= first <= second:
        raise ValueError(f"no consistency proof from {first} to {second}")
    if first in {0, second}:
        return []
    proof: list[bytes] = []
    low, high, whole = 0, second, True
    while first != high:
        split = low + _largest_power_below(high - low)
        if first <= split:
            proof.append(_subtree(split, high, node))
            high = split
        else:
            proof.append(_subtree(low, split, node))
            low, whole = split, False
    if not whole:
        proof.append(_subtree(low, high, node))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2). Never raises for hostile values."""
    if not 0 <= index < size or len(proof) > MAX_PROOF or not _are_hashes(leaf, root, *proof):
        return False
    at, last, top = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            top = hash_node(sibling, top)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            top = hash_node(top, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and top == root


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Check a consistency proof (RFC 9162, section 2.1.4.2). Never raises for hostile values."""
    if not 0 <= first <= second or not _are_hashes(first_root, second_root, *proof):
        return False
    if first in {0, second}:
        # Everything extends the empty tree, whose root is fixed; and a tree is consistent with itself only.
        expected = EMPTY_ROOT if first == 0 else second_root
        return not proof and first_root == expected and (second != 0 or second_root == EMPTY_ROOT)
    if not proof or len(proof) > 2 * MAX_PROOF:
        return False
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    at, last = first - 1, second - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old = hash_node(sibling, old)
            new = hash_node(sibling, new)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            new = hash_node(new, sibling)
        at >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root


def _subtree(low: int, high: int, node: Node) -> bytes:
    """Return the root over the leaves `low` to `high`, where `low` is a multiple of the width rounded up."""
    width = high - low
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, low >> level)
    split = low + _largest_power_below(width)
    return hash_node(_subtree(low, split, node), _subtree(split, high, node))


def _largest_power_below(width: int) -> int:
    return 1 << (width - 1).bit_length() - 1


def _are_hashes(*values: object) -> bool:
    return all(isinstance(value, bytes) and len(value) == HASH_SIZE for value in values)
