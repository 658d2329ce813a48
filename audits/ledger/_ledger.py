"""The ledger: an append-only record of events that the one who keeps it cannot rewrite unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Row, Select, func, make_url, select
from sqlalchemy.exc import ArgumentError

from clearmark.audits.ledger._canonical import envelope_tail
from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import WitnessKey, with_signatures
from clearmark.audits.ledger._export import export_lines
from clearmark.audits.ledger._merkle import EMPTY_ROOT, consistency_proof, hash_leaf, inclusion_proof
from clearmark.audits.ledger._notes import Checkpoint, NoteSigner, parse_checkpoint
from clearmark.audits.ledger._receipts import Receipt
from clearmark.audits.ledger._reconcile import TERMINAL, Reconciliation, reconcile_store
from clearmark.audits.ledger._records import Erased, LedgerReport, Recorded, StoredEvent
from clearmark.audits.ledger._retention import (
    ERASURE,
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
from clearmark.audits.ledger._schema import CHECKPOINT, COSIGNATURE, EVENT, MARK, META, PERSONAL, SUBJECT_KEY
from clearmark.audits.ledger._sqlite import SqliteStore
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._vault import Vault
from clearmark.audits.ledger._verify import verify_store
from clearmark.audits.ledger._writer import Writer
from clearmark.core.errors import KeyUnavailable, LedgerError, LedgerTampered, LedgerUnavailable, UsageError
from clearmark.core.events import Event
from clearmark.core.ids import uuid7

__all__ = ["Ledger"]

PAGE = 500
_COLUMNS = (
    EVENT.c.seq,
    EVENT.c.event_id,
    EVENT.c.ts_us,
    EVENT.c.tenant,
    EVENT.c.kind,
    EVENT.c.request_id,
    EVENT.c.envelope,
    EVENT.c.leaf_hash,
    EVENT.c.pruned,
)


class Ledger:
    """One ledger. Made by `open`; a context manager; safe to use from many threads.

    >>> with Ledger.open("ledger.db", signer=signer, vault_key=key) as ledger:
    ...     recorded = ledger.append([Event(kind="request.received", request_id="r-1")])
    ...     receipt = ledger.receipt(recorded[0].event_id)
    """

    def __init__(
        self,
        store: Store,
        *,
        signer: NoteSigner,
        vault: Vault,
        log: CheckpointLog | None,
        checkpoint_every_s: float,
    ) -> None:
        self._store = store
        self._signer = signer
        self._vault = vault
        self._log = log
        self._writer = Writer(
            store, signer=signer, vault=vault, log=log, checkpoint_every_s=checkpoint_every_s
        )
        self._damage = ""

    @classmethod
    def open(
        cls,
        database: str | Path,
        *,
        signer: NoteSigner,
        vault_key: bytes,
        create: bool = True,
        checkpoint_log: str | Path | None = None,
        checkpoint_every_s: float = 0.0,
        busy_timeout_s: float = 10.0,
    ) -> Ledger:
        """Open the ledger in `database`, a path or an SQLAlchemy URL; make it if absent and `create` is set.

        `signer` signs its checkpoints, `vault_key` (32 bytes) wraps the keys of personal data. Signed
        checkpoints also go to `checkpoint_log`, by default `<name>.checkpoints.log` beside a SQLite file and
        nowhere for a server. Each commit is signed; `checkpoint_every_s` signs less often, which leaves the
        newest events open to rewriting for that long.

        A ledger that is damaged or was rolled back still opens, so that `verify` can say what is wrong; it
        takes no more events.

        Raises:
            LedgerUnavailable: when it cannot be opened or made.
            LedgerError: when it is absent and not to be made, or of another format.
            KeyUnavailable: when it belongs to another signer or vault key.
        """
        vault = Vault(vault_key)
        store, beside = _open_store(database, create=create, busy_timeout_s=busy_timeout_s)
        log_path = Path(checkpoint_log) if checkpoint_log else beside
        log = CheckpointLog(log_path) if log_path else None
        made = cls(store, signer=signer, vault=vault, log=log, checkpoint_every_s=checkpoint_every_s)
        try:
            made._enter()
        except BaseException:
            store.close()
            raise
        return made

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; what no checkpoint covers yet is signed first, where that is possible."""
        try:
            if not self._damage and not self._covered():
                self._writer.checkpoint()
        except LedgerError:
            # Closing must not fail; what is durable stays durable, and the next commit signs it.
            pass
        finally:
            self._store.close()

    @property
    def origin(self) -> str:
        """The name of this log in its checkpoints."""
        return self._signer.name

    @property
    def verifier_key(self) -> str:
        """The public key by which others check receipts and checkpoints."""
        return self._signer.verifier_key

    @property
    def size(self) -> int:
        """Number of events on record."""
        with self._store.reading() as conn:
            return self._store.size(conn)

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Record events, all or none, and return once they are durable.

        An event whose id is already on record is not recorded twice: the same content gives the same record.

        Raises:
            UsageError: for an event that cannot be recorded.
            LedgerError: when an id is on record with other content; nothing of this call is then recorded.
            LedgerUnavailable: when they could not be made durable. Sending them again is safe.
            LedgerTampered: when the ledger is damaged.
        """
        self._refuse_damaged()
        return self._writer.append(events)

    def checkpoint(self) -> Checkpoint:
        """Return the signed head of the tree over all events on record."""
        self._refuse_damaged()
        return self._writer.checkpoint()

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the first `old` events are the beginning of the first `new`, or of all."""
        tree = self._writer.refresh()
        try:
            return consistency_proof(old, tree.size if new is None else new, tree.node)
        except (ValueError, IndexError) as exc:
            raise UsageError(f"no sizes of this ledger: {old}, {new}") from exc

    def witness(self, url: str, key: str, *, timeout_s: float = 10.0) -> Checkpoint:
        """Have the present checkpoint cosigned by the witness at `url`, and keep what it signed.

        `key` is the witness's public key. Receipts under that checkpoint carry the cosignature from then on.

        Raises:
            LedgerUnavailable: when the witness does not answer.
            LedgerTampered: when it has seen another history of this log than ours.
            LedgerError: when it refuses.
        """
        from clearmark.audits.ledger._witnessing import ask_witness

        witness = WitnessKey.parse(key)
        head = self.checkpoint()
        tree = self._writer.tree
        mine = COSIGNATURE.c.witness == str(witness)
        with self._store.reading() as conn:
            old = conn.execute(select(func.max(COSIGNATURE.c.size)).where(mine)).scalar() or 0
        line = ask_witness(url, witness, head, tree, old=old, timeout_s=timeout_s)
        return self._writer.cosigned(head, line, str(witness))

    def receipt(self, event_id: str) -> Receipt:
        """Return the proof that an event is on record.

        It stands under the earliest cosigned checkpoint that covers the event, or else under the earliest.

        Raises:
            LedgerError: when there is no such event.
            LedgerTampered: when the record does not give a valid proof.
        """
        event = self.get(event_id)
        tree = self._writer.tree if self._writer.tree.size > event.seq else self._writer.refresh()
        head = self._head_over(event.seq, tree.size)
        if head is None:
            head = self.checkpoint()
            tree = self._writer.tree
        receipt = Receipt(
            event_id=event_id,
            seq=event.seq,
            leaf_hash=event.leaf_hash,
            tree_size=head.size,
            root=head.root,
            proof=tuple(inclusion_proof(event.seq, head.size, tree.node)),
            note=head.note,
        )
        problem = receipt.explain(self.verifier_key, envelope=None if event.pruned else event.envelope)
        if problem:
            raise LedgerTampered(
                f"there is no valid proof for event {event.seq}: {problem}",
                hint="run `clearmark ledger verify`; it names what was changed",
            )
        return receipt

    def get(self, event_id: str) -> StoredEvent:
        """Return one event.

        Raises:
            LedgerError: when there is none of that id.
            LedgerTampered: when its bytes are not those that were recorded.
        """
        for event in self._select(select(*_COLUMNS).where(EVENT.c.event_id == event_id)):
            return event
        raise LedgerError(f"there is no event {event_id[:200]}", hint="the id stands in the result's receipt")

    def find_mark(self, mark_id: str) -> list[StoredEvent]:
        """Return the events that name a mark, oldest first."""
        query = select(*_COLUMNS).join(MARK, MARK.c.seq == EVENT.c.seq).where(MARK.c.mark_id == mark_id)
        return self._select(query.order_by(EVENT.c.seq))

    def find_request(self, request_id: str) -> list[StoredEvent]:
        """Return the events of one request, oldest first."""
        query = select(*_COLUMNS).where(EVENT.c.request_id == request_id)
        return self._select(query.order_by(EVENT.c.seq))

    def events(
        self,
        *,
        kind: str | None = None,
        tenant: str | None = None,
        since: int | None = None,
        until: int | None = None,
        first_seq: int = 0,
    ) -> Iterator[StoredEvent]:
        """Yield events in the order of the log, a page at a time.

        `since` and `until` bound `ts_us` (microseconds, `until` excluded); a `kind` that ends in `.` or `*`
        stands for all kinds that begin so.
        """
        query = select(*_COLUMNS)
        if kind is not None:
            prefix = kind.rstrip("*")
            starts = kind.endswith((".", "*"))
            query = query.where(
                EVENT.c.kind.startswith(prefix, autoescape=True) if starts else EVENT.c.kind == kind
            )
        if tenant is not None:
            query = query.where(EVENT.c.tenant == tenant)
        if since is not None:
            query = query.where(EVENT.c.ts_us >= since)
        if until is not None:
            query = query.where(EVENT.c.ts_us < until)
        at = first_seq
        while page := self._select(query.where(EVENT.c.seq >= at).order_by(EVENT.c.seq).limit(PAGE)):
            yield from page
            at = page[-1].seq + 1

    def personal(self, event_id: str) -> dict[str, bytes | None]:
        """Return the personal values that were recorded with an event; None stands for an erased one.

        Raises:
            LedgerError: when there is no such event.
            LedgerTampered: when a value is not the one that was committed to.
        """
        event = self.get(event_id)
        query = (
            select(PERSONAL, SUBJECT_KEY.c.wrapped)
            .join(SUBJECT_KEY, SUBJECT_KEY.c.key_id == PERSONAL.c.key_id, isouter=True)
            .where(PERSONAL.c.seq == event.seq)
        )
        with self._store.reading() as conn:
            rows = {row.name: row for row in conn.execute(query)}
        values: dict[str, bytes | None] = {}
        for name in event.personal_names:
            row = rows.get(name)
            if row is None:
                raise LedgerTampered(f"the personal data {name!r} of event {event.seq} is missing")
            if row.erasure is not None:
                values[name] = None
                continue
            if not isinstance(row.wrapped, bytes) or not isinstance(row.sealed, bytes):
                raise LedgerTampered(f"the key of the personal data of event {event.seq} is missing")
            key = self._vault.unwrap(row.key_id, row.wrapped)
            value = key.open(event_id, name, row.sealed)
            if key.commit(event_id, name, value) != event.body["personal"][name]:
                raise LedgerTampered(
                    f"the personal data {name!r} of event {event.seq} is not what was recorded"
                )
            values[name] = value
        return values

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

    def export(self, path: str | Path, **chosen: Any) -> Recorded:
        """Write events with their proofs to a JSON Lines file, and record that it was done.

        `chosen` is what `events` takes. `verify_export`, or the standalone verifier, checks the file without
        the ledger. The recorded event holds the digest of the file, the number of events and the tree size.
        """
        head = self.checkpoint()
        tree = self._writer.tree
        chosen_events = (event for event in self.events(**chosen) if event.seq < head.size)
        seal = hashlib.sha256()
        count = -2
        try:
            with Path(path).open("w", encoding="utf-8", newline="\n") as stream:
                lines = export_lines(chosen_events, head=head, tree=tree, verifier_key=self.verifier_key)
                for line in lines:
                    stream.write(line)
                    seal.update(line.encode())
                    count += 1
        except OSError as exc:
            raise LedgerError(f"the export {path} cannot be written: {exc.strerror}") from exc
        body = {"events": count, "tree_size": head.size, "root": head.root, "sha256": seal.hexdigest()}
        event = Event(kind="ledger.exported", request_id=uuid7(), body=body)
        return self.append([event])[0]

    def verify(self) -> LedgerReport:
        """Check every event, hash and checkpoint; never raises for damage, which is what it reports."""
        return verify_store(
            self._store,
            verifier=self._signer.verifier,
            vault=self._vault,
            log=self._log,
            damage=self._damage,
        )

    def stats(self) -> dict[str, Any]:
        """Return numbers: events, by kind, personal values, marks, checkpoints, times, bytes of the file."""
        count = func.count()
        with self._store.reading() as conn:
            kinds = conn.execute(select(EVENT.c.kind, count).group_by(EVENT.c.kind).order_by(EVENT.c.kind))
            by_kind = {kind: number for kind, number in kinds}  # noqa: C416
            first, last = conn.execute(select(func.min(EVENT.c.ts_us), func.max(EVENT.c.ts_us))).one()
            erased = select(count).select_from(PERSONAL).where(PERSONAL.c.erasure.is_not(None))
            numbers: dict[str, Any] = {
                "origin": self.origin,
                "events": sum(by_kind.values()),
                "by_kind": by_kind,
                "first_ts_us": first,
                "last_ts_us": last,
                "marks": conn.execute(select(count).select_from(MARK)).scalar_one(),
                "checkpoints": conn.execute(select(count).select_from(CHECKPOINT)).scalar_one(),
                "subjects": conn.execute(select(count).select_from(SUBJECT_KEY)).scalar_one(),
                "personal": conn.execute(select(count).select_from(PERSONAL)).scalar_one(),
                "erased": conn.execute(erased).scalar_one(),
            }
            numbers["bytes"] = self._store.footprint(conn)
        return numbers

    def _enter(self) -> None:
        """Make or check the tables, the keys, and that the database is not older than its checkpoint log."""
        last = self._log.last() if self._log else None
        try:
            self._store.create()
            self._check_keys()
            self._writer.refresh()
            self._check_rollback(last)
            if last is None and self._log is not None and not self._writer.tree.size:
                # From the start there is a note outside, so that a missing file always means something.
                empty = Checkpoint(origin=self.origin, size=0, root=EMPTY_ROOT.hex())
                self._log.append(self._signer.sign(empty.text), sync=True)
        except LedgerTampered as exc:
            self._damage = exc.message
        except (TypeError, ValueError, KeyError, AttributeError) as exc:
            # A value of another type than any that we write.
            self._damage = f"stored values are malformed ({type(exc).__name__})"

    def _check_keys(self) -> None:
        mine = {"verifier_key": self.verifier_key, "vault_check": self._vault.check}
        with self._store.reading() as conn:
            known = {row.name: row.value for row in conn.execute(select(META))}
        if not known:
            with self._store.writing() as conn:
                known = {row.name: row.value for row in conn.execute(select(META))}
                if not known and self._store.size(conn) == 0:
                    conn.execute(
                        META.insert(), [{"name": name, "value": value} for name, value in mine.items()]
                    )
                    known = mine
        if known.keys() != mine.keys():
            raise LedgerTampered(f"the ledger {self._store.name} does not say to which keys it belongs")
        if known["verifier_key"] != mine["verifier_key"]:
            raise KeyUnavailable(
                f"the ledger {self._store.name} was signed by another key than {self.origin}",
                hint="open it with the name and the key that it was made with",
            )
        if known["vault_check"] != mine["vault_check"]:
            raise KeyUnavailable(
                f"the vault key is not the one of the ledger {self._store.name}",
                hint="open it with the vault key that it was made with",
            )

    def _check_rollback(self, last: str | None) -> None:
        if last is None:
            return
        head = parse_checkpoint(last, self._signer.verifier)
        tree = self._writer.tree
        if head.size > tree.size:
            raise LedgerTampered(
                f"the ledger {self._store.name} was rolled back: it holds {tree.size} events, "
                f"its checkpoint log covers {head.size}"
            )
        if tree.roots(head.size).hex() != head.root:
            raise LedgerTampered(
                f"the ledger {self._store.name} contradicts its checkpoint log: it was rewritten"
            )

    def _refuse_damaged(self) -> None:
        if self._damage:
            raise LedgerTampered(
                f"nothing is recorded any more: {self._damage}",
                hint="run `clearmark ledger verify`; restore the database and its checkpoint log together",
            )

    def _covered(self) -> bool:
        with self._store.reading() as conn:
            size = self._store.size(conn)
            signed = conn.execute(select(func.max(CHECKPOINT.c.size))).scalar()
        return size == (signed or 0)

    def _head_over(self, seq: int, size: int) -> Checkpoint | None:
        point, line = CHECKPOINT.c, COSIGNATURE.c
        earliest = select(point.size, point.note).where(point.size > seq, point.size <= size)
        earliest = earliest.order_by(point.size).limit(1)
        cosigned = earliest.where(point.size.in_(select(line.size)))
        with self._store.reading() as conn:
            row = conn.execute(cosigned).first() or conn.execute(earliest).first()
            if row is None:
                return None
            lines = select(line.line).where(line.size == row.size).order_by(line.line)
            note = with_signatures(row.note, list(conn.execute(lines).scalars()))
        return parse_checkpoint(note, self._signer.verifier)

    def _erase(self, scope: str, name: str, *, request_id: str, tenant: str) -> Erased:
        self._refuse_damaged()
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

    def _select(self, query: Select[Any]) -> list[StoredEvent]:
        with self._store.reading() as conn:
            return [_stored(row) for row in conn.execute(query)]


def _stored(row: Row[Any]) -> StoredEvent:
    envelope, leaf = row.envelope, row.leaf_hash
    types = tuple(map(type, (row.event_id, row.kind, row.request_id, row.tenant, row.ts_us, envelope, leaf)))
    good = types == (str, str, str, str, int, bytes, bytes)
    if good and row.pruned is None:
        tail = envelope_tail(row.event_id, row.kind, row.request_id, row.tenant, row.ts_us)
        good = hash_leaf(envelope) == leaf and envelope.endswith(b"}" + tail)
    if not good:
        raise LedgerTampered(
            f"event {row.seq} is not what was recorded",
            hint="run `clearmark ledger verify` to see how far it goes",
        )
    return StoredEvent(
        seq=row.seq,
        event_id=row.event_id,
        leaf_hash=leaf.hex(),
        ts_us=row.ts_us,
        kind=row.kind,
        request_id=row.request_id,
        tenant=row.tenant,
        envelope=envelope,
        pruned=row.pruned or "",
    )


def _open_store(database: str | Path, *, create: bool, busy_timeout_s: float) -> tuple[Store, Path | None]:
    """Return the store of a path or URL, and where its checkpoint log stands by default."""
    path = Path(database)
    if isinstance(database, str) and "://" in database:
        try:
            url = make_url(database)
        except (ArgumentError, ValueError) as exc:
            raise UsageError("the URL of the ledger cannot be read") from exc
        if url.get_backend_name() in {"postgresql", "postgres"}:
            from clearmark.audits.ledger._postgres import PostgresStore

            return PostgresStore(url, create=create, busy_timeout_s=busy_timeout_s), None
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            raise UsageError(
                "a ledger is kept in a SQLite file or in PostgreSQL",
                hint="give a path, or a URL like postgresql://user@host/database",
            )
        path = Path(url.database)
    try:
        store = SqliteStore(path, create=create, busy_timeout_s=busy_timeout_s)
    except OSError as exc:
        raise LedgerUnavailable(f"the ledger {path} cannot be opened: {exc.strerror}") from exc
    return store, path.with_name(f"{path.stem}.checkpoints.log")
