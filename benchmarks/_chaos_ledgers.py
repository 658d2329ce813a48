"""Ledgers for `clearmark bench chaos` to tamper with, and the means of whoever tampers.

An original is a closed ledger of some hundred events in commits of any size, with marks, personal data, an
erasure, a pruning and a legal hold, an older copy of itself, another history under the same key, an export,
and a copy of its checkpoint log that an auditor kept.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.ledger._merkle import Frontier, hash_leaf, root_of
from clearmark.audits.ledger._notes import Checkpoint
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.core import Event, canonical_json
from clearmark.core.errors import LedgerError

__all__ = ["LOG", "VAULT_KEY", "Copy", "Original", "build", "clean", "filled", "opened"]

VAULT_KEY = bytes(range(32))
LOG = "ledger.checkpoints.log"
ORIGIN = "example.com/pictures"
SUBJECTS = 6


def opened(path: Path, signer: NoteSigner) -> Ledger:
    """Open a ledger as its operator does."""
    return Ledger.open(path, signer=signer, vault_key=VAULT_KEY)


def filled(ledger: Ledger, count: int, rng: random.Random) -> None:
    """Append `count` events in commits of 1 to 24."""
    while count:
        size = min(count, rng.randint(1, 24))
        ledger.append([_event(ledger.size + n, rng) for n in range(size)])
        count -= size


def _event(number: int, rng: random.Random) -> Event:
    return Event(
        kind=rng.choice(("request.received", "prompt.decided", "output.decided", "result.released")),
        request_id=f"request-{number // 4}",
        body={"number": number, "text": "x" * rng.choice((0, 40, 300, rng.choice((80, 2000))))},
        mark_ids=(f"{number:016x}",) if number % 3 == 0 else (),
        personal={"prompt": b"a picture of an apple"} if number % 4 == 0 else {},
        subject=f"user-{rng.randrange(SUBJECTS)}",
    )


@dataclass(frozen=True)
class Original:
    """One ledger and what belongs to it, in `folder`; `size` events, `older` of them in the older copy."""

    folder: Path
    signer: NoteSigner
    size: int
    older: int
    heads: tuple[int, ...]
    """Sizes of its signed checkpoints."""
    pruned: frozenset[int]

    def head_below(self, seq: int) -> int:
        """Return the largest size of a checkpoint that does not cover event `seq`."""
        return max((size for size in self.heads if size <= seq), default=0)

    def head_above(self, seq: int) -> int:
        """Return the smallest size of a checkpoint that covers event `seq`."""
        return min(size for size in self.heads if size > seq)


def build(folder: Path, seed: int) -> Original:
    """Make an original in `folder`."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    signer = NoteSigner.generate(ORIGIN)
    path = folder / "home" / "ledger.db"
    with opened(path, signer) as ledger:
        filled(ledger, rng.randint(265, 275), rng)
        ledger.erase("user-0")
        old = [event.ts_us for event in ledger.events() if event.seq < 20]
        ledger.prune(before=sorted(old)[9] + 1, kind="request.received")
        ledger.hold("a case", by="person-1", subject="user-1")
        older = ledger.size
    for name in ("older", "other"):
        shutil.copytree(folder / "home", folder / name)
    with opened(path, signer) as ledger:
        filled(ledger, rng.randint(50, 80), rng)
        size = ledger.size
        pruned = frozenset(event.seq for event in ledger.events() if event.pruned)
    with opened(folder / "other" / "ledger.db", signer) as ledger:
        filled(ledger, size - older + rng.randint(1, 20), rng)
    shutil.copytree(folder / "home", folder / "exported")
    with opened(folder / "exported" / "ledger.db", signer) as ledger:
        ledger.export(folder / "export.jsonl")
    shutil.copy(folder / "home" / LOG, folder / "kept.log")
    with sqlite3.connect(path) as conn:
        heads = tuple(row[0] for row in conn.execute("SELECT size FROM checkpoint ORDER BY size"))
    conn.close()
    return Original(folder, signer, size, older, heads, pruned)


def clean(folder: Path, rng: random.Random) -> tuple[Path, NoteSigner]:
    """Make a small ledger to which nothing was done but what its keeper may do."""
    signer = NoteSigner.generate(ORIGIN)
    path = folder / "ledger.db"
    for _ in range(rng.randint(1, 3)):
        with opened(path, signer) as ledger:
            filled(ledger, rng.randint(0, 40), rng)
            if rng.random() < 0.4:
                with contextlib.suppress(LedgerError):  # a hold may stop it
                    ledger.erase(f"user-{rng.randrange(SUBJECTS)}")
            if rng.random() < 0.3:
                ledger.hold("a case", by="person-1", subject=f"user-{rng.randrange(SUBJECTS)}")
            if rng.random() < 0.3 and ledger.size:
                newest = max(event.ts_us for event in ledger.events())
                ledger.prune(before=newest - rng.randrange(50_000), limit=rng.randint(1, 30))
            if rng.random() < 0.3:
                ledger.export(folder / "export.jsonl")
    return path, signer


class Copy:
    """A copy of an original to tamper with, as one who can write every file of it."""

    def __init__(self, original: Original, folder: Path) -> None:
        self.original = original
        self.folder = folder
        self.path = folder / "ledger.db"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original.folder / "home", folder)

    @property
    def log(self) -> Path:
        """The checkpoint log beside the database."""
        return self.path.with_name(LOG)

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Give the database without its triggers, which stand again afterwards."""
        conn = sqlite3.connect(self.path)
        conn.execute("PRAGMA synchronous = OFF")
        triggers = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            conn.execute(f"DROP TRIGGER {name}")
        yield conn
        for _, sql in triggers:
            conn.execute(sql)
        conn.commit()
        conn.close()

    def replace(self, name: str) -> None:
        """Put the database `name` of the original in the place of this one."""
        shutil.copy(self.original.folder / name / "ledger.db", self.path)


def forged(envelope: bytes, rng: random.Random) -> bytes:
    """Return an event that says something else, with the same columns."""
    row = json.loads(envelope)
    row["body"]["forged"] = rng.randrange(1 << 30)
    return canonical_json(row)


def rechain(conn: sqlite3.Connection, changes: Mapping[int, bytes], signer: NoteSigner | None) -> None:
    """Put other events in their places, and make leaf hashes, tiles and, with a key, checkpoints fit."""
    conn.executemany(
        "UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?",
        [(envelope, hash_leaf(envelope), seq) for seq, envelope in changes.items()],
    )
    leaves = [row[0] for row in conn.execute("SELECT leaf_hash FROM event ORDER BY seq")]
    for number in range(len(leaves) // TILE_WIDTH):
        span = leaves[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
        conn.execute(
            "UPDATE tile SET hashes = ?, root = ? WHERE level = 0 AND number = ?",
            (b"".join(span), root_of(span), number),
        )
    if signer is None:
        return
    edge = Frontier()
    sizes = {row[0] for row in conn.execute("SELECT size FROM checkpoint")}
    for leaf in leaves:
        edge.append(leaf)
        if edge.size in sizes:
            head = Checkpoint(origin=signer.name, size=edge.size, root=edge.root().hex())
            conn.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (signer.sign(head.text), edge.size))


def write_log(conn: sqlite3.Connection, log: Path, signer: NoteSigner) -> None:
    """Make a checkpoint log of what the database says, as if it had never been another."""
    empty = Checkpoint(origin=signer.name, size=0, root=Frontier().root().hex())
    notes = [
        signer.sign(empty.text),
        *(r[0] for r in conn.execute("SELECT note FROM checkpoint ORDER BY size")),
    ]
    log.write_text("".join(json.dumps({"note": note}, ensure_ascii=False) + "\n" for note in notes))
