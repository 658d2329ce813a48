"""Keeping a ledger: erasing, holding, pruning, reconciling, exporting."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from clearmark.audits.ledger._export import export_lines
from clearmark.audits.ledger._fencing import begin_epoch, number_of
from clearmark.audits.ledger._notes import Checkpoint
from clearmark.audits.ledger._reading import Reading
from clearmark.audits.ledger._reconcile import TERMINAL, Reconciliation, reconcile_store
from clearmark.audits.ledger._records import Erased, Recorded
from clearmark.audits.ledger._retention import (
    ERASURE,
    FENCED,
    HOLD_PLACED,
    HOLD_RELEASED,
    PRUNED,
    Hold,
    Pruned,
    active_holds,
    erase_key,
    hold_body,
    prune_events,
    release_body,
)
from clearmark.audits.ledger._writer import Writer
from clearmark.core.errors import LedgerError, LedgerTampered, UsageError
from clearmark.core.events import Event
from clearmark.core.ids import uuid7

__all__ = ["Custody"]


class Custody(Reading, ABC):
    """What the keeper of a ledger may do to what is in it. All of it goes on record."""

    _writer: Writer
    _damage: str

    @abstractmethod
    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events."""

    @abstractmethod
    def checkpoint(self) -> Checkpoint:
        """Return the signed head of the tree."""

    @abstractmethod
    def settle(self) -> int:
        """Put on record what waits in the spool."""

    def erase(self, subject: str, *, request_id: str = "", tenant: str = "default") -> Erased:
        """Make all personal data of a subject unreadable for good, and record that it was done.

        Its key and with it all salts are destroyed, in the database and its write-ahead log. Events, proofs
        and receipts stay as they are and stay valid; what they commit to can no longer be found out.

        Raises:
            LedgerUnavailable: when it could not be done, or the write-ahead log could not be emptied.
        """
        if not subject:
            raise UsageError("no subject to erase", hint="give the actor whose data is to go")
        return self._erase("subject", subject, request_id=request_id, tenant=tenant)

    def erase_request(self, request_id: str, *, tenant: str = "default") -> Erased:
        """Do as `erase` for the personal data of one request whose events name no subject."""
        return self._erase("request", request_id, request_id=request_id, tenant=tenant)

    def hold(self, reason: str, *, by: str, **scope: str) -> Hold:
        """Place a legal hold, which stops pruning and erasure of what it covers.

        `scope` bounds it by `request_id`, `tenant`, `kind`, `mark_id` or `subject`, all together; without
        any it covers everything. `by` and `reason` go on record for good, so give ids of persons, not names.
        """
        self._refuse_damaged()
        if scope.get("subject"):
            scope["subject"] = self._vault.reference("subject", scope["subject"]).hex()
        body = hold_body(reason, by, scope)
        _, recorded = self._writer.transact(lambda *_: (None, body), kind=HOLD_PLACED)
        assert recorded is not None
        return Hold(hold_id=recorded.event_id, reason=reason, ts_us=recorded.ts_us, scope=body["scope"])

    def release_hold(self, hold_id: str, *, by: Sequence[str], reason: str) -> Recorded:
        """Lift a hold. `by` names two different persons who agree.

        Raises:
            UsageError: with fewer persons, or without a reason.
            LedgerError: when no such hold is in force.
        """
        self._refuse_damaged()
        _, recorded = self._writer.transact(
            lambda conn, _: (None, release_body(conn, hold_id, by, reason)), kind=HOLD_RELEASED
        )
        assert recorded is not None
        return recorded

    def holds(self) -> list[Hold]:
        """Return the holds in force, oldest first."""
        with self._store.reading() as conn:
            return active_holds(conn)

    def prune(self, *, before: int, kind: str = "", tenant: str = "", limit: int = 10_000) -> Pruned:
        """Drop the bytes of up to `limit` events with `ts_us` below `before`, the oldest first.

        Their hashes stay, so every proof, receipt and checkpoint stays valid. Events under a hold stay, and
        so do those about erasures, holds and pruning. Nothing is recorded when nothing is old enough.
        """
        self._refuse_damaged()

        def work(conn: Connection, event_id: str) -> tuple[tuple[int, int], dict[str, Any] | None]:
            events, values, body = prune_events(
                conn, event_id, before=before, kind=kind, tenant=tenant, limit=limit
            )
            return (events, values), body if events else None

        (events, values), recorded = self._writer.transact(work, kind=PRUNED)
        if recorded is not None:
            self._writer.alone(self._store.scrub)
        return Pruned(event=recorded, events=events, values=values)

    def fence(self, reason: str, *, by: str, force: bool = False) -> int:
        """Begin a new epoch, in which no ledger opened before may write, but this one; return its number.

        For a service that hangs, or that runs on although another one took its place. It waits for the
        transaction that is in the way; with `force`, a PostgreSQL server ends that connection, and what
        it had not committed is not on record. Events that are refused then can be sent again after opening
        anew. `by` and `reason` go on record for good.

        Raises:
            LedgerUnavailable: when another one holds the lock for too long.
        """
        self._refuse_damaged()
        if force:
            self._store.depose()
        before = self._writer.epoch

        def work(conn: Connection, event_id: str) -> tuple[None, Mapping[str, Any]]:
            self._writer.epoch, body = begin_epoch(conn, event_id, by=by, reason=reason)
            return None, body

        try:
            self._writer.transact(work, kind=FENCED)
        except BaseException:
            self._writer.epoch = before
            raise
        return number_of(self._writer.epoch)

    def reconcile(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        grace_s: float = 3600.0,
        terminal: Sequence[str] = TERMINAL,
    ) -> Reconciliation:
        """Say which requests were not answered on record, or more than once.

        A request that began within the last `grace_s` seconds may still be running.
        """
        return reconcile_store(self._store, since=since, until=until, grace_s=grace_s, terminal=terminal)

    def record_read(self, what: Mapping[str, Any], *, by: str, events: int) -> Recorded:
        """Record that a person read `events` events: `what` says how they were chosen."""
        chosen = {name: value for name, value in what.items() if value is not None}
        body = {"by": by, "chosen": chosen, "events": events}
        return self.append([Event(kind="ledger.read", request_id=uuid7(), body=body)])[0]

    def export(self, path: str | Path, *, by: str = "", **chosen: Any) -> Recorded:
        """Write events with their proofs to a JSON Lines file, and record that it was done, and by whom.

        The file is made with mode 0600 and durable before the record is. `chosen` is what `events` takes.
        `verify_export`, or the standalone verifier, checks the file without the ledger. The recorded event
        holds the digest of the file, the number of events and the tree size.
        """
        head = self.checkpoint()
        tree = self._writer.tree
        chosen_events = (event for event in self.events(**chosen) if event.seq < head.size)
        seal = hashlib.sha256()
        count = -2
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                lines = export_lines(chosen_events, head=head, tree=tree, signer=self._signer)
                for line in lines:
                    stream.write(line)
                    seal.update(line.encode())
                    count += 1
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as exc:
            raise LedgerError(f"the export {path} cannot be written: {exc.strerror}") from exc
        body: dict[str, Any] = {
            "events": count,
            "tree_size": head.size,
            "root": head.root,
            "sha256": seal.hexdigest(),
        }
        body["chosen"] = {name: value for name, value in chosen.items() if value is not None}
        body["by"] = by
        event = Event(kind="ledger.exported", request_id=uuid7(), body=body)
        return self.append([event])[0]

    def _refuse_damaged(self) -> None:
        if self._damage:
            raise LedgerTampered(
                f"nothing is recorded any more: {self._damage}",
                hint="run `clearmark ledger verify`; restore the database and its checkpoint log together",
            )

    def _erase(self, scope: str, name: str, *, request_id: str, tenant: str) -> Erased:
        self.settle()  # what waits is sealed under another key, and must not outlast this one
        reference = self._vault.reference(scope, name)

        def work(conn: Connection, event_id: str) -> tuple[tuple[str | None, int], dict[str, Any]]:
            gone = erase_key(conn, reference, event_id)
            return gone, {"values": gone[1]}

        named = {"request_id": request_id} if request_id else {}
        (key_id, values), recorded = self._writer.transact(work, kind=ERASURE, tenant=tenant, **named)
        assert recorded is not None
        if key_id is not None:
            self._writer.forget(key_id)
        self._writer.alone(self._store.scrub)
        return Erased(event=recorded, values=values)
