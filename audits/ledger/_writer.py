"""The one way into the ledger: one transaction per group of events, durable before return.

Threads come together in a `Queue`; the one that leads does all the work for its group here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import Cosigner, with_signatures
from clearmark.audits.ledger._entries import Entry
from clearmark.audits.ledger._fencing import epoch_of, refuse_deposed, size_and_epoch
from clearmark.audits.ledger._intake import all_new, prepare, prepare_all, sort_out
from clearmark.audits.ledger._merkle import HASH_SIZE
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, parse_checkpoint
from clearmark.audits.ledger._queue import MAX_GROUP, MAX_WAITING, Job, Queue
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
from clearmark.audits.ledger._sending import Sender
from clearmark.audits.ledger._store import Duplicate, Store
from clearmark.audits.ledger._tree import Tree
from clearmark.audits.ledger._vault import DataKey, Vault
from clearmark.core.errors import Error, KeyUnavailable, LedgerTampered, LedgerUnavailable
from clearmark.core.events import Event
from clearmark.core.ids import uuid7

__all__ = ["Writer"]

T = TypeVar("T")

MAX_PARAMETERS = 500
_CACHED_KEYS = 1024


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
        self._behind = False
        self._queue = Queue(prepare_all, self._commit)
        self._lock = self._queue.lock  # held through a transaction
        self._sender = Sender(self._commit_sent)
        self._keys: dict[str, DataKey] = {}
        self._pid = os.getpid()
        self.epoch = ""
        """The epoch that this ledger was opened in; in another one it may not write."""
        self.tree = Tree.load(0, edge=lambda *_: [], read_tile=store.tile)

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events and return once they are durable, in order; see `Ledger.append`."""
        job = Job(list(events))
        if not job.events:
            return []
        self._refuse_after_fork()
        self._queue.add(job)
        if job.error is not None:
            raise job.error
        return job.result

    def enqueue(self, events: Sequence[Event]) -> Future[list[Recorded]]:
        """Record events, and return at once; see `Ledger.enqueue`."""
        self._refuse_after_fork()
        return self._sender.send(list(events))

    def append_async(self, events: Sequence[Event]) -> Awaitable[list[Recorded]]:
        """Record events for a task of an event loop; see `Ledger.append_async`."""
        self._refuse_after_fork()
        return self._sender.sent(list(events))

    def close(self) -> None:
        """Finish what was sent; nothing more can be sent."""
        self._sender.close()

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
                job = Job([event], [Entry.of(event, own=True)])
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

    def _commit_sent(self, jobs: Sequence[Job]) -> None:
        """Record a group of what was sent, between two groups of the threads that wait."""
        prepare_all(jobs)
        with self._lock:
            self._commit(jobs)

    def _commit(self, jobs: Sequence[Job]) -> None:
        """Record what the jobs of one group hold, and fill in their results or errors."""
        part: list[Job] = []
        size = 0
        for job in jobs:
            prepare(job)
            if job.error is None:
                part.append(job)
                size += job.size
            if size > MAX_WAITING:  # they were heavier than they looked
                self._record(part)
                part, size = [], 0
        if part:
            self._record(part)

    def _record(self, jobs: Sequence[Job]) -> None:
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
        for job in jobs:
            job.entries = ()

    def _write(self, conn: Connection, jobs: Sequence[Job], *, lookup: bool) -> tuple[Tree, str | None]:
        """Insert what is new of `jobs` and fill in their results; return the new tree and its signed head."""
        tree = self._current(conn)
        self._seal(conn, jobs)
        if lookup:
            fresh = sort_out(conn, jobs, tree.size, self._lookup(conn, jobs))
        else:
            fresh = all_new(jobs, tree.size)
        if not fresh:
            # Sent again because the log outside could not be written: then it still lacks the note.
            latest = select(CHECKPOINT.c.note).order_by(CHECKPOINT.c.size.desc()).limit(1)
            return tree, conn.execute(latest).scalar() if self._behind else None
        return self._insert(conn, tree, fresh)

    def _seal(self, conn: Connection, jobs: Sequence[Job]) -> None:
        """Seal the personal data of events. Jobs forget what an earlier attempt came to."""
        keys: dict[bytes, DataKey] = {}
        for job in jobs:
            job.result, job.error = [], None
            try:
                for entry in job.entries:
                    if entry.event.personal:
                        entry.prepare(lambda reference: self._key(conn, reference, keys), self._vault)
            except LedgerTampered as exc:
                job.error = exc

    def _insert(self, conn: Connection, tree: Tree, fresh: Sequence[Entry]) -> tuple[Tree, str | None]:
        start = tree.size
        tree, tiles = tree.extend(entry.leaf for entry in fresh)
        self._store.insert_events(conn, [entry.row(seq) for seq, entry in enumerate(fresh, start)])
        marks = [
            (mark, seq)
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
            self._store.insert(conn, MARK, marks)
        if personal:
            conn.execute(PERSONAL.insert(), personal)
        if tiles:
            rows = [(tile.level, tile.number, tile.hashes, tile.root) for tile in tiles]
            self._store.insert(conn, TILE, rows)
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
        self._store.insert(conn, CHECKPOINT, [(head.size, note)])
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

    def _lookup(self, conn: Connection, jobs: Sequence[Job]) -> dict[str, Recorded]:
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
