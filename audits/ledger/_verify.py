"""Verification of a whole ledger: every event, every tile, every checkpoint, inside and outside the database.

Nothing that is stored is believed. Leaf hashes are made again from the stored bytes, the tree from the leaf
hashes, and the roots are compared with every signed checkpoint. Damage is reported, never raised.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, select

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import WitnessKey, cosigned_by
from clearmark.audits.ledger._fencing import compare_epochs
from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._merkle import HASH_SIZE, Frontier, hash_leaf, root_of
from clearmark.audits.ledger._notes import Checkpoint, NoteVerifier, parse_checkpoint, split_note
from clearmark.audits.ledger._records import LedgerReport
from clearmark.audits.ledger._retention import RESERVED
from clearmark.audits.ledger._schema import CHECKPOINT, EVENT, TILE
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._timestamping import TimestampLog, read_token
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.audits.ledger._vault import Vault
from clearmark.audits.ledger._verify_bulk import BODY_START, check_group
from clearmark.audits.ledger._verify_links import Links
from clearmark.audits.ledger._verify_tiles import StoredTiles
from clearmark.core.errors import LedgerError, LedgerTampered
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
        self.verifier = verifier
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
        self.tile_roots: list[bytes] = []
        self.stopped = False
        self.heads: list[tuple[Checkpoint, str]] = []
        self.parsed: dict[str, Checkpoint] = {}
        self.agreed: dict[str, int] = {}
        self.broken: dict[str, tuple[int, int]] = {}

    def run(self, damage: str) -> LedgerReport:
        if damage:
            self.findings["database"].bad(damage)
        # The log is read first: whatever stands in it was committed before, so the database must know it.
        with self.guarded("checkpoint-log"):
            self.read_log()
        if self.stamps is not None:
            with self.guarded("timestamps"):
                self.read_stamps(self.stamps)
        with self.guarded("database"), self.store.reading() as conn:
            with self.guarded("checkpoints"), self.store.apart(conn):
                self.read_checkpoints(conn)
            self.heads.sort(key=lambda head: head[0].size)
            if self.second is not None:
                self.compare_second(self.second)
            with self.guarded("events"), self.store.apart(conn):
                self.walk_events(conn)
            with self.guarded("tree"), self.store.apart(conn):
                self.compare_tiles(conn)
            self.blame()
            outside = any(where == "checkpoint-log" for _, where in self.heads)
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

    def read_log(self) -> None:
        finding = self.findings["checkpoint-log"]
        if self.log is None:
            finding.done = "no checkpoint log is kept outside the database"
            return
        count = 0
        for count, note in enumerate(self.log.notes(), 1):
            self.take_head(note, f"line {count} of {self.log.path.name}", "checkpoint-log")
        finding.done = f"{count} checkpoints outside the database agree with it"

    def read_stamps(self, stamps: TimestampLog) -> None:
        """Check every token, and that the database knows what was stamped."""
        finding = self.findings["timestamps"]
        latest = ""
        for count, row in enumerate(stamps.rows(), 1):
            what = f"line {count} of {stamps.path.name}"
            head = self.take_head(row and row[0], what, "timestamps")
            if row is not None and head is not None:
                try:
                    latest = f", the last at {head.size} on {read_token(row[1], row[0]).time.isoformat()}"
                except LedgerTampered as exc:
                    finding.bad(f"{what}: {exc.message}")
            finding.done = f"{count} stamped checkpoints agree with the events{latest}"

    def read_checkpoints(self, conn: Connection) -> None:
        finding = self.findings["checkpoints"]
        count = 0
        query = select(CHECKPOINT.c.size, CHECKPOINT.c.note).order_by(CHECKPOINT.c.size)
        with closing(self.store.walk(conn, query)) as rows:
            for row in rows:
                if isinstance(row, LedgerError):
                    finding.bad(row.message)
                    break
                size, note = row
                head = self.take_head(note, f"the checkpoint at {size}", "checkpoints")
                if head is not None and head.size != size:
                    finding.bad(f"the checkpoint at {size} is one of {head.size} events")
                count += 1
        finding.done = f"{count} signed checkpoints agree with the events"

    def take_head(self, note: object, what: str, where: str) -> Checkpoint | None:
        if not isinstance(note, str):
            self.findings[where].bad(f"{what} cannot be read")
            return None
        # The same note stands inside and outside, and one signature costs as much as ten events.
        head = self.parsed.get(note)
        if head is None:
            try:
                head = self.parsed[note] = parse_checkpoint(note, self.verifier)
            except LedgerTampered as exc:
                self.findings[where].bad(f"{what}: {exc.message}")
                return None
        self.heads.append((head, where))
        return head

    def compare_second(self, key: WitnessKey) -> None:
        """Check that from the first checkpoint with the second signature on all have it, and the last one."""
        finding = self.findings["second-signature"]
        begun, good = False, 0
        for note, head in dict.fromkeys((point.note, point) for point, _ in self.heads):
            lines = [raw for name, raw in split_note(note)[1] if name == key.name and raw[:4] == key.key_id]
            if lines and not cosigned_by(note, [key]):
                finding.bad(f"the second signature of the checkpoint at {head.size} is wrong")
            elif not lines and begun:
                finding.bad(f"the checkpoint at {head.size} lacks the second signature")
            begun = begun or bool(lines)
            good += bool(lines)
        if not begun and any(point.size for point, _ in self.heads):
            finding.bad("no checkpoint has the second signature")
        finding.done = f"{good} checkpoints are signed a second time"

    def walk_events(self, conn: Connection) -> None:
        finding = self.findings["events"]
        heads = deque(self.heads)
        while heads and heads[0][0].size == 0:
            self.compare_head(heads.popleft())
        tiles = StoredTiles(self.store, conn)
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
            self.compare_lost(heads)
            self.links.compare_pruned(finding)
            for number in tiles.rest():
                self.findings["tree"].bad(f"tile {number} of level 0 is above no events", self.size)
        finding.done = f"{self.size} events hash to what is on record"
        if self.links.gone:
            finding.done += f", {len(self.links.gone)} of them pruned"

    def walk_rows(
        self, group: Sequence[Any], heads: deque[tuple[Checkpoint, str]], tiles: StoredTiles
    ) -> None:
        """Check events one by one: each problem is named, and where they break off the walk stops."""
        finding = self.findings["events"]
        leaves: list[bytes] = []
        for seq, row in enumerate(group, self.size):
            problem, made = "is missing", None
            if isinstance(row, LedgerError):
                problem = f"cannot be read: {row.message}"
            elif type(row[0]) is int and row[0] == seq:
                made = _leaf(row)
                problem = self.compare_event(seq, row, made)
                leaves.append(made)
            if problem:
                finding.bad(f"event {seq} {problem}", seq)
            if made is None:
                self.stopped = self.links.partial = True
                break
        self.take_leaves(leaves, heads, tiles)

    def compare_lost(self, heads: Iterable[tuple[Checkpoint, str]]) -> None:
        """Report checkpoints over more events than there are: one for each place where they stand."""
        # Nobody can tell whether the end was cut off, or events before it were taken out or changed: what no
        # checkpoint vouches for may all be wrong.
        sound = max(self.agreed.values(), default=0)
        for where, size in {where: head.size for head, where in heads}.items():
            self.links.partial = True
            self.findings[where].bad(
                f"a signed checkpoint covers {size} events; the database holds {self.size}: it was cut or "
                f"rolled back, and no checkpoint vouches for events from {sound} on",
                sound,
            )

    def take_leaves(
        self, leaves: Sequence[bytes], heads: deque[tuple[Checkpoint, str]], tiles: StoredTiles
    ) -> None:
        """Add the leaves of one tile, or of its beginning, to the tree; compare the heads and the tile."""
        start = self.size
        done = 0
        while heads and heads[0][0].size <= start + len(leaves):
            upto = heads[0][0].size - start
            self.edge.extend(leaves[done:upto])
            done, self.size = upto, start + upto
            while heads and heads[0][0].size == self.size:
                self.compare_head(heads.popleft())
        self.edge.extend(leaves[done:])
        self.size = start + len(leaves)
        if len(leaves) == TILE_WIDTH:
            root = self.edge.root()
            self.compare_tile(tiles, self.size // TILE_WIDTH - 1, leaves, root)
            self.tile_roots.append(root)
            self.tiles_above.append(root)
            self.edge = Frontier()

    def compare_event(self, seq: int, row: Sequence[Any], made: bytes) -> str:
        types = tuple(map(type, row))
        if types == _PRUNED_TYPES and not row[6] and len(row[7]) == HASH_SIZE:
            # Its hash is all that is left; whether it was to be pruned shows when all events are known.
            self.links.note_pruned(seq, row[8])
            self.links.note_damaged(row[1], row[4])
            return ""
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

    def compare_tile(self, tiles: StoredTiles, number: int, leaves: Sequence[bytes], root: bytes) -> None:
        finding = self.findings["tree"]
        first = number * TILE_WIDTH
        row = tiles.take(number)
        if row is None:
            finding.bad(f"tile {number} of level 0 is missing", first)
        elif isinstance(row, LedgerError):
            finding.bad(row.message, first)
        elif row[0] != b"".join(leaves):
            hashes = row[0] if isinstance(row[0], bytes) else b""
            wrong = (at for at, leaf in enumerate(leaves) if hashes[at * 32 : at * 32 + 32] != leaf)
            at = next(wrong, 0)
            finding.bad(f"tile {number} of level 0 disagrees with event {first + at}", first + at)
        elif row[1] != root:
            finding.bad(f"tile {number} of level 0 has another root than its events", first)

    def compare_tiles(self, conn: Connection) -> None:
        """Compare every tile above level 0, and that there are no others."""
        finding = self.findings["tree"]
        columns = (TILE.c.level, TILE.c.number, TILE.c.hashes, TILE.c.root)
        rows = conn.execute(select(*columns).where(TILE.c.level != 0)).all()
        expected: dict[tuple[int, int], tuple[bytes, bytes]] = {}
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
            elif (row.hashes, row.root) != found:
                span = TILE_WIDTH ** (row.level + 1)
                first = self.exactly(row.number * span, (row.number + 1) * span)
                finding.bad(f"tile {row.number} of level {row.level} disagrees with its events", first)
        for level, number in expected:
            finding.bad(f"tile {number} of level {level} is missing", number * TILE_WIDTH ** (level + 1))
        finding.done = f"{len(self.tile_roots) + len(rows)} tiles agree with the events"

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

    def was_walked(self, seq: object) -> bool:
        """Whether the walk over the events came this far; what lies behind a break cannot be judged."""
        return not (self.stopped and isinstance(seq, int) and seq >= self.size)


def _leaf(row: Sequence[Any]) -> bytes:
    """Return the leaf hash that the bytes of a row give; of a pruned event, the one on record."""
    envelope, leaf, pruned = row[6:9]
    if isinstance(pruned, str) and envelope == b"" and isinstance(leaf, bytes) and len(leaf) == HASH_SIZE:
        return leaf
    return hash_leaf(envelope) if isinstance(envelope, bytes) else bytes(HASH_SIZE)


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
