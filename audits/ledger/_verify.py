"""Verification of a whole ledger: every event, every tile, every checkpoint, inside and outside the database.

Nothing that is stored is believed. Leaf hashes are made again from the stored bytes, the tree from the leaf
hashes, and the roots are compared with every signed checkpoint. Damage is reported, never raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from clearmark.audits.ledger._canonical import envelope_tail
from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._merkle import Frontier, hash_leaf, root_of
from clearmark.audits.ledger._notes import Checkpoint, NoteVerifier, parse_checkpoint
from clearmark.audits.ledger._records import Check, LedgerReport
from clearmark.audits.ledger._schema import CHECKPOINT, EVENT, MARK, PERSONAL, SUBJECT_KEY, TILE
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.audits.ledger._vault import DataKey, Vault
from clearmark.core.errors import LedgerError, LedgerTampered

__all__ = ["verify_store"]

MAX_PROBLEMS = 20
"""Most problems that a check names; it goes on counting."""

_COLUMNS = ("event_id", "ts_us", "tenant", "kind", "request_id")
_TYPES = (int, str, int, str, str, str, bytes, bytes)


class _Finding:
    """Collects what one check finds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = ""
        self.count = 0
        self.problems: list[str] = []
        self.first_bad: int | None = None

    def bad(self, problem: str, seq: int | None = None) -> None:
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        if seq is not None:
            self.blame(seq)

    def blame(self, seq: int) -> None:
        self.first_bad = seq if self.first_bad is None else min(seq, self.first_bad)

    def check(self) -> Check:
        more = f"; and {self.count - MAX_PROBLEMS} more" if self.count > MAX_PROBLEMS else ""
        detail = "; ".join(self.problems) + more if self.problems else self.done
        return Check(name=self.name, ok=not self.count, detail=detail, first_bad=self.first_bad)


class _Verification:
    def __init__(
        self, store: Store, verifier: NoteVerifier, vault: Vault | None, log: CheckpointLog | None
    ) -> None:
        self.store = store
        self.verifier = verifier
        self.vault = vault
        self.log = log
        names = ("database", "events", "tree", "checkpoints", "checkpoint-log", "marks", "personal")
        self.findings = {name: _Finding(name) for name in names}
        self.size = 0
        self.edge = Frontier()
        self.tiles_above = Frontier()
        self.tile_roots: list[bytes] = []
        self.stopped = False
        self.heads: list[tuple[Checkpoint, str]] = []
        self.agreed: dict[str, int] = {}
        self.broken: dict[str, tuple[int, int]] = {}
        self.marks: dict[int, tuple[str, ...]] = {}
        self.personal: dict[int, dict[str, str]] = {}
        self.event_ids: dict[int, str] = {}
        self.erasures: dict[str, tuple[int, int]] = {}

    def run(self, damage: str) -> LedgerReport:
        if damage:
            self.findings["database"].bad(damage)
        # The log is read first: whatever stands in it was committed before, so the database must know it.
        with self.guarded("checkpoint-log"):
            self.read_log()
        with self.guarded("database"), self.store.reading() as conn:
            with self.guarded("checkpoints"):
                self.read_checkpoints(conn)
            self.heads.sort(key=lambda head: head[0].size)
            with self.guarded("events"):
                self.walk_events(conn)
            with self.guarded("tree"):
                self.compare_tiles(conn)
            self.blame()
            with self.guarded("marks"):
                self.compare_marks(conn)
            with self.guarded("personal"):
                self.compare_personal(conn)
            with self.guarded("database"):
                for problem in self.store.inspect(conn):
                    self.findings["database"].bad(problem)
        self.findings["database"].done = "pages, indexes and schema are as they should be"
        return LedgerReport(
            events=self.size,
            root=self.root().hex(),
            checks=tuple(finding.check() for finding in self.findings.values()),
        )

    def root(self) -> bytes:
        """Return the root over the events so far."""
        peaks = self.tiles_above.peaks + self.edge.peaks
        return Frontier(self.size, peaks).root()

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Turn every error of a damaged database into a problem of the check `name`."""
        try:
            yield
        except LedgerError as exc:
            self.findings[name].bad(exc.message)
        except SQLAlchemyError as exc:
            self.findings[name].bad(self.store.explain(exc).message)
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, RecursionError) as exc:
            # Values of another type or shape than any that we write.
            self.findings[name].bad(f"stored values are malformed ({type(exc).__name__})")

    def read_log(self) -> None:
        finding = self.findings["checkpoint-log"]
        if self.log is None:
            finding.done = "no checkpoint log is kept outside the database"
            return
        count = 0
        for count, note in enumerate(self.log.notes(), 1):
            self.take_head(note, f"line {count} of {self.log.path.name}", "checkpoint-log")
        finding.done = f"{count} checkpoints outside the database agree with it"

    def read_checkpoints(self, conn: Connection) -> None:
        finding = self.findings["checkpoints"]
        count = 0
        for row in self.store.walk(
            conn, select(CHECKPOINT.c.size, CHECKPOINT.c.note).order_by(CHECKPOINT.c.size)
        ):
            if isinstance(row, LedgerError):
                finding.bad(row.message)
                break
            size, note = row
            head = self.take_head(note, f"the checkpoint at {size}", "checkpoints")
            if head is not None and head.size != size:
                finding.bad(f"the checkpoint at {size} is one of {head.size} events")
            count += 1
        finding.done = f"{count} signed checkpoints agree with the events"
        if count and self.log is not None and not any(where == "checkpoint-log" for _, where in self.heads):
            self.findings["checkpoint-log"].bad(f"{self.log.path.name} is missing or empty")

    def take_head(self, note: object, what: str, where: str) -> Checkpoint | None:
        if not isinstance(note, str):
            self.findings[where].bad(f"{what} cannot be read")
            return None
        try:
            head = parse_checkpoint(note, self.verifier)
        except LedgerTampered as exc:
            self.findings[where].bad(f"{what}: {exc.message}")
            return None
        self.heads.append((head, where))
        return head

    def walk_events(self, conn: Connection) -> None:
        finding = self.findings["events"]
        columns = (EVENT.c.seq, *(EVENT.c[name] for name in _COLUMNS), EVENT.c.envelope, EVENT.c.leaf_hash)
        leaves: list[bytes] = []
        edge = self.edge
        heads = iter(self.heads)
        head = next(heads, None)
        while head is not None and head[0].size == 0:
            self.compare_head(head)
            head = next(heads, None)
        for seq, row in enumerate(self.store.walk(conn, select(*columns).order_by(EVENT.c.seq))):
            if isinstance(row, LedgerError):
                finding.bad(f"event {seq} cannot be read: {row.message}", seq)
                self.stopped = True
                break
            if row[0] != seq or not isinstance(row[0], int):
                finding.bad(f"event {seq} is missing", seq)
                self.stopped = True
                break
            problem = self.compare_event(seq, row)
            if problem:
                finding.bad(f"event {seq}: {problem}", seq)
            leaf = hash_leaf(row[6]) if isinstance(row[6], bytes) else bytes(32)
            edge.append(leaf)
            leaves.append(leaf)
            self.size = seq + 1
            if len(leaves) == TILE_WIDTH:
                self.compare_tile(conn, seq // TILE_WIDTH, leaves)
                self.tile_roots.append(edge.root())
                self.tiles_above.append(edge.root())
                self.edge = edge = Frontier()
                leaves = []
            while head is not None and head[0].size == self.size:
                self.compare_head(head)
                head = next(heads, None)
        finding.done = f"{self.size} events hash to what is on record"
        while head is not None and not self.stopped:
            size, where = head[0].size, head[1]
            self.findings[where].bad(
                f"a signed checkpoint covers {size} events; the database holds {self.size}: "
                "it was cut or rolled back",
                self.size,
            )
            break

    def compare_event(self, seq: int, row: Sequence[Any]) -> str:
        if tuple(map(type, row)) != _TYPES:
            return "a column is of another type than the one that was recorded"
        _, event_id, ts_us, tenant, kind, request_id, envelope, leaf = row
        if hash_leaf(envelope) != leaf:
            return "its bytes do not give its leaf hash"
        # Canonical JSON sorts its keys, so all columns stand behind the body.
        tail = envelope_tail(event_id, kind, request_id, tenant, ts_us)
        if not envelope.startswith(b'{"body":{') or not envelope.endswith(b"}" + tail):
            return "its columns are not those of the recorded event"
        if b'"mark_ids":[' in envelope or b'"personal":{' in envelope or kind == "erasure":
            self.note_extras(seq, event_id, kind, json.loads(envelope)["body"])
        return ""

    def note_extras(self, seq: int, event_id: str, kind: str, body: dict[str, Any]) -> None:
        if body.get("mark_ids"):
            self.marks[seq] = tuple(body["mark_ids"])
        if body.get("personal"):
            self.personal[seq] = body["personal"]
            self.event_ids[seq] = event_id
        if kind == "erasure":
            self.erasures[event_id] = (seq, body.get("values", 0))

    def compare_tile(self, conn: Connection, number: int, leaves: Sequence[bytes]) -> None:
        finding = self.findings["tree"]
        first = number * TILE_WIDTH
        query = select(TILE.c.hashes, TILE.c.root).where(TILE.c.level == 0, TILE.c.number == number)
        row = conn.execute(query).first()
        if row is None:
            finding.bad(f"tile {number} of level 0 is missing", first)
            return
        for at, leaf in enumerate(leaves):
            if row.hashes[at * 32 : at * 32 + 32] != leaf:
                finding.bad(f"tile {number} of level 0 disagrees with event {first + at}", first + at)
                return
        if len(row.hashes) != TILE_WIDTH * 32:
            finding.bad(f"tile {number} of level 0 is too long", first)

    def compare_tiles(self, conn: Connection) -> None:
        """Compare the root of every tile, every tile above level 0, and that there are no others."""
        finding = self.findings["tree"]
        rows = conn.execute(select(TILE.c.level, TILE.c.number, TILE.c.hashes, TILE.c.root)).all()
        expected: dict[tuple[int, int], tuple[bytes | None, bytes]] = {
            (0, number): (None, root) for number, root in enumerate(self.tile_roots)
        }
        level, below = 1, self.tile_roots
        while len(below) >= TILE_WIDTH:
            groups = [below[at : at + TILE_WIDTH] for at in range(0, len(below), TILE_WIDTH)]
            whole = [group for group in groups if len(group) == TILE_WIDTH]
            below = [root_of(group) for group in whole]
            for number, (group, root) in enumerate(zip(whole, below, strict=True)):
                expected[level, number] = (b"".join(group), root)
            level += 1
        for row in rows:
            found = expected.pop((row.level, row.number), None)
            if found is None:
                if not self.stopped:
                    finding.bad(f"tile {row.number} of level {row.level} is above no events", self.size)
            elif row.root != found[1] or found[0] not in {None, row.hashes}:
                span = TILE_WIDTH ** (row.level + 1)
                first = self.exactly(row.number * span, (row.number + 1) * span)
                finding.bad(f"tile {row.number} of level {row.level} disagrees with its events", first)
        for level, number in expected:
            finding.bad(f"tile {number} of level {level} is missing", number * TILE_WIDTH ** (level + 1))
        finding.done = f"{len(rows)} tiles agree with the events"

    def compare_head(self, head: tuple[Checkpoint, str]) -> None:
        point, where = head
        good = self.agreed.get(where, 0)
        if point.root == self.root().hex():
            self.agreed[where] = point.size
        elif where in self.broken:
            self.findings[where].bad(f"the signed checkpoint at {point.size} has another root")
        else:
            self.findings[where].bad(
                f"the signed checkpoint at {point.size} has another root: "
                f"events from {good} on were rewritten"
            )
            self.broken[where] = (good, point.size)

    def blame(self) -> None:
        """Name the first bad event of checkpoints that do not fit."""
        for where, (low, high) in self.broken.items():
            self.findings[where].blame(self.exactly(low, high))

    def exactly(self, low: int, high: int) -> int:
        """Return the first bad event from `low` to `high`: the exact one where events or tiles tell it."""
        exact = (self.findings[name].first_bad for name in ("events", "tree"))
        return min((seq for seq in exact if seq is not None and low <= seq < high), default=low)

    def compare_marks(self, conn: Connection) -> None:
        finding = self.findings["marks"]
        total = 0
        stored: dict[int, set[str]] = {}
        for mark_id, seq in conn.execute(select(MARK.c.mark_id, MARK.c.seq)):
            stored.setdefault(seq, set()).add(mark_id)
            total += 1
        for seq in sorted(stored.keys() | self.marks.keys(), key=_sortable):
            if stored.get(seq, set()) != set(self.marks.get(seq, ())) and self.was_walked(seq):
                finding.bad(f"the marks of event {seq} are not those on record", _seq(seq))
        finding.done = f"{total} marks lead to the events that name them"

    def compare_personal(self, conn: Connection) -> None:
        finding = self.findings["personal"]
        keys = self.unwrap_keys(conn)
        columns = (PERSONAL.c.seq, PERSONAL.c.name, PERSONAL.c.key_id, PERSONAL.c.sealed, PERSONAL.c.erasure)
        erased: dict[str, int] = {}
        total = 0
        for row in self.store.walk(conn, select(*columns).order_by(PERSONAL.c.seq, PERSONAL.c.name)):
            if isinstance(row, LedgerError):
                finding.bad(row.message)
                return
            seq, name, key_id, sealed, erasure = row
            if not self.was_walked(seq):
                continue
            expected = self.personal.get(seq, {}).pop(name, None)
            total += 1
            if expected is None:
                finding.bad(f"event {seq} has personal data {name!r} that is not on record", _seq(seq))
            elif erasure is not None:
                erased[erasure] = erased.get(erasure, 0) + 1
            elif self.vault is not None:
                self.compare_sealed(seq, name, keys.get(key_id), sealed, expected)
        for seq, names in self.personal.items():
            for name in names:
                finding.bad(f"the personal data {name!r} of event {seq} is missing", seq)
        for erasure in erased.keys() | self.erasures.keys():
            seq, count = self.erasures.get(erasure, (None, 0))
            if erased.get(erasure, 0) != count and not self.stopped:
                finding.bad(
                    f"erasure {erasure} is on record for {count} values, found {erased.get(erasure, 0)}", seq
                )
        finding.done = (
            f"{total} personal values are sealed as committed, {sum(erased.values())} of them erased"
        )

    def unwrap_keys(self, conn: Connection) -> dict[str, DataKey]:
        keys: dict[str, DataKey] = {}
        if self.vault is None:
            return keys
        for key_id, wrapped in conn.execute(select(SUBJECT_KEY.c.key_id, SUBJECT_KEY.c.wrapped)):
            try:
                keys[key_id] = self.vault.unwrap(key_id, wrapped)
            except LedgerTampered as exc:
                self.findings["personal"].bad(exc.message)
        return keys

    def compare_sealed(self, seq: int, name: str, key: DataKey | None, sealed: bytes, expected: str) -> None:
        event_id = self.event_ids[seq]
        if key is None:
            problem = f"the key of the personal data {name!r} of event {seq} is gone without an erasure"
        else:
            try:
                same = key.commit(event_id, name, key.open(event_id, name, sealed)) == expected
            except LedgerTampered as exc:
                problem = exc.message
            else:
                problem = (
                    "" if same else f"the personal data {name!r} of event {seq} is not what was committed"
                )
        if problem:
            self.findings["personal"].bad(problem, seq)

    def was_walked(self, seq: object) -> bool:
        """Whether the walk over the events came this far; what lies behind a break cannot be judged."""
        return not (self.stopped and isinstance(seq, int) and seq >= self.size)


def verify_store(
    store: Store,
    *,
    verifier: NoteVerifier,
    vault: Vault | None = None,
    log: CheckpointLog | None = None,
    damage: str = "",
) -> LedgerReport:
    """Verify everything in `store`; with `vault` also that the personal data is what was committed to.

    `damage` is what was already found wrong when the ledger was opened.
    """
    return _Verification(store, verifier, vault, log).run(damage)


def _seq(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _sortable(value: object) -> tuple[bool, Any]:
    return (isinstance(value, int), value if isinstance(value, int) else str(value))
