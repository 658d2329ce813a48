"""The one way into the ledger: group commit across threads, one transaction per group, durable before return.

A thread that appends puts its events into a queue. The first one leads: it commits everything queued in one
transaction, wakes those whose events are durable, and hands the lead to one that still waits. Many threads so
share one synchronisation of the disk, and none waits for the work of a later group.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import Cosigner, with_signatures
from clearmark.audits.ledger._entries import Entry, record
from clearmark.audits.ledger._fencing import epoch_of, refuse_deposed, size_and_epoch
from clearmark.audits.ledger._merkle import HASH_SIZE, hash_leaf
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, parse_checkpoint
from clearmark.audits.ledger._records import Recorded
from clearmark.audits.ledger._schema import (
    CHECKPOINT,
    COSIGNATURE,
    EVENT,
    MARK,
    META,
    PERSONAL,
    SECOND_KEY,
    SUBJECT_KEY,
    TILE,
)
from clearmark.audits.ledger._store import Duplicate, Store
from clearmark.audits.ledger._tree import Tree
from clearmark.audits.ledger._vault import DataKey, Vault
from clearmark.core.errors import Error, KeyUnavailable, LedgerError, LedgerTampered, LedgerUnavailable
from clearmark.core.events import Event
from clearmark.core.ids import uuid7

__all__ = ["Writer"]

T = TypeVar("T")

MAX_GROUP = 1000
"""Most events of one group commit; a single larger append is a group of its own."""

MAX_WAITING = 64 << 20
"""Most bytes of events that wait to be written. Who comes then waits outside; nothing is ever dropped."""

GATHER_S = 0.005
"""Longest time that a leader waits for those whose events were in the group before."""

WOKEN_AT_ONCE = 4
"""Threads that are woken at once after a commit; each wakes the next. Hundreds at once would fight."""

MAX_PARAMETERS = 500
_CACHED_KEYS = 1024


class _Job:
    """The events of one call, and how the thread that made it is told about them."""

    __slots__ = (
        "abandoned",
        "done",
        "entries",
        "error",
        "ident",
        "leads",
        "relay",
        "result",
        "wake",
        "weight",
        "woken",
    )

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.ident = threading.get_ident()
        self.weight = sum(map(Entry.weight, entries))
        self.relay: deque[_Job] = deque()
        self.woken = False
        self.result: list[Recorded] = []
        self.error: Error | None = None
        self.done = False
        self.leads = False
        self.abandoned = False
        self.wake = threading.Lock()
        self.wake.acquire()


class Writer:
    """Appends to one store. `tree` is the state that the last commit left, or that `refresh` found."""

    def __init__(
        self,
        store: Store,
        *,
        signer: NoteSigner,
        vault: Vault,
        log: CheckpointLog | None,
        checkpoint_every_s: float,
        second: Cosigner | None = None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._second = second
        self._vault = vault
        self._log = log
        self._every = checkpoint_every_s
        self._signed_at = -float("inf")
        self._queue: deque[_Job] = deque()
        self._led = False
        self._behind = False
        self._waiting = 0
        self._last: tuple[set[int], set[int]] = (set(), set())
        self._gate = threading.Lock()  # guards the queue and the lead, for moments only
        self._room = threading.Condition(self._gate)
        self._lock = threading.Lock()  # held through a transaction
        self._keys: dict[str, DataKey] = {}
        self._pid = os.getpid()
        self.epoch = ""
        """The epoch that this ledger was opened in; in another one it may not write."""
        self.tree = Tree.load(0, edge=lambda *_: [], read_tile=store.tile)

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events and return once they are durable, in order; see `Ledger.append`."""
        job = _Job([Entry.of(event) for event in events])
        if not job.entries:
            return []
        self._refuse_after_fork()
        with self._gate:
            while self._led and self._waiting and self._waiting + job.weight > MAX_WAITING:
                self._room.wait()
            self._queue.append(job)
            self._waiting += job.weight
            job.leads = not self._led
            self._led = True
        if not job.leads:
            self._await(job)
        if job.leads:
            try:
                while not job.done:
                    self._gather()
                    with self._lock:
                        self._commit_group()
            finally:
                self._hand_over()
        if job.error is not None:
            raise job.error
        return job.result

    def _await(self, job: _Job) -> None:
        try:
            job.wake.acquire()
        except BaseException:
            # Interrupted: the events may still be recorded, but this thread must not be given the lead.
            with self._gate:
                job.abandoned = True
                leads, woken = job.leads, job.woken
            if leads:
                self._hand_over()
            elif woken:
                self._wake_next(job.relay)
            raise
        if not job.leads:
            self._wake_next(job.relay)

    def _wake_next(self, relay: deque[_Job]) -> None:
        """Wake the next thread of a group whose events are durable."""
        with self._gate:
            while relay:
                job = relay.popleft()
                job.woken = True
                if not job.abandoned:
                    job.wake.release()
                    return

    def _gather(self) -> None:
        """Give those time to come back who were in the last two groups, so that all share one commit.

        Otherwise they fall into two halves, one of which prepares its events while the other is written:
        twice as many commits, and both in each other's way.
        """
        end = time.monotonic() + GATHER_S
        here, idle = len(self._queue), 0
        expected = len(self._last[0] | self._last[1]) * 7 // 8
        while here < expected and idle < 6 and time.monotonic() < end:
            time.sleep(GATHER_S / 20)
            idle = idle + 1 if len(self._queue) == here else 0
            here = len(self._queue)

    def _hand_over(self) -> None:
        """Give the lead to the first thread that still waits; without one, the next to append takes it."""
        with self._gate:
            heir = next((job for job in self._queue if not job.abandoned), None)
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.wake.release()
            else:
                self._room.notify_all()

    def refresh(self) -> Tree:
        """Return the tree as it is in the database now, also after other processes wrote to it."""
        with self._store.reading() as conn:
            tree = self.tree
            if self._store.size(conn) != tree.size:
                self.tree = tree = self._store.load_tree(conn)
        return tree

    def checkpoint(self) -> Checkpoint:
        """Sign the present tree head, or return the signature that it already has."""
        self._refuse_after_fork()
        with self._lock:
            with self._store.writing() as conn:
                tree = self._current(conn)
                known = conn.execute(select(CHECKPOINT.c.note).where(CHECKPOINT.c.size == tree.size)).scalar()
                if known is None:
                    head = self._sign(conn, tree)
                else:
                    head = parse_checkpoint(known, self._signer.verifier)
                    if head.root != tree.root().hex():
                        raise LedgerTampered(f"the checkpoint at {tree.size} contradicts the events")
            self.tree = tree
            if self._log is not None:
                if known is None:
                    self._log.append(head.note, sync=True)
                else:
                    self._log.sync()
        return head

    def cosigned(self, head: Checkpoint, line: str, witness: str) -> Checkpoint:
        """Keep the signature line of a witness over `head`, and return the checkpoint with it."""
        with self._lock:
            with self._store.writing() as conn:
                refuse_deposed(self.epoch, epoch_of(conn))
                known = select(COSIGNATURE.c.line).where(COSIGNATURE.c.size == head.size)
                if line not in set(conn.execute(known).scalars()):
                    row = {"size": head.size, "line": line, "witness": witness}
                    conn.execute(COSIGNATURE.insert(), row)
            note = with_signatures(head.note, [line])
            if self._log is not None:
                self._log.append(note, sync=True)
        return Checkpoint(origin=head.origin, size=head.size, root=head.root, note=note)

    def transact(
        self, work: Callable[[Connection, str], tuple[T, Mapping[str, Any] | None]], **values: str
    ) -> tuple[T, Recorded | None]:
        """Do `work` and record it as an event, in one transaction.

        `work` is given the id that its event will have, and returns what it has to say and the body of the
        event, or no body when there is nothing to record. `values` are fields of the event.
        """
        self._refuse_after_fork()
        event_id = uuid7()
        with self._lock:
            with self._store.writing() as conn:
                answer, body = work(conn, event_id)
                if body is None:
                    return answer, None
                values.setdefault("request_id", event_id)
                event = Event(event_id=event_id, body=body, **values)  # type: ignore[arg-type]  # NOTE: all str
                job = _Job([Entry.of(event, own=True)])
                tree, note = self._write(conn, [job], lookup=False)
            self.tree = tree
            self._publish(note)
        return answer, job.result[0]

    def alone(self, work: Callable[[], None]) -> None:
        """Do `work` while no thread of this process writes."""
        with self._lock:
            work()

    def forget(self, key_id: str) -> None:
        """Drop a data key from memory."""
        self._keys.pop(key_id, None)

    def _commit_group(self) -> None:
        jobs = self._take()
        try:
            # Ids repeat only when somebody retries, so the first attempt does not look for them.
            for lookup in (False, True):
                try:
                    with self._store.writing() as conn:
                        tree, note = self._write(conn, jobs, lookup=lookup)
                except Duplicate:
                    if lookup:
                        raise
                    continue
                break
            self.tree = tree
            self._publish(note)
        except Error as exc:
            for job in jobs:
                job.error = job.error or exc
        except BaseException:
            unavailable = LedgerUnavailable("the ledger was interrupted while it wrote", hint="send it again")
            for job in jobs:
                job.error = job.error or unavailable
            raise
        finally:
            relay = deque(job for job in jobs if not job.leads)
            for job in jobs:
                job.relay = relay
                job.done = True
            for _ in range(WOKEN_AT_ONCE):
                self._wake_next(relay)

    def _take(self) -> list[_Job]:
        with self._gate:
            jobs = [self._queue.popleft()]
            total = len(jobs[0].entries)
            while self._queue and total + len(self._queue[0].entries) <= MAX_GROUP:
                jobs.append(self._queue.popleft())
                total += len(jobs[-1].entries)
            self._last = (self._last[1], {job.ident for job in jobs})
            self._waiting -= sum(job.weight for job in jobs)
            self._room.notify_all()
        return jobs

    def _write(self, conn: Connection, jobs: Sequence[_Job], *, lookup: bool) -> tuple[Tree, str | None]:
        """Insert what is new of `jobs` and fill in their results; return the new tree and its signed head."""
        tree = self._current(conn)
        keys: dict[bytes, DataKey] = {}
        for job in jobs:
            job.result, job.error = [], None
            try:
                for entry in job.entries:
                    entry.prepare(lambda reference: self._key(conn, reference, keys), self._vault)
            except LedgerTampered as exc:
                job.error = exc
        known = self._lookup(conn, jobs) if lookup else {}
        fresh: list[Entry] = []
        at = tree.size
        for job in jobs:
            mine: list[Entry] = []
            for entry in job.entries if job.error is None else ():
                recorded = known.get(entry.event.event_id)
                if recorded is None:
                    recorded = record(entry, at + len(mine))
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
                at += len(mine)
            else:
                for entry in mine:
                    del known[entry.event.event_id]
        if not fresh:
            # Sent again because the log outside could not be written: then it still lacks the note.
            latest = select(CHECKPOINT.c.note).order_by(CHECKPOINT.c.size.desc()).limit(1)
            return tree, conn.execute(latest).scalar() if self._behind else None
        return self._insert(conn, tree, fresh)

    def _insert(self, conn: Connection, tree: Tree, fresh: Sequence[Entry]) -> tuple[Tree, str | None]:
        start = tree.size
        tree, tiles = tree.extend(entry.leaf for entry in fresh)
        self._store.insert_events(conn, [entry.row(seq) for seq, entry in enumerate(fresh, start)])
        marks = [
            {"mark_id": mark, "seq": seq}
            for seq, entry in enumerate(fresh, start)
            if entry.event.mark_ids
            for mark in dict.fromkeys(entry.event.mark_ids)
        ]
        personal = [
            row
            for seq, entry in enumerate(fresh, start)
            if entry.event.personal
            for row in entry.personal_rows(seq)
        ]
        if marks:
            conn.execute(MARK.insert(), marks)
        if personal:
            conn.execute(PERSONAL.insert(), personal)
        if tiles:
            conn.execute(
                TILE.insert(),
                [
                    {"level": tile.level, "number": tile.number, "hashes": tile.hashes, "root": tile.root}
                    for tile in tiles
                ],
            )
        if time.monotonic() - self._signed_at < self._every:
            return tree, None
        note = self._sign(conn, tree).note
        self._signed_at = time.monotonic()
        return tree, note

    def _sign(self, conn: Connection, tree: Tree) -> Checkpoint:
        head = Checkpoint(origin=self._signer.name, size=tree.size, root=tree.root().hex())
        note = self._signer.sign(head.text)
        if self._second is not None:
            note += self._second.cosign(head.text)
        conn.execute(CHECKPOINT.insert(), {"size": head.size, "note": note})
        return Checkpoint(origin=head.origin, size=head.size, root=head.root, note=note)

    def _publish(self, note: str | None) -> None:
        if note is not None and self._log is not None:
            self._behind = True
            self._log.append(note)
            self._behind = False

    def _current(self, conn: Connection) -> Tree:
        size, epoch = size_and_epoch(conn)
        refuse_deposed(self.epoch, epoch)
        tree = self.tree
        if size == tree.size:
            return tree
        second = select(META.c.value).where(META.c.name == SECOND_KEY)
        if self._second is None and conn.execute(second).scalar() is not None:
            raise KeyUnavailable(
                "since this ledger was opened, another process gave it a second key", hint="open it again"
            )
        if 0 < size - tree.size <= MAX_GROUP and tree.size:
            # Others wrote a little: their leaves extend what is known here, and their tiles are stored.
            query = select(EVENT.c.leaf_hash).where(EVENT.c.seq >= tree.size).order_by(EVENT.c.seq)
            leaves = list(conn.execute(query).scalars())
            if len(leaves) == size - tree.size and all(map(_is_hash, leaves)):
                return tree.extend(leaves)[0]
        return self._store.load_tree(conn)

    def _key(self, conn: Connection, reference: bytes, keys: dict[bytes, DataKey]) -> DataKey:
        """Return the data key of a subject, made on first use.

        It is read in every transaction: another process may have erased it.
        """
        if reference in keys:
            return keys[reference]
        query = select(SUBJECT_KEY.c.key_id, SUBJECT_KEY.c.wrapped).where(
            SUBJECT_KEY.c.reference == reference
        )
        row = conn.execute(query).first()
        if row is None:
            made, wrapped = self._vault.make(uuid7())
            conn.execute(
                SUBJECT_KEY.insert(), {"reference": reference, "key_id": made.key_id, "wrapped": wrapped}
            )
        else:
            known = self._keys.get(row.key_id)
            made = known or self._vault.unwrap(row.key_id, row.wrapped)
            if len(self._keys) < _CACHED_KEYS:
                self._keys[row.key_id] = made
        keys[reference] = made
        return made

    def _lookup(self, conn: Connection, jobs: Sequence[_Job]) -> dict[str, Recorded]:
        ids = iter({entry.event.event_id for job in jobs for entry in job.entries})
        found: dict[str, Recorded] = {}
        while chunk := list(islice(ids, MAX_PARAMETERS)):
            query = select(EVENT.c.seq, EVENT.c.event_id, EVENT.c.leaf_hash, EVENT.c.ts_us)
            for row in conn.execute(query.where(EVENT.c.event_id.in_(chunk))):
                found[row.event_id] = Recorded(
                    seq=row.seq, event_id=row.event_id, leaf_hash=bytes(row.leaf_hash).hex(), ts_us=row.ts_us
                )
        return found

    def _refuse_after_fork(self) -> None:
        if os.getpid() != self._pid:
            raise LedgerUnavailable(
                "this ledger was opened before the process was forked", hint="open it again in the child"
            )


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_SIZE


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
