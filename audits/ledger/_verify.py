"""Verification of a whole ledger: every event, every tile, every checkpoint, inside and outside the database.

Nothing that is stored is believed. Leaf hashes are made again from the stored bytes, the tree from the leaf
hashes, and the roots are compared with every signed checkpoint. Damage is reported, never raised.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, select

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import WitnessKey
from clearmark.audits.ledger._fencing import compare_epochs
from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._merkle import HASH_SIZE, Frontier
from clearmark.audits.ledger._notes import Checkpoint, NoteVerifier
from clearmark.audits.ledger._records import LedgerReport
from clearmark.audits.ledger._retention import RESERVED
from clearmark.audits.ledger._schema import EVENT
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._timestamping import TimestampLog
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.audits.ledger._vault import Vault
from clearmark.audits.ledger._verify_bulk import BODY_START, check_group
from clearmark.audits.ledger._verify_heads import Heads, leaf_of
from clearmark.audits.ledger._verify_links import Links
from clearmark.audits.ledger._verify_tiles import Tiles
from clearmark.core.errors import LedgerError
from clearmark.core.events import envelope_tail

__all__ = ["verify_store"]

_TYPES = (int, str, int, str, str, str, bytes, bytes, type(None))
_PRUNED_TYPES = (*_TYPES[:-1], str)


class _Verification:
    def __init__(
        self,
        store: Store,
        verifier: NoteVerifier,
        vault: Vault | None,
        log: CheckpointLog | None,
        *,
        second: WitnessKey | None,
        stamps: TimestampLog | None,
    ) -> None:
        self.store = store
        self.log = log
        self.second = second
        self.links = Links(store, vault)
        names = ("database", "events", "tree", "checkpoints", "checkpoint-log", "marks", "personal")
        self.findings = {name: Finding(name) for name in names}
        if second is not None:
            self.findings["second-signature"] = Finding("second-signature")
        self.stamps = stamps if stamps is not None and stamps.path.exists() else None
        if self.stamps is not None:
            self.findings["timestamps"] = Finding("timestamps")
        self.size = 0
        self.edge = Frontier()
        self.tiles_above = Frontier()
        self.stopped = False
        self.heads = Heads(store, verifier, self.findings)

    def run(self, damage: str) -> LedgerReport:
        if damage:
            self.findings["database"].bad(damage)
        # The log is read first: whatever stands in it was committed before, so the database must know it.
        with self.guarded("checkpoint-log"):
            self.heads.read_log(self.log)
        if self.stamps is not None:
            with self.guarded("timestamps"):
                self.heads.read_stamps(self.stamps)
        with self.guarded("database"), self.store.reading() as conn, self.store.thorough(conn):
            with self.guarded("checkpoints"), self.store.apart(conn):
                self.heads.read_stored(conn)
            if self.second is not None:
                self.heads.compare_second(self.second)
            tiles = Tiles(self.store, conn, self.findings["tree"])
            with self.guarded("events"), self.store.apart(conn):
                self.walk_events(conn, tiles)
            with self.guarded("tree"), self.store.apart(conn):
                tiles.compare_upper(conn, None if self.stopped else self.size, self.exactly)
            self.heads.blame(conn, self.size, stopped=self.stopped)
            if not self.stopped:
                self.links.compare_pruned(self.findings["events"], tiles.elsewhere)
            outside = any(where == "checkpoint-log" for _, where in self.heads.heads)
            if self.log is not None and self.size and not outside:
                self.findings["checkpoint-log"].bad(f"{self.log.path.name} is missing or empty")
            with self.guarded("marks"), self.store.apart(conn):
                self.links.compare_marks(conn, self.findings["marks"], self.was_walked)
            with self.guarded("personal"), self.store.apart(conn):
                self.links.compare_personal(conn, self.findings["personal"], self.was_walked)
            with self.guarded("database"), self.store.apart(conn):
                if not self.links.partial:
                    compare_epochs(conn, self.links.epochs, self.findings["database"], self.was_walked)
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
        except self.store.driver_errors as exc:
            self.findings[name].bad(self.store.explain(exc).message)
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, RecursionError) as exc:
            # Values of another type or shape than any that we write.
            self.findings[name].bad(f"stored values are malformed ({type(exc).__name__})")

    def walk_events(self, conn: Connection, tiles: Tiles) -> None:
        finding = self.findings["events"]
        heads = deque(sorted(self.heads.heads, key=lambda head: head[0].size))
        while heads and heads[0][0].size == 0:
            self.heads.compare(heads.popleft(), self.root())
        query = select(EVENT).order_by(EVENT.c.seq)
        with closing(self.store.walk_groups(conn, query, TILE_WIDTH)) as groups:
            for group in groups:
                good = check_group(group, self.size)
                if good is None:
                    self.walk_rows(group, heads, tiles)
                else:
                    for at in good.noted:
                        row: Any = group[at]
                        self.links.note(row[0], row[1], row[4], json.loads(row[6])["body"])
                    self.take_leaves(good.leaves, heads, tiles)
                if self.stopped:
                    break
        if not self.stopped:
            self.links.partial = self.heads.compare_lost(heads, self.size)
            tiles.compare_rest(self.size)
        finding.done = f"{self.size} events hash to what is on record"
        if self.links.gone:
            finding.done += f", {len(self.links.gone)} of them pruned"

    def walk_rows(self, group: Sequence[Any], heads: deque[tuple[Checkpoint, str]], tiles: Tiles) -> None:
        """Check events one by one: each problem is named, and where they break off the walk stops."""
        finding = self.findings["events"]
        leaves: list[bytes] = []
        for seq, row in enumerate(group, self.size):
            problem, made = "is missing", None
            if isinstance(row, LedgerError):
                problem = f"cannot be read: {row.message}"
            elif type(row[0]) is int and row[0] == seq:
                made = leaf_of(row)
                problem = self.compare_event(seq, row, made)
                leaves.append(made)
            if problem:
                finding.bad(f"event {seq} {problem}", seq)
            if made is None:
                self.stopped = self.links.partial = True
                break
        self.take_leaves(leaves, heads, tiles)

    def take_leaves(
        self, leaves: Sequence[bytes], heads: deque[tuple[Checkpoint, str]], tiles: Tiles
    ) -> None:
        """Add the leaves of one tile, or of its beginning, to the tree; compare the heads and the tile."""
        start = self.size
        done = 0
        while heads and heads[0][0].size <= start + len(leaves):
            upto = heads[0][0].size - start
            self.edge.extend(leaves[done:upto])
            done, self.size = upto, start + upto
            while heads and heads[0][0].size == self.size:
                self.heads.compare(heads.popleft(), self.root())
        self.edge.extend(leaves[done:])
        self.size = start + len(leaves)
        if len(leaves) == TILE_WIDTH:
            root = self.edge.root()
            tiles.compare(leaves, root)
            self.tiles_above.append(root)
            self.edge = Frontier()

    def compare_event(self, seq: int, row: Sequence[Any], made: bytes) -> str:
        types = tuple(map(type, row))
        if types == _PRUNED_TYPES and not row[6] and len(row[7]) == HASH_SIZE:
            # Its hash is all that is left; whether it was to be pruned shows when all events are known.
            self.links.note_pruned(seq, row[8], made)
            self.links.note_damaged(row[1], row[4])
            return "is of a kind that is never pruned, and has no bytes" if row[4] in RESERVED else ""
        if types != _TYPES:
            self.links.note_damaged(row[1], row[4])
            return "has a column of another type than the one that was recorded"
        _, event_id, ts_us, tenant, kind, request_id, envelope, leaf, _ = row
        if made != leaf:
            self.links.note_damaged(event_id, kind)
            return "has bytes that do not give its leaf hash"
        # Canonical JSON sorts its keys, so all columns stand behind the body.
        tail = envelope_tail(event_id, kind, request_id, tenant, ts_us)
        if not envelope.startswith(BODY_START) or not envelope.endswith(b"}" + tail):
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                known = json.loads(envelope)  # what was recorded is still known
                self.links.note(seq, known["event_id"], known["kind"], known["body"])
            return "has columns that are not those of the recorded event"
        if b'"mark_ids":[' in envelope or b'"personal":{' in envelope or kind in RESERVED:
            self.links.note(seq, event_id, kind, json.loads(envelope)["body"])
        return ""

    def exactly(self, low: int, high: int) -> int:
        """Return the first bad event from `low` to `high`: the exact one where events or tiles tell it."""
        exact = (self.findings[name].first_bad for name in ("events", "tree"))
        return min((seq for seq in exact if seq is not None and low <= seq < high), default=low)

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
    second: WitnessKey | None = None,
    stamps: TimestampLog | None = None,
) -> LedgerReport:
    """Verify everything in `store`; with `vault` also that the personal data is what was committed to.

    `damage` is what was already found wrong when the ledger was opened.
    """
    return _Verification(store, verifier, vault, log, second=second, stamps=stamps).run(damage)
