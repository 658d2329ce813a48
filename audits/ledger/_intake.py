"""What the jobs of one group come to: their bytes, and which of their events are new.

Making the bytes of many events in a row costs half of what it costs where each thread, just woken, makes
those of one; so the thread that leads does it for all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from clearmark.audits.ledger._entries import Entry, record
from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.audits.ledger._queue import MAX_WAITING, Job
from clearmark.audits.ledger._records import Recorded
from clearmark.audits.ledger._schema import EVENT, PERSONAL
from clearmark.core.errors import LedgerError

__all__ = ["all_new", "prepare", "prepare_all", "sort_out"]


def prepare_all(jobs: Sequence[Job]) -> None:
    """Make the bytes of the events of a group, as many as may wait; the others are for later."""
    size = 0
    for job in jobs:
        prepare(job)
        size += job.size
        if size > MAX_WAITING:
            return


def prepare(job: Job) -> None:
    """Make the bytes of the events of a job, unless they are made; or say why they cannot be recorded."""
    if job.size < 0:
        try:
            job.entries = [Entry.of(event) for event in job.events]
        except Exception as exc:  # noqa: BLE001  whatever it is, it is raised where the events came from
            job.error = exc
        size = 0
        for entry in job.entries:
            size += len(entry.envelope)
        job.size = size


def all_new(jobs: Sequence[Job], at: int) -> list[Entry]:
    """Take all events of `jobs` for new, from `at` on; what is not will be refused by the database."""
    fresh: list[Entry] = []
    for job in jobs:
        if job.error is None:
            job.result = [record(entry, seq) for seq, entry in enumerate(job.entries, at + len(fresh))]
            fresh += job.entries
    return fresh


def sort_out(conn: Connection, jobs: Sequence[Job], at: int, known: dict[str, Recorded]) -> list[Entry]:
    """Return what is new of `jobs`, from `at` on, and refuse jobs that contradict what is on record."""
    fresh: list[Entry] = []
    for job in jobs:
        mine: list[Entry] = []
        for entry in job.entries if job.error is None else ():
            recorded = known.get(entry.event.event_id)
            if recorded is None:
                recorded = record(entry, at + len(fresh) + len(mine))
                known[recorded.event_id] = recorded
                mine.append(entry)
            elif recorded.leaf_hash != entry.leaf.hex() and not _only_erased(conn, recorded, entry):
                job.error = LedgerError(
                    f"event {recorded.event_id} is already on record with other content",
                    hint="an event id names one event; make a new one for a new event",
                )
                break
            job.result.append(recorded)
        if job.error is None:
            fresh += mine
        else:
            for entry in mine:
                del known[entry.event.event_id]
    return fresh


def _only_erased(conn: Connection, recorded: Recorded, entry: Entry) -> bool:
    """Tell whether an event differs from the recorded one only because its personal data was erased since."""
    if not entry.event.personal:
        return False
    erased = select(func.count()).select_from(PERSONAL)
    erased = erased.where(PERSONAL.c.seq == recorded.seq, PERSONAL.c.erasure.is_not(None))
    if not conn.execute(erased).scalar():
        return False
    stored = conn.execute(select(EVENT.c.envelope).where(EVENT.c.seq == recorded.seq)).scalar_one()
    if hash_leaf(stored).hex() != recorded.leaf_hash:
        return False
    old: dict[str, Any] = json.loads(stored)
    new: dict[str, Any] = json.loads(entry.envelope)
    old["body"]["personal"] = dict.fromkeys(old["body"]["personal"])
    new["body"]["personal"] = dict.fromkeys(new["body"]["personal"])
    return old == new
