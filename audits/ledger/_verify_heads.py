"""The signed checkpoints of a ledger, inside and outside the database, against the events that are there.

A checkpoint that fits vouches for all events below its size. Where one does not, stored tiles and leaf hashes
tell which event was changed, but only if they give the root that was signed: else they were made to fit, and
nothing behind the last checkpoint that agrees can be vouched for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, select

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import WitnessKey, cosigned_by
from clearmark.audits.ledger._findings import Finding
from clearmark.audits.ledger._merkle import HASH_SIZE, Frontier, hash_leaf
from clearmark.audits.ledger._notes import Checkpoint, NoteVerifier, parse_checkpoint, split_note
from clearmark.audits.ledger._schema import CHECKPOINT, EVENT
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._timestamping import TimestampLog, read_token
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.audits.ledger._verify_tiles import StoredTiles
from clearmark.core.errors import LedgerError, LedgerTampered

__all__ = ["Heads", "leaf_of"]


class Heads:
    """All signed checkpoints, by size; compared in step with the walk over the events."""

    def __init__(self, store: Store, verifier: NoteVerifier, findings: Mapping[str, Finding]) -> None:
        self.store = store
        self.verifier = verifier
        self.findings = findings
        self.heads: list[tuple[Checkpoint, str]] = []
        self.parsed: dict[str, Checkpoint] = {}
        self.agreed: dict[str, int] = {}
        self.broken: dict[str, tuple[int, Checkpoint]] = {}

    def read_log(self, log: CheckpointLog | None) -> None:
        """Take the checkpoints of the log outside."""
        finding = self.findings["checkpoint-log"]
        if log is None:
            finding.done = "no checkpoint log is kept outside the database"
            return
        count = 0
        for count, note in enumerate(log.notes(), 1):
            self.take(note, f"line {count} of {log.path.name}", "checkpoint-log")
        finding.done = f"{count} checkpoints outside the database agree with it"

    def read_stamps(self, stamps: TimestampLog) -> None:
        """Check every token, and take what was stamped: the database must know it."""
        finding = self.findings["timestamps"]
        latest = ""
        for count, row in enumerate(stamps.rows(), 1):
            what = f"line {count} of {stamps.path.name}"
            head = self.take(row and row[0], what, "timestamps")
            if row is not None and head is not None:
                try:
                    latest = f", the last at {head.size} on {read_token(row[1], row[0]).time.isoformat()}"
                except LedgerTampered as exc:
                    finding.bad(f"{what}: {exc.message}")
            finding.done = f"{count} stamped checkpoints agree with the events{latest}"

    def read_stored(self, conn: Connection) -> None:
        """Take the checkpoints of the database; one that cannot be read is named by its size, and passed."""
        finding = self.findings["checkpoints"]
        count = 0
        query = select(CHECKPOINT.c.size, CHECKPOINT.c.note).order_by(CHECKPOINT.c.size)
        with closing(self.store.walk(conn, query)) as rows:
            for row in rows:
                if isinstance(row, LedgerError):
                    count += self._read_singly(conn, count)
                    break
                self._take_stored(*row)
                count += 1
        finding.done = f"{count} signed checkpoints agree with the events"

    def _read_singly(self, conn: Connection, start: int) -> int:
        """Take the checkpoints from the one at place `start` on, each by its size; return their number."""
        sizes = conn.execute(select(CHECKPOINT.c.size).order_by(CHECKPOINT.c.size)).scalars().all()[start:]
        for size in sizes:
            try:
                with self.store.apart(conn):
                    query = select(CHECKPOINT.c.note).where(CHECKPOINT.c.size == size)
                    note = conn.execute(query).scalar()
            except self.store.driver_errors as exc:
                problem = f"the checkpoint at {size} cannot be read: {self.store.explain(exc).message}"
                self.findings["checkpoints"].bad(problem)
            else:
                self._take_stored(size, note)
        return len(sizes)

    def _take_stored(self, size: object, note: object) -> None:
        head = self.take(note, f"the checkpoint at {size}", "checkpoints")
        if head is not None and head.size != size:
            self.findings["checkpoints"].bad(f"the checkpoint at {size} is one of {head.size} events")

    def take(self, note: object, what: str, where: str) -> Checkpoint | None:
        """Check one note and keep it as a head to compare; None for what is no checkpoint of this log."""
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

    def compare(self, head: tuple[Checkpoint, str], root: bytes) -> None:
        """Compare one checkpoint with the `root` over the events below its size."""
        point, where = head
        good = self.agreed.get(where, 0)
        if point.root == root.hex():
            self.agreed[where] = point.size
        elif where in self.broken:
            self.findings[where].bad(f"the signed checkpoint at {point.size} has another root")
        else:
            self.findings[where].bad(
                f"the signed checkpoint at {point.size} has another root: "
                f"events from {good} on were rewritten"
            )
            self.broken[where] = (good, point)

    def compare_lost(self, heads: Iterable[tuple[Checkpoint, str]], size: int) -> bool:
        """Report `heads` over more events than the `size` there are, once for each place; tell if any."""
        # Nobody can tell whether the end was cut off, or events before it were taken out or changed: what no
        # checkpoint vouches for may all be wrong.
        sound = max(self.agreed.values(), default=0)
        largest = {where: head.size for head, where in heads}
        for where, covered in largest.items():
            self.findings[where].bad(
                f"a signed checkpoint covers {covered} events; the database holds {size}: it was cut or "
                f"rolled back, and no checkpoint vouches for events from {sound} on",
                sound,
            )
        return bool(largest)

    def blame(self, conn: Connection, size: int, *, stopped: bool) -> None:
        """Name the first event that cannot be vouched for, after a walk over `size` events.

        Where a checkpoint does not fit, that is a changed event. Where the walk `stopped`, it is the event
        that is missing or unreadable, if the next checkpoint shows that those before it are as they were.
        """
        known: dict[tuple[int, int, str], int] = {}
        wanted = dict(self.broken)
        if stopped:
            for point, where in sorted(self.heads, key=lambda head: head[0].size):
                if point.size > size and where not in wanted:
                    wanted[where] = (self.agreed.get(where, 0), point)
        for where, (low, point) in wanted.items():
            key = (low, point.size, point.root)
            if key not in known:
                known[key] = self._first_changed(conn, low, point, size)
            if where in self.broken:
                self.findings[where].blame(known[key])
            else:
                self.findings["events"].blame(known[key])

    def _first_changed(self, conn: Connection, low: int, point: Checkpoint, size: int) -> int:
        """Return the first of `size` events, from `low` on, that is not what `point` was signed over.

        What is stored as tiles, or else as leaf hashes, is believed where it leads to the signed root. Where
        nothing does, this is `low`; where all events that are there fit, it is `size`.
        """
        tiles = StoredTiles(self.store, conn)
        witnesses = [_Witness(low), _Witness(low)]
        query = select(EVENT).order_by(EVENT.c.seq)
        with closing(self.store.walk_groups(conn, query, TILE_WIDTH)) as groups:
            for start in range(0, point.size, TILE_WIDTH):
                end = min(start + TILE_WIDTH, point.size)
                rows = next(groups, ())[: max(0, min(size, end) - start)]
                made = [leaf_of(row) for row in rows if not isinstance(row, LedgerError)]
                kept = self._leaves(conn, start, end)
                tile = tiles.hashes(start // TILE_WIDTH)
                witnesses[0].hear(made, tile[: end - start] if tile else kept)
                witnesses[1].hear(made, kept)
        for witness in witnesses:
            if witness.edge.root().hex() == point.root:
                return size if witness.first is None else witness.first
        return low

    def _leaves(self, conn: Connection, start: int, end: int) -> list[object]:
        """Return what stands as leaf hashes of some events; None for those that cannot be read."""
        seq = EVENT.c.seq
        query = select(seq, EVENT.c.leaf_hash).where(seq >= start, seq < end)
        try:
            with self.store.apart(conn):
                stored: dict[object, object] = {at: leaf for at, leaf in conn.execute(query)}  # noqa: C416
        except self.store.driver_errors:
            if end - start > 1:
                return [leaf for at in range(start, end) for leaf in self._leaves(conn, at, at + 1)]
            return [None]
        return [stored.get(at) for at in range(start, end)]


class _Witness:
    """Hashes that are stored for events, and the first place, from `low` on, where events have others."""

    def __init__(self, low: int) -> None:
        self.low = low
        self.edge = Frontier()
        self.first: int | None = None

    def hear(self, made: Sequence[bytes], stored: Sequence[object]) -> None:
        """Take the stored hashes of the next events; `made` are those of their bytes, right below `low`."""
        start = self.edge.size
        told: list[bytes] = []
        for at, other in enumerate(stored):
            own = made[at] if at < len(made) else None
            known = other if isinstance(other, bytes) and (start + at >= self.low or own is None) else own
            if own is not None and known != own and self.first is None:
                self.first = start + at
            told.append(known or bytes(HASH_SIZE))
        self.edge.extend(told)


def leaf_of(row: Sequence[Any]) -> bytes:
    """Return the leaf hash that the bytes of a row give; of a pruned event, the one on record."""
    envelope, leaf, pruned = row[6:9]
    if isinstance(pruned, str) and envelope == b"" and isinstance(leaf, bytes) and len(leaf) == HASH_SIZE:
        return leaf
    return hash_leaf(envelope) if isinstance(envelope, bytes) else bytes(HASH_SIZE)
