"""Checking rows of the event table many at a time: all good, or not.

What a whole group shares is compared once for the group, and the loops that are left run in C. A group with
anything unusual in it is refused here, and then checked row by row, where each problem gets its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, repeat
from typing import Any

from clearmark.audits.ledger._retention import RESERVED
from clearmark.core.events import SCHEMA_VERSION

__all__ = ["BODY_START", "Group", "check_group"]

BODY_START = b'{"body":{'
"""How the canonical bytes of every event begin."""

_TYPES = (int, str, int, str, str, str, bytes, bytes, type(None))
_NAMED = (b'"mark_ids":["', b'"personal":{"')


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
    except TypeError:  # an error in place of a row
        return None
    if tuple(map(_one_type, columns)) != _TYPES or columns[0] != tuple(range(start, start + len(rows))):
        return None
    envelopes, kinds = columns[6], columns[4]
    leaves = [sha256(b"\x00" + envelope).digest() for envelope in envelopes]
    if tuple(leaves) != columns[7] or not _ends_bind(columns):
        return None
    noted = set(_places(envelopes))
    if not RESERVED.isdisjoint(kinds):
        noted.update(at for at, kind in enumerate(kinds) if kind in RESERVED)
    return Group(leaves, sorted(noted))


def _one_type(column: Sequence[object]) -> type | None:
    found = set(map(type, column))
    return found.pop() if len(found) == 1 else None


def _ends_bind(columns: Sequence[Sequence[Any]]) -> bool:
    """Tell whether the bytes of every event begin as they must and end with its columns; see `envelope_tail`.

    Only text that JSON writes as it is, without escapes, is looked at here.
    """
    _, event_ids, times, tenants, kinds, requests, envelopes, *_ = columns
    shown = "".join((*event_ids, *set(tenants), *set(kinds), *requests))
    if '"' in shown or "\\" in shown or not shown.isprintable():
        return False
    tails = [
        f'}},"event_id":"{event_id}","kind":"{kind}","request_id":"{request}"'
        f',"schema_version":{SCHEMA_VERSION},"tenant":"{tenant}","ts_us":{ts_us}}}'.encode()
        for event_id, kind, request, tenant, ts_us in zip(
            event_ids, kinds, requests, tenants, times, strict=True
        )
    ]
    return all(map(bytes.startswith, envelopes, repeat(BODY_START))) and all(
        map(bytes.endswith, envelopes, tails)
    )


def _places(envelopes: Sequence[bytes]) -> Iterator[int]:
    """Yield the places of the events whose bytes hold what names marks or personal data."""
    joined = b"".join(envelopes)
    for name in _NAMED:
        found = joined.find(name)
        if found < 0:
            continue
        for at, end in enumerate(accumulate(map(len, envelopes))):
            if found < end:
                yield at
                found = joined.find(name, end)
                if found < 0:
                    break
