"""What may go, and what must stay: pruning by age, legal holds, erasure of a subject.

Each is an event of its own, written in the transaction that does what it says. Pruning drops the bytes of
events and keeps their hashes, so that the tree, all checkpoints and all receipts stay as they are. A hold
stops both pruning and erasure, and takes two persons to lift.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, false, func, or_, select, true, update

from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.audits.ledger._records import Recorded
from clearmark.audits.ledger._schema import EVENT, MARK, PERSONAL, SUBJECT_KEY
from clearmark.core.errors import LedgerError, LedgerTampered, UsageError

__all__ = [
    "ERASURE",
    "FENCED",
    "HOLD_PLACED",
    "HOLD_RELEASED",
    "PRUNED",
    "RESERVED",
    "Hold",
    "Pruned",
    "active_holds",
    "erase_key",
    "hold_body",
    "prune_events",
    "release_body",
    "seq_digest",
]

ERASURE = "erasure"
HOLD_PLACED = "hold.placed"
HOLD_RELEASED = "hold.released"
PRUNED = "retention.pruned"
FENCED = "ledger.fenced"

RESERVED = frozenset({ERASURE, FENCED, HOLD_PLACED, HOLD_RELEASED, PRUNED})
"""Kinds that only the ledger itself writes, and that are never pruned: verification needs them."""

SCOPES = ("request_id", "tenant", "kind", "mark_id", "subject")
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A legal hold. `scope` bounds it, all its parts together; empty, it covers everything.

    A subject stands in the scope as the keyed hash by which the ledger knows it.
    """

    hold_id: str
    reason: str
    ts_us: int
    scope: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "hold_id": self.hold_id,
            "reason": self.reason,
            "ts_us": self.ts_us,
            "scope": dict(self.scope),
        }


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What pruning did: its own event, how many events lost their bytes, how many personal values went."""

    event: Recorded | None
    events: int
    values: int


def hold_body(reason: str, by: str, scope: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of the event that places a hold.

    Raises:
        UsageError: without a reason or a person, or for a scope that is none.
    """
    if not reason or not by:
        raise UsageError("a hold needs a reason and the one who places it", hint="give reason and by")
    unknown = scope.keys() - set(SCOPES)
    if unknown:
        raise UsageError(f"a hold cannot be bounded by {sorted(unknown)}", hint=f"use {', '.join(SCOPES)}")
    return {"reason": reason, "by": by, "scope": {name: value for name, value in scope.items() if value}}


def release_body(conn: Connection, hold_id: str, by: Sequence[str], reason: str) -> dict[str, Any]:
    """Return the body of the event that lifts a hold.

    Raises:
        UsageError: unless two different persons agree, and say why.
        LedgerError: when there is no such hold in force.
    """
    persons = sorted({person.strip() for person in by if person.strip()})
    if len(persons) < 2 or isinstance(by, str) or not reason:
        raise UsageError(
            "lifting a hold needs two different persons and a reason", hint="give by=[one, other]"
        )
    if all(hold.hold_id != hold_id for hold in active_holds(conn)):
        raise LedgerError(
            f"there is no hold {hold_id[:200]} in force", hint="`clearmark ledger hold` lists them"
        )
    return {"hold": hold_id, "by": persons, "reason": reason}


def active_holds(conn: Connection) -> list[Hold]:
    """Return the holds in force, oldest first.

    Raises:
        LedgerTampered: when an event about holds is not what was recorded.
    """
    held: dict[str, Hold] = {}
    query = (
        select(EVENT.c.event_id, EVENT.c.kind, EVENT.c.ts_us, EVENT.c.envelope, EVENT.c.leaf_hash)
        .where(EVENT.c.kind.in_((HOLD_PLACED, HOLD_RELEASED)))
        .order_by(EVENT.c.seq)
    )
    for row in conn.execute(query):
        if hash_leaf(row.envelope) != row.leaf_hash:
            raise LedgerTampered(f"the event {row.event_id} about a hold is not what was recorded")
        body = json.loads(row.envelope)["body"]
        if row.kind == HOLD_PLACED:
            held[row.event_id] = Hold(
                hold_id=row.event_id, reason=body["reason"], ts_us=row.ts_us, scope=body["scope"]
            )
        else:
            held.pop(body["hold"], None)
    return list(held.values())


def prune_events(
    conn: Connection, event_id: str, *, before: int, kind: str, tenant: str, limit: int
) -> tuple[int, int, dict[str, Any]]:
    """Drop the bytes of events older than `before` that no hold covers; return counts and event body.

    The seal over which events they were lets `verify` tell this from bytes that somebody else dropped.
    """
    query = select(EVENT.c.seq).where(
        EVENT.c.ts_us < before, EVENT.c.pruned.is_(None), EVENT.c.kind.not_in(RESERVED)
    )
    if kind:
        query = query.where(EVENT.c.kind == kind)
    if tenant:
        query = query.where(EVENT.c.tenant == tenant)
    query = query.where(~held_condition(active_holds(conn))).order_by(EVENT.c.seq).limit(limit)
    seqs = list(conn.execute(query).scalars())
    values = 0
    for chunk in _chunks(seqs):
        conn.execute(update(EVENT).where(EVENT.c.seq.in_(chunk)).values(envelope=b"", pruned=event_id))
        gone = update(PERSONAL).where(PERSONAL.c.seq.in_(chunk), PERSONAL.c.erasure.is_(None))
        values += conn.execute(gone.values(sealed=None, key_id=None, erasure=event_id)).rowcount
    body = {
        "before_ts_us": before,
        "kind": kind,
        "tenant": tenant,
        "events": len(seqs),
        "values": values,
        "digest": seq_digest(seqs),
    }
    return len(seqs), values, body


def erase_key(conn: Connection, reference: bytes, event_id: str) -> tuple[str | None, int]:
    """Delete the key under `reference` and everything sealed by it; return its id and the number of values.

    Raises:
        LedgerError: while a hold covers some of it.
    """
    found = select(SUBJECT_KEY.c.key_id).where(SUBJECT_KEY.c.reference == reference)
    key_id = conn.execute(found).scalar()
    if key_id is None:
        return None, 0
    owned = PERSONAL.c.key_id == key_id
    held = select(func.count()).select_from(EVENT).join(PERSONAL, PERSONAL.c.seq == EVENT.c.seq)
    if conn.execute(held.where(owned, held_condition(active_holds(conn)))).scalar():
        raise LedgerError(
            "a legal hold covers data of this subject, so nothing was erased",
            hint="lift the hold first; it takes two persons",
        )
    count = conn.execute(select(func.count()).select_from(PERSONAL).where(owned)).scalar_one()
    conn.execute(update(PERSONAL).where(owned).values(sealed=None, key_id=None, erasure=event_id))
    conn.execute(delete(SUBJECT_KEY).where(SUBJECT_KEY.c.reference == reference))
    return key_id, count


def held_condition(holds: Sequence[Hold]) -> ColumnElement[bool]:
    """Return the condition under which an event is covered by at least one of `holds`."""
    return or_(false(), *(_covers(hold.scope) for hold in holds))


def seq_digest(seqs: Iterable[int]) -> str:
    """Return the hex SHA-256 over sequence numbers in ascending order, 8 bytes each, big-endian."""
    seal = hashlib.sha256()
    for seq in seqs:
        seal.update(seq.to_bytes(8, "big"))
    return seal.hexdigest()


def _covers(scope: Mapping[str, str]) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = [true()]
    parts += [EVENT.c[name] == scope[name] for name in ("request_id", "tenant", "kind") if name in scope]
    if "mark_id" in scope:
        parts.append(EVENT.c.seq.in_(select(MARK.c.seq).where(MARK.c.mark_id == scope["mark_id"])))
    if "subject" in scope:
        key = select(SUBJECT_KEY.c.key_id).where(SUBJECT_KEY.c.reference == bytes.fromhex(scope["subject"]))
        owned = select(PERSONAL.c.seq).where(PERSONAL.c.key_id == key.scalar_subquery())
        parts.append(EVENT.c.seq.in_(owned))
    return and_(*parts)


def _chunks(items: Sequence[int]) -> Iterable[list[int]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
