"""Checking rows of the event table many at a time: all good, or not.

What a whole group shares is compared once for the group, and the loops that are left run in C. A group with
anything unusual in it is refused here, and then checked row by row, where each problem gets its words.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, chain, repeat
from typing import Any

from clearmark.audits.ledger._retention import RESERVED
from clearmark.core.events import SCHEMA_VERSION

__all__ = ["BODY_START", "Group", "check_group"]

BODY_START = b'{"body":{'
"""How the canonical bytes of every event begin."""

_TAIL = (
    '},"event_id":"%s","kind":"%s","request_id":"%s",'
    f'"schema_version":{SCHEMA_VERSION},"tenant":"%s","ts_us":%d}}\n'
)
"""How they end, behind what is in the body; no column may hold a line break. See `envelope_tail`."""

_NAMED = {b'"mark_ids":["': b'rk_ids"', b'"personal":{"': b'onal":{'}
"""What names marks or personal data, and seven bytes in it: four of them begin at a multiple of four."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are as they were recorded: their leaf hashes, and which of them say more than that."""

    leaves: list[bytes]
    noted: list[int]
    """Places in the group of events that name marks or personal data, or that the ledger itself wrote."""


def check_group(rows: Sequence[Any], start: int) -> Group | None:
    """Return the leaf hashes of `rows`, events from `start` on; None when any of them has to be looked at.

    Rows are (seq, event_id, ts_us, tenant, kind, request_id, envelope, leaf_hash, pruned). Their types, their
    places, their hashes and every column are compared with the stored bytes.
    """
    try:
        columns = tuple(zip(*rows, strict=True))
        if columns[0] != tuple(range(start, start + len(rows))) or set(columns[8]) != {None}:
            return None
        if {*map(type, columns[0]), *map(type, columns[2])} != {int}:
            return None
        envelopes, kinds = columns[6], columns[4]
        leaves = [sha256(b"\x00" + envelope).digest() for envelope in envelopes]
        if tuple(leaves) != columns[7] or not _ends_bind(columns):
            return None
    except (TypeError, IndexError):  # an error in place of a row, no rows, or values of another type
        return None
    noted = _places(envelopes)
    if not RESERVED.isdisjoint(kinds):
        noted.update(at for at, kind in enumerate(kinds) if kind in RESERVED)
    return Group(leaves, sorted(noted))


def _ends_bind(columns: Sequence[Sequence[Any]]) -> bool:
    """Tell whether the bytes of every event begin as they must and end with its columns; see `envelope_tail`.

    Only text that JSON writes as it is, without escapes, is looked at here.
    """
    _, event_ids, times, tenants, kinds, requests, envelopes, *_ = columns
    shown = "".join((*event_ids, *set(tenants), *set(kinds), *requests))  # TypeError for what is no text
    if '"' in shown or "\\" in shown or not shown.isprintable():
        return False
    # All in one go, a line each: a line is a third of what an f-string for each and its bytes would take.
    lines = (
        _TAIL
        * len(event_ids)
        % tuple(chain.from_iterable(zip(event_ids, kinds, requests, tenants, times, strict=True)))
    )
    tails = lines.encode().split(b"\n")[:-1]
    return all(map(bytes.startswith, envelopes, repeat(BODY_START))) and all(
        map(bytes.endswith, envelopes, tails)
    )


def _places(envelopes: Sequence[bytes]) -> set[int]:
    """Return the places of the events whose bytes hold what names marks or personal data.

    `bytes.find` takes as long for this as hashing does. Instead, the bytes are compared four at a time with
    each way in which a name can lie across such fours; whatever fits is then looked at whole.
    """
    import numpy as np

    joined = b"".join(envelopes)
    fours = np.frombuffer(joined, "<u4", len(joined) // 4)
    starts = [
        at
        for name, offset, four in _fours()
        if (same := fours == four).any()
        for at in (np.flatnonzero(same) * 4 - offset).tolist()
        if at >= 0 and joined.startswith(name, at)
    ]
    if not starts:
        return set()
    ends = list(accumulate(map(len, envelopes)))
    return {bisect_right(ends, at) for at in starts}


@functools.cache
def _fours() -> list[tuple[bytes, int, int]]:
    """Return, for each name and way to lie, the name, the offset of four bytes in it, and their number."""
    return [
        (name, name.index(part) + at, int.from_bytes(part[at : at + 4], "little"))
        for name, part in _NAMED.items()
        for at in range(4)
    ]
