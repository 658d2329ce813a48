"""Verification of what hangs on events: marks, personal values, and what erasing and pruning took away.

The walk over the events notes what they say; afterwards the other tables are compared with that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._retention import ERASURE, FENCED, PRUNED, seq_digest
from clearmark.audits.ledger._schema import MARK, PERSONAL, SUBJECT_KEY
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._vault import DataKey, Vault
from clearmark.core.errors import LedgerError, LedgerTampered

__all__ = ["Links"]


class Links:
    """What the events of one ledger say about its other tables."""

    def __init__(self, store: Store, vault: Vault | None) -> None:
        self.store = store
        self.vault = vault
        self.marks: dict[int, set[str]] = {}
        self.personal: dict[int, dict[str, str]] = {}
        self.event_ids: dict[int, str] = {}
        self.takings: dict[str, tuple[int, Mapping[str, Any]]] = {}
        self.damaged: set[str] = set()
        self.epochs: dict[str, tuple[int, Mapping[str, Any]]] = {}
        self.pruned: dict[str, list[tuple[int, bytes]]] = {}
        self.gone: set[int] = set()
        self.partial = False

    def note(self, seq: int, event_id: str, kind: str, body: Mapping[str, Any]) -> None:
        """Remember what one event says."""
        if body.get("mark_ids"):
            self.marks[seq] = set(body["mark_ids"])
        if body.get("personal"):
            self.personal[seq] = dict(body["personal"])
            self.event_ids[seq] = event_id
        if kind in {ERASURE, PRUNED}:
            self.takings[event_id] = (seq, body)
        if kind == FENCED:
            self.epochs[event_id] = (seq, body)

    def note_damaged(self, event_id: object, kind: object) -> None:
        """Remember an event whose bytes cannot be read: what it says that was taken away is not known."""
        if kind in {ERASURE, PRUNED} and isinstance(event_id, str):
            self.damaged.add(event_id)

    def note_pruned(self, seq: int, by: str, leaf: bytes) -> None:
        """Remember that the bytes of one event were dropped by the event `by`; `leaf` is all that is left."""
        self.pruned.setdefault(by, []).append((seq, leaf))
        self.gone.add(seq)

    def compare_pruned(self, finding: Finding, elsewhere: Mapping[bytes, int]) -> None:
        """Compare the events without bytes with what the events about pruning say they took.

        The record of a pruning names all its places by one digest, so that it vouches for all of them or for
        none. Where tiles tell (`elsewhere`: hash to place) that events were moved, their old places count.
        """
        said = {event_id: body for event_id, (_, body) in self.takings.items() if "digest" in body}
        for by in self.pruned.keys() | said.keys():
            held, body = self.pruned.get(by, []), said.get(by, {})
            seqs = [seq for seq, _ in held]
            told = (body.get("events"), body.get("digest"))
            if told not in {(len(at), seq_digest(at)) for at in (seqs, _moved_back(held, elsewhere))}:
                finding.bad(
                    f"{len(seqs)} events have no bytes by {by[:40]}, on record for {body.get('events', 0)}",
                    self.first_of(seqs, None if by not in said else self.takings[by][0], by),
                )

    def compare_marks(self, conn: Connection, finding: Finding, walked: Callable[[object], bool]) -> None:
        """Compare the table of marks with the marks that events name."""
        stored: dict[int, set[str]] = {}
        query = select(MARK.c.mark_id, MARK.c.seq)
        try:
            with self.store.apart(conn):
                for mark_id, seq in conn.execute(query):
                    stored.setdefault(seq, set()).add(mark_id)
        except self.store.driver_errors:
            stored.clear()
            for mark_id, seq in self.read_singly(conn, query, MARK.c.seq, finding):
                stored.setdefault(seq, set()).add(mark_id)
        total = sum(map(len, stored.values()))
        for seq in sorted(stored.keys() | self.marks.keys(), key=_sortable):
            same = stored.get(seq, set()) == self.marks.get(seq, set())
            if not same and walked(seq) and seq not in self.gone:
                finding.bad(f"the marks of event {seq} are not those on record", seq)
        finding.done = f"{total} marks lead to the events that name them"

    def compare_personal(self, conn: Connection, finding: Finding, walked: Callable[[object], bool]) -> None:
        """Compare the sealed values with the commitments, and the erased ones with the erasures."""
        keys = self.unwrap_keys(conn, finding)
        columns = (PERSONAL.c.seq, PERSONAL.c.name, PERSONAL.c.key_id, PERSONAL.c.sealed, PERSONAL.c.erasure)
        taken: dict[str, list[int]] = {}
        total = 0
        query = select(*columns).order_by(PERSONAL.c.seq, PERSONAL.c.name)
        for seq, name, key_id, sealed, erasure in self.personal_rows(conn, query, finding):
            if not walked(seq):
                continue
            total += 1
            expected = self.personal.get(seq, {}).pop(name, None)
            if expected is None and seq not in self.gone:
                finding.bad(f"event {seq} has personal data {name!r} that is not on record", seq)
            elif erasure is not None:
                taken.setdefault(erasure, []).append(seq)
            elif expected is None:
                finding.bad(f"the personal data {name!r} of the pruned event {seq} is still there", seq)
            elif self.vault is not None:
                finding_of = self.compare_sealed(seq, name, keys.get(key_id), sealed, expected)
                if finding_of:
                    finding.bad(finding_of, seq)
        for seq, names in self.personal.items():
            for name in names:
                finding.bad(f"the personal data {name!r} of event {seq} is missing", seq)
        self.compare_takings(taken, finding, walked)
        finding.done = (
            f"{total} personal values are sealed as committed, {sum(map(len, taken.values()))} of them erased"
        )

    def personal_rows(
        self, conn: Connection, query: Select[Any], finding: Finding
    ) -> Iterator[Sequence[Any]]:
        """Yield the rows of the table of personal data, past those that cannot be read: they are reported."""
        done = -1, ""
        with closing(self.store.walk(conn, query)) as rows:
            for row in rows:
                if isinstance(row, LedgerError):
                    break
                done = row[0], row[1]
                yield row
            else:
                return
        for row in self.read_singly(conn, query, PERSONAL.c.seq, finding, start=done[0]):
            if (row[0], row[1]) > done:
                yield row

    def read_singly(
        self,
        conn: Connection,
        query: Select[Any],
        seq: ColumnElement[int],
        finding: Finding,
        *,
        start: int = 0,
    ) -> Iterator[Sequence[Any]]:
        """Yield the rows of a query event by event, from `start` on; those that cannot be read are named."""
        places = select(seq).where(seq >= start).distinct().order_by(seq)
        for at in conn.execute(places).scalars().all():
            try:
                with self.store.apart(conn):
                    rows = conn.execute(query.where(seq == at)).all()
            except self.store.driver_errors as exc:
                problem = self.store.explain(exc).message
                finding.bad(f"the {finding.name} table cannot be read at event {at}: {problem}", at)
            else:
                yield from rows

    def compare_takings(
        self, taken: Mapping[str, Sequence[int]], finding: Finding, walked: Callable[[object], bool]
    ) -> None:
        """Compare how many values are gone with what erasures and pruning are on record for.

        Which of them one that took too many was not to take cannot be told: the first is named.
        """
        for event_id in taken.keys() | self.takings.keys():
            seq, body = self.takings.get(event_id, (None, {}))
            gone, said = taken.get(event_id, ()), body.get("values", 0)
            if len(gone) != said and (seq is None or walked(seq)):
                finding.bad(
                    f"{event_id} is on record for {said} erased values, found are {len(gone)}",
                    self.first_of(gone if len(gone) > said else (), seq, event_id),
                )

    def first_of(self, taken: Sequence[int], record: int | None, by: str) -> int | None:
        """Return the event at fault when `taken` and the event that is to say so, `record`, do not agree.

        Where the end of the log is missing, what is not on record may have stood there: it blames nobody.
        Where the bytes of that event are damaged, it is already named itself.
        """
        if taken and not (record is None and (self.partial or by in self.damaged)):
            return taken[0]
        return record

    def unwrap_keys(self, conn: Connection, finding: Finding) -> dict[str, DataKey]:
        """Return all data keys by id."""
        keys: dict[str, DataKey] = {}
        if self.vault is None:
            return keys
        for key_id, wrapped in conn.execute(select(SUBJECT_KEY.c.key_id, SUBJECT_KEY.c.wrapped)):
            try:
                keys[key_id] = self.vault.unwrap(key_id, wrapped)
            except LedgerTampered as exc:
                finding.bad(exc.message)
        return keys

    def compare_sealed(self, seq: int, name: str, key: DataKey | None, sealed: bytes, expected: str) -> str:
        """Return what is wrong with one sealed value; empty when nothing is."""
        if key is None:
            return f"the key of the personal data {name!r} of event {seq} is gone without an erasure"
        event_id = self.event_ids[seq]
        try:
            same = key.commit(event_id, name, key.open(event_id, name, sealed)) == expected
        except LedgerTampered as exc:
            return exc.message
        return "" if same else f"the personal data {name!r} of event {seq} is not what was committed"


def _moved_back(held: Sequence[tuple[int, bytes]], elsewhere: Mapping[bytes, int]) -> list[int]:
    """Return the places of events before some of them were moved, as far as tiles tell.

    Only the place of an event that a tile contradicts, or one before it, counts: then that tile names an
    event no later than this one, and nothing that was pruned against the record lies before what is named.
    """
    wrong = set(elsewhere.values())
    old = ((seq, elsewhere.get(leaf, seq)) for seq, leaf in held)
    return sorted(place if place < seq or seq in wrong else seq for seq, place in old)


def _sortable(value: object) -> tuple[bool, Any]:
    return (isinstance(value, int), value if isinstance(value, int) else str(value))
