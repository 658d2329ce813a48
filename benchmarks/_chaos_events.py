"""Tampering with events: their columns, their places, their number, and whole histories of them."""

from __future__ import annotations

import json
import random
import sqlite3

from clearmark.audits import NoteSigner
from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.audits.ledger._tree import TILE_WIDTH
from clearmark.benchmarks._chaos_kinds import Expected, commit_of, envelopes, kind, some
from clearmark.benchmarks._chaos_ledgers import Copy, forged, rechain, write_log

__all__: list[str] = []


@kind("bit flipped in a column of an event")
def _flip(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    column = rng.choice(("event_id", "ts_us", "tenant", "kind", "request_id", "envelope", "leaf_hash"))
    with copy.database() as conn:
        (value,) = conn.execute(f"SELECT {column} FROM event WHERE seq = ?", (seq,)).fetchone()  # noqa: S608
        how = "?"
        if isinstance(value, int):
            value ^= 1 << rng.randrange(50)
        else:
            raw = bytearray(value.encode() if isinstance(value, str) else value)
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            how = "CAST(? AS TEXT)" if isinstance(value, str) else "?"
            value = bytes(raw)
        conn.execute(f"UPDATE event SET {column} = {how} WHERE seq = ?", (value, seq))  # noqa: S608
    return Expected(seq)


@kind("event removed from the middle")
def _removed(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(copy.original.size - 1)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
    # Its hash is left in its tile. Without, nobody can tell any more what else was changed in its commit.
    return Expected(seq if seq < TILE_WIDTH else commit_of(copy, seq))


def _shift(conn: sqlite3.Connection, start: int, step: int) -> None:
    """Move the events from `start` on, and what hangs on them, by one place."""
    for table in ("event", "mark", "personal"):
        conn.execute(f"UPDATE {table} SET seq = -seq - 1 WHERE seq >= ?", (start,))  # noqa: S608
        conn.execute(f"UPDATE {table} SET seq = -seq - 1 + ? WHERE seq < 0", (step,))  # noqa: S608


def _moved(copy: Copy, seq: int) -> int:
    """Return what can be told at best when the events from `seq` on stand elsewhere.

    The record of a pruning names all its places by one digest: when some of them moved, it vouches for none.
    """
    touched = any(place >= seq for place in copy.original.pruned)
    return int(min([commit_of(copy, seq), *(copy.original.pruned if touched else ())]))


@kind("event removed, the gap closed, tiles made to fit")
def _closed_up(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(1, copy.original.size - 1)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
        _shift(conn, seq + 1, -1)
        rechain(conn, {}, None)
    return Expected(_moved(copy, seq))


@kind("event slipped in, the others moved up, tiles made to fit")
def _slipped_in(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    with copy.database() as conn:
        (envelope,) = conn.execute("SELECT envelope FROM event WHERE seq = ?", (seq,)).fetchone()
        row = json.loads(envelope)
        row["event_id"], row["body"] = f"forged-{rng.randrange(1 << 40)}", {}
        _shift(conn, seq, 1)
        conn.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, x'', x'', NULL)",
            (seq, row["event_id"], row["ts_us"], row["tenant"], row["kind"], row["request_id"]),
        )
        made = json.dumps(row, sort_keys=True, separators=(",", ":")).encode()
        rechain(conn, {seq: made}, None)
    return Expected(_moved(copy, seq))


@kind("two events exchanged")
def _exchanged(copy: Copy, rng: random.Random) -> Expected:
    one, two = sorted(rng.sample(range(copy.original.size), 2))
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            for old, new in ((one, -1), (two, one), (-1, two)):
                conn.execute(f"UPDATE {table} SET seq = ? WHERE seq = ?", (new, old))  # noqa: S608
    if one >= TILE_WIDTH or TILE_WIDTH <= two < copy.original.head_above(one):
        # No tile tells; or one does, but for a commit across its end, so that no signature vouches for it.
        return Expected(commit_of(copy, one))
    return Expected(one)


@kind("event repeated at the end")
def _repeated(copy: Copy, rng: random.Random) -> Expected:
    seq, size = some(copy, rng), copy.original.size
    with copy.database() as conn:
        conn.execute(
            "INSERT INTO event SELECT ?, event_id || 'x', ts_us, tenant, kind, request_id, envelope, "
            "leaf_hash, NULL FROM event WHERE seq = ?",
            (size, seq),
        )
    return Expected(size)


@kind("event replaced together with its leaf hash")
def _replaced(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    with copy.database() as conn:
        made = forged(envelopes(conn, seq)[seq], rng)
        row = (made, hash_leaf(made), seq)
        conn.execute("UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?", row)
    return Expected(seq if seq < TILE_WIDTH else commit_of(copy, seq))


@kind("event rewritten, tiles made to fit, and one behind it changed to draw the eye")
def _decoy(copy: Copy, rng: random.Random) -> Expected:
    one, two = sorted((some(copy, rng), some(copy, rng)))
    with copy.database() as conn:
        known = envelopes(conn, one)
        rechain(conn, {one: forged(known[one], rng)}, None)
        if rng.random() < 0.5:
            made = forged(known[two], rng)
            row = (made, hash_leaf(made), two)
            conn.execute("UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?", row)
        else:
            conn.execute("UPDATE event SET request_id = request_id || 'x' WHERE seq = ?", (two,))
    return Expected(commit_of(copy, one))


@kind("event pruned without a record of it")
def _pruned(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    with copy.database() as conn:
        query = "SELECT event_id, seq FROM event WHERE kind = 'retention.pruned'"
        records = dict(conn.execute(query).fetchall())
        known = list(records)
        by = rng.choice([*known, "01900000-0000-7000-8000-000000000000"])
        conn.execute("DELETE FROM personal WHERE seq = ?", (seq,))
        conn.execute("UPDATE event SET envelope = x'', pruned = ? WHERE seq = ?", (by, seq))
    if records.get(by) == seq:
        # The record itself is gone: it is named, and what it was to say of others nobody knows.
        return Expected(seq)
    return Expected(min([seq, *(copy.original.pruned if by in known else ())]))


@kind("tail cut off, with all that belongs to it")
def _tail(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(1, copy.original.size)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq >= ?", (seq,))  # noqa: S608
        conn.execute("DELETE FROM checkpoint WHERE size > ?", (seq,))
        conn.execute("DELETE FROM tile WHERE (number + 1) * 256 > ?", (seq,))
    # That those before it are as they were, only a checkpoint can say.
    return Expected(commit_of(copy, seq))


@kind("rewritten and re-chained; old checkpoints left")
def _rewritten(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in envelopes(conn, seq).items()}, None)
    return Expected(commit_of(copy, seq))


@kind("rewritten and re-chained; checkpoints removed from the database")
def _rewritten_bare(copy: Copy, rng: random.Random) -> Expected:
    seq = some(copy, rng)
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in envelopes(conn, seq).items()}, None)
        conn.execute("DELETE FROM checkpoint WHERE size > ?", (seq,))
    return Expected(commit_of(copy, seq))


@kind("rewritten, re-chained and signed by the keeper of the key")
def _keeper(copy: Copy, rng: random.Random) -> Expected:
    seq, signer = some(copy, rng), copy.original.signer
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in envelopes(conn, seq).items()}, signer)
        write_log(conn, copy.log, signer)
    return Expected(commit_of(copy, seq), by="auditor")


@kind("one event rewritten and all signed again by the keeper of the key")
def _keeper_one(copy: Copy, rng: random.Random) -> Expected:
    seq, signer = some(copy, rng), copy.original.signer
    with copy.database() as conn:
        rechain(conn, {seq: forged(envelopes(conn, seq)[seq], rng)}, signer)
        write_log(conn, copy.log, signer)
    return Expected(commit_of(copy, seq), by="auditor")


@kind("split view: another history under the same key")
def _split(copy: Copy, rng: random.Random) -> Expected:  # noqa: ARG001
    copy.replace("other")
    return Expected(copy.original.older, by="auditor")


@kind("rollback to an older copy, its checkpoint log with it")
def _rollback(copy: Copy, rng: random.Random) -> Expected:
    copy.replace("older")
    size = copy.original.older
    if rng.random() < 0.5:
        old = (copy.original.folder / "older" / copy.log.name).read_bytes()
        copy.log.write_bytes(old)
        return Expected(size, by="auditor")
    return Expected(size)


@kind("key exchanged, everything signed again by another")
def _key(copy: Copy, rng: random.Random) -> Expected:  # noqa: ARG001
    other = NoteSigner.generate(copy.original.signer.name)
    with copy.database() as conn:
        rechain(conn, {}, other)
        conn.execute("UPDATE meta SET value = ? WHERE name = 'verifier_key'", (other.verifier_key,))
        write_log(conn, copy.log, other)
    return Expected(words="not signed by", by="owner of the copy")
