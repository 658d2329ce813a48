"""Fencing: how a process that must not write any more is kept from it.

Every writing transaction compares the epoch on record with the one that its ledger was opened in, under the
lock that orders all writers. `Ledger.fence` begins a new epoch: whatever was opened before is refused from
then on, however long it was paused and whatever it believes about its lock. Epochs are rows of `meta`, which
takes no changes, and each names the event that began it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, func, select

from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._schema import EVENT, META
from clearmark.audits.ledger._store import driver_of
from clearmark.core.errors import LedgerUnavailable, UsageError

__all__ = [
    "begin_epoch",
    "compare_epochs",
    "epoch_of",
    "is_epoch",
    "number_of",
    "refuse_deposed",
    "size_and_epoch",
]

_PREFIX = "epoch/"
_RANGE = (META.c.name >= _PREFIX) & (META.c.name < "epoch0")  # in the order of bytes, `0` follows `/`
_LATEST = select(func.max(META.c.name)).where(_RANGE)
_BOTH = f"""SELECT (SELECT max(seq) FROM {EVENT.name}),
(SELECT max(name) FROM {META.name} WHERE name >= '{_PREFIX}' AND name < 'epoch0')"""  # noqa: S608


def is_epoch(name: str) -> bool:
    """Tell whether a row of `meta` is an epoch."""
    return name.startswith(_PREFIX)


def number_of(epoch: str) -> int:
    """Return the number of an epoch; 0 before the first."""
    digits = epoch.removeprefix(_PREFIX)
    return int(digits) if digits.isdecimal() else 0


def epoch_of(conn: Connection) -> str:
    """Return the epoch on record."""
    return conn.execute(_LATEST).scalar() or ""


def size_and_epoch(conn: Connection) -> tuple[int, str]:
    """Return the number of events and the epoch on record, in one question. Every commit begins with it."""
    last, epoch = driver_of(conn).execute(_BOTH).fetchone()
    return (0 if last is None else last + 1), epoch or ""


def refuse_deposed(mine: str, found: str) -> None:
    """Refuse to write in another epoch than one's own.

    Raises:
        LedgerUnavailable: when another epoch began since.
    """
    if mine != found:
        raise LedgerUnavailable(
            f"this ledger was opened in epoch {number_of(mine)}; epoch {number_of(found)} has begun since, "
            "and who was there before may not write",
            hint="open it again where this process is still meant to write; events of the kind "
            "ledger.fenced say who began that epoch, and why",
        )


def begin_epoch(conn: Connection, event_id: str, *, by: str, reason: str) -> tuple[str, dict[str, int | str]]:
    """Put the next epoch on record; return its name, and what the event about it says.

    Raises:
        UsageError: without a person or a reason.
    """
    if not by.strip() or not reason.strip():
        raise UsageError("who fences a ledger, and why, goes on record", hint="give both")
    number = number_of(epoch_of(conn)) + 1
    name = f"{_PREFIX}{number:010d}"
    conn.execute(META.insert(), {"name": name, "value": event_id})
    return name, {"epoch": number, "by": by, "reason": reason}


def compare_epochs(
    conn: Connection,
    said: Mapping[str, tuple[int, Mapping[str, object]]],
    finding: Finding,
    walked: Callable[[object], bool],
) -> None:
    """Compare the epochs on record with the events that began them, given by their ids."""
    rows = {row.value: row.name for row in conn.execute(select(META).where(_RANGE))}
    for event_id in sorted(rows.keys() | said.keys()):
        seq, body = said.get(event_id, (None, {}))
        if seq is not None and not walked(seq):
            continue
        if seq is None:
            finding.bad(f"{rows[event_id]} was begun by no event on record")
        elif rows.get(event_id) != f"{_PREFIX}{body.get('epoch', 0):010d}":
            finding.bad(f"the epoch that event {seq} began is not the one in `meta`", seq)
