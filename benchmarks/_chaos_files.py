"""Tampering with what stands beside events: tiles, checkpoints, the log outside, marks, personal data."""

from __future__ import annotations

import random
import sqlite3

from clearmark.benchmarks._chaos_kinds import Expected, kind, some
from clearmark.benchmarks._chaos_ledgers import Copy

__all__: list[str] = []


@kind("hash in a tile changed")
def _tile(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        raw = bytearray(conn.execute("SELECT hashes FROM tile").fetchone()[0])
        at = rng.randrange(len(raw))
        raw[at] ^= 1 << rng.randrange(8)
        conn.execute("UPDATE tile SET hashes = ?", (bytes(raw),))
    return Expected(at // 32)


@kind("tile removed, its root changed, or one too many")
def _tiles(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        match rng.randrange(4):
            case 0:
                conn.execute("DELETE FROM tile")
            case 1:
                raw = bytearray(conn.execute("SELECT root FROM tile").fetchone()[0])
                raw[rng.randrange(32)] ^= 1 << rng.randrange(8)
                conn.execute("UPDATE tile SET root = ?", (bytes(raw),))
            case 2:
                conn.execute("UPDATE tile SET hashes = hashes || randomblob(32)")
            case _:
                place = (rng.randrange(3), rng.randrange(1, 500))
                conn.execute("INSERT INTO tile SELECT ?, ?, hashes, root FROM tile", place)
                return Expected(copy.original.size)
    return Expected(0)


@kind("checkpoint in the database changed")
def _note(copy: Copy, rng: random.Random) -> Expected:
    size = rng.choice(copy.original.heads)
    with copy.database() as conn:
        (note,) = conn.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()
        raw = bytearray(note.encode())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(7)
        conn.execute("UPDATE checkpoint SET note = CAST(? AS TEXT) WHERE size = ?", (bytes(raw), size))
    return Expected(words=f"checkpoint at {size}")


@kind("checkpoint put under another size")
def _note_moved(copy: Copy, rng: random.Random) -> Expected:
    size = rng.choice(copy.original.heads)
    new = rng.choice([n for n in range(1, copy.original.size + 50) if n not in copy.original.heads])
    with copy.database() as conn:
        conn.execute("UPDATE checkpoint SET size = ? WHERE size = ?", (new, size))
    return Expected(words=f"checkpoint at {new}")


@kind("line of the checkpoint log changed")
def _line(copy: Copy, rng: random.Random) -> Expected:
    lines = copy.log.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines) - 1)
    raw = bytearray(lines[at])
    raw[rng.randrange(len(raw) - 1)] ^= 1 << rng.randrange(1, 7)
    copy.log.write_bytes(b"".join([*lines[:at], bytes(raw), *lines[at + 1 :]]))
    return Expected(words=f"line {at + 1} of")


@kind("mark removed, added, or led to another event")
def _mark(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        marks = conn.execute("SELECT mark_id, seq FROM mark ORDER BY seq").fetchall()
        mark_id, seq = rng.choice([row for row in marks if row[1] not in copy.original.pruned])
        other = some(copy, rng)
        while other == seq:
            other = some(copy, rng)
        match rng.randrange(3):
            case 0:
                conn.execute("DELETE FROM mark WHERE mark_id = ?", (mark_id,))
                return Expected(seq)
            case 1:
                conn.execute("INSERT INTO mark VALUES (?, ?)", (f"f{rng.randrange(1 << 40):015x}", other))
                return Expected(other)
            case _:
                conn.execute("UPDATE mark SET seq = ? WHERE mark_id = ?", (other, mark_id))
                return Expected(min(seq, other))


def _personal_rows(conn: sqlite3.Connection) -> list[tuple[int, str]]:
    query = "SELECT seq, key_id FROM personal WHERE sealed IS NOT NULL ORDER BY seq"
    return conn.execute(query).fetchall()


@kind("personal data changed, exchanged or removed")
def _personal(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        (one, _), (two, _) = rng.sample(_personal_rows(conn), 2)
        sealed = dict(conn.execute("SELECT seq, sealed FROM personal WHERE seq IN (?, ?)", (one, two)))
        match rng.randrange(3):
            case 0:
                conn.execute("DELETE FROM personal WHERE seq = ?", (one,))
                return Expected(one)
            case 1:
                raw = bytearray(sealed[one])
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
                conn.execute("UPDATE personal SET sealed = ? WHERE seq = ?", (bytes(raw), one))
                return Expected(one)
            case _:
                conn.execute("UPDATE personal SET sealed = ? WHERE seq = ?", (sealed[two], one))
                conn.execute("UPDATE personal SET sealed = ? WHERE seq = ?", (sealed[one], two))
                return Expected(min(one, two))


@kind("key of a person destroyed or exchanged")
def _subject(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        rows = _personal_rows(conn)
        _, key_id = rng.choice(rows)
        first = min(seq for seq, each in rows if each == key_id)
        if rng.random() < 0.5:
            conn.execute("DELETE FROM subject_key WHERE key_id = ?", (key_id,))
        else:
            conn.execute("UPDATE subject_key SET wrapped = randomblob(60) WHERE key_id = ?", (key_id,))
    return Expected(first)


@kind("personal data gone without an erasure on record")
def _unerased(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        seq, _ = rng.choice(_personal_rows(conn))
        query = "SELECT event_id FROM event WHERE kind = 'erasure'"
        known = [row[0] for row in conn.execute(query)]
        by = rng.choice([*known, "01900000-0000-7000-8000-000000000000"])
        taken = [r[0] for r in conn.execute("SELECT seq FROM personal WHERE erasure = ?", (by,))]
        gone = "UPDATE personal SET sealed = NULL, key_id = NULL, erasure = ? WHERE seq = ?"
        conn.execute(gone, (by, seq))
    # An erasure took more than it says: which of them it did not, nobody can tell any more.
    return Expected(min([seq, *taken]))
