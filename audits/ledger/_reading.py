"""Reading a ledger: events by id, request, mark and time, personal values, numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row, Select, func, select

from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.audits.ledger._notes import NoteSigner
from clearmark.audits.ledger._records import StoredEvent
from clearmark.audits.ledger._schema import CHECKPOINT, EVENT, MARK, PERSONAL, SUBJECT_KEY
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._vault import Vault
from clearmark.core.errors import LedgerError, LedgerTampered
from clearmark.core.events import envelope_tail

__all__ = ["Reading"]

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


class Reading:
    """The half of a ledger that changes nothing. What it returns was compared with its hash."""

    _store: Store
    _signer: NoteSigner
    _vault: Vault

    @property
    def size(self) -> int:
        """Number of events on record."""
        with self._store.reading() as conn:
            return self._store.size(conn)

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

    def stats(self) -> dict[str, Any]:
        """Return numbers: events, by kind, personal values, marks, checkpoints, times, bytes of the file."""
        count = func.count()
        with self._store.reading() as conn:
            kinds = conn.execute(select(EVENT.c.kind, count).group_by(EVENT.c.kind).order_by(EVENT.c.kind))
            by_kind = {kind: number for kind, number in kinds}  # noqa: C416
            first, last = conn.execute(select(func.min(EVENT.c.ts_us), func.max(EVENT.c.ts_us))).one()
            erased = select(count).select_from(PERSONAL).where(PERSONAL.c.erasure.is_not(None))
            numbers: dict[str, Any] = {
                "origin": self._signer.name,
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
