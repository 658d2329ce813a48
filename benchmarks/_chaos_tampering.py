"""What is done to ledgers, and whether it is found: kinds of tampering, each with the place to be named."""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.audits import NoteSigner, verify_database, verify_export
from clearmark.benchmarks._chaos_ledgers import (
    Copy,
    build,
    clean,
    forged,
    opened,
    rechain,
    write_log,
)
from clearmark.core.errors import Error

__all__ = ["KINDS", "clean_logs", "tamperings"]

ORIGINALS = 4


@dataclass(frozen=True)
class Expected:
    """What must be named: an event's `seq`, or `words` where no event is at fault.

    `by` says who looks: the `operator`, an `auditor` who has the public key and kept a checkpoint log, or
    whoever has nothing but an `export` and the public key.
    """

    seq: int | None = None
    words: str = ""
    by: str = "operator"


Tampering = Callable[[Copy, random.Random], Expected]
KINDS: dict[str, Tampering] = {}


def _kind(name: str) -> Callable[[Tampering], Tampering]:
    def add(function: Tampering) -> Tampering:
        KINDS[name] = function
        return function

    return add


def _some(copy: Copy, rng: random.Random) -> int:
    """Return an event that still has its bytes."""
    while (seq := rng.randrange(copy.original.size)) in copy.original.pruned:
        pass
    return seq


def _envelopes(conn: sqlite3.Connection, start: int) -> dict[int, bytes]:
    query = "SELECT seq, envelope FROM event WHERE seq >= ? AND pruned IS NULL"
    return dict(conn.execute(query, (start,)).fetchall())


def _commit_of(copy: Copy, seq: int) -> int:
    """Return what can be told at best of a change whose tile was made to fit, or is not complete."""
    return copy.original.head_below(seq)


# --- single events ---


@_kind("bit flipped in a column of an event")
def _flip(copy: Copy, rng: random.Random) -> Expected:
    seq = _some(copy, rng)
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


@_kind("event removed from the middle")
def _removed(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(copy.original.size - 1)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
    return Expected(seq)


def _shift(conn: sqlite3.Connection, start: int, step: int) -> None:
    """Move the events from `start` on, and what hangs on them, by one place."""
    for table in ("event", "mark", "personal"):
        conn.execute(f"UPDATE {table} SET seq = -seq - 1 WHERE seq >= ?", (start,))  # noqa: S608
        conn.execute(f"UPDATE {table} SET seq = -seq - 1 + ? WHERE seq < 0", (step,))  # noqa: S608


@_kind("event removed, the gap closed, tiles made to fit")
def _closed_up(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(1, copy.original.size - 1)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))  # noqa: S608
        _shift(conn, seq + 1, -1)
        rechain(conn, {}, None)
    return Expected(_commit_of(copy, seq))


@_kind("event slipped in, the others moved up, tiles made to fit")
def _slipped_in(copy: Copy, rng: random.Random) -> Expected:
    seq = _some(copy, rng)
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
    return Expected(_commit_of(copy, seq))


@_kind("two events exchanged")
def _exchanged(copy: Copy, rng: random.Random) -> Expected:
    one, two = sorted(rng.sample(range(copy.original.size), 2))
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            for old, new in ((one, -1), (two, one), (-1, two)):
                conn.execute(f"UPDATE {table} SET seq = ? WHERE seq = ?", (new, old))  # noqa: S608
    if one // 256 == copy.original.size // 256:
        return Expected(_commit_of(copy, one))
    return Expected(one)


@_kind("event repeated at the end")
def _repeated(copy: Copy, rng: random.Random) -> Expected:
    seq, size = _some(copy, rng), copy.original.size
    with copy.database() as conn:
        conn.execute(
            "INSERT INTO event SELECT ?, event_id || 'x', ts_us, tenant, kind, request_id, envelope, "
            "leaf_hash, NULL FROM event WHERE seq = ?",
            (size, seq),
        )
    return Expected(size)


@_kind("event replaced together with its leaf hash")
def _replaced(copy: Copy, rng: random.Random) -> Expected:
    from clearmark.audits.ledger._merkle import hash_leaf

    seq = _some(copy, rng)
    with copy.database() as conn:
        made = forged(_envelopes(conn, seq)[seq], rng)
        row = (made, hash_leaf(made), seq)
        conn.execute("UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?", row)
    return Expected(seq if seq < 256 else _commit_of(copy, seq))


@_kind("event pruned without a record of it")
def _pruned(copy: Copy, rng: random.Random) -> Expected:
    seq = _some(copy, rng)
    with copy.database() as conn:
        query = "SELECT event_id FROM event WHERE kind = 'ledger.pruned'"
        known = [row[0] for row in conn.execute(query)]
        by = rng.choice([*known, "01900000-0000-7000-8000-000000000000"])
        conn.execute("DELETE FROM personal WHERE seq = ?", (seq,))
        conn.execute("UPDATE event SET envelope = x'', pruned = ? WHERE seq = ?", (by, seq))
    first = min([seq, *(copy.original.pruned if by in known else ())])
    return Expected(first)


# --- histories ---


@_kind("tail cut off, with all that belongs to it")
def _tail(copy: Copy, rng: random.Random) -> Expected:
    seq = rng.randrange(1, copy.original.size)
    with copy.database() as conn:
        for table in ("event", "mark", "personal"):
            conn.execute(f"DELETE FROM {table} WHERE seq >= ?", (seq,))  # noqa: S608
        conn.execute("DELETE FROM checkpoint WHERE size > ?", (seq,))
        conn.execute("DELETE FROM tile WHERE (number + 1) * 256 > ?", (seq,))
    return Expected(seq)


@_kind("rewritten and re-chained; old checkpoints left")
def _rewritten(copy: Copy, rng: random.Random) -> Expected:
    seq = _some(copy, rng)
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in _envelopes(conn, seq).items()}, None)
    return Expected(_commit_of(copy, seq))


@_kind("rewritten and re-chained; checkpoints removed from the database")
def _rewritten_bare(copy: Copy, rng: random.Random) -> Expected:
    seq = _some(copy, rng)
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in _envelopes(conn, seq).items()}, None)
        conn.execute("DELETE FROM checkpoint WHERE size > ?", (seq,))
    return Expected(_commit_of(copy, seq))


@_kind("rewritten, re-chained and signed by the keeper of the key")
def _keeper(copy: Copy, rng: random.Random) -> Expected:
    seq, signer = _some(copy, rng), copy.original.signer
    with copy.database() as conn:
        rechain(conn, {at: forged(raw, rng) for at, raw in _envelopes(conn, seq).items()}, signer)
        write_log(conn, copy.log, signer)
    return Expected(_commit_of(copy, seq), by="auditor")


@_kind("one event rewritten and all signed again by the keeper of the key")
def _keeper_one(copy: Copy, rng: random.Random) -> Expected:
    seq, signer = _some(copy, rng), copy.original.signer
    with copy.database() as conn:
        rechain(conn, {seq: forged(_envelopes(conn, seq)[seq], rng)}, signer)
        write_log(conn, copy.log, signer)
    return Expected(_commit_of(copy, seq), by="auditor")


@_kind("split view: another history under the same key")
def _split(copy: Copy, rng: random.Random) -> Expected:  # noqa: ARG001
    copy.replace("other")
    return Expected(copy.original.older, by="auditor")


@_kind("rollback to an older copy, its checkpoint log with it")
def _rollback(copy: Copy, rng: random.Random) -> Expected:
    copy.replace("older")
    size = copy.original.older
    if rng.random() < 0.5:
        old = (copy.original.folder / "older" / copy.log.name).read_bytes()
        copy.log.write_bytes(old)
        return Expected(size, by="auditor")
    return Expected(size)


@_kind("key exchanged, everything signed again by another")
def _key(copy: Copy, rng: random.Random) -> Expected:  # noqa: ARG001
    other = NoteSigner.generate(copy.original.signer.name)
    with copy.database() as conn:
        rechain(conn, {}, other)
        conn.execute("UPDATE meta SET value = ? WHERE name = 'verifier_key'", (other.verifier_key,))
        write_log(conn, copy.log, other)
    return Expected(words="not signed by", by="owner of the copy")


# --- tiles and checkpoints ---


@_kind("hash in a tile changed")
def _tile(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        raw = bytearray(conn.execute("SELECT hashes FROM tile").fetchone()[0])
        at = rng.randrange(len(raw))
        raw[at] ^= 1 << rng.randrange(8)
        conn.execute("UPDATE tile SET hashes = ?", (bytes(raw),))
    return Expected(at // 32)


@_kind("tile removed, its root changed, or one too many")
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


@_kind("checkpoint in the database changed")
def _note(copy: Copy, rng: random.Random) -> Expected:
    size = rng.choice(copy.original.heads)
    with copy.database() as conn:
        (note,) = conn.execute("SELECT note FROM checkpoint WHERE size = ?", (size,)).fetchone()
        raw = bytearray(note.encode())
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(7)
        conn.execute("UPDATE checkpoint SET note = CAST(? AS TEXT) WHERE size = ?", (bytes(raw), size))
    return Expected(words=f"checkpoint at {size}")


@_kind("checkpoint put under another size")
def _note_moved(copy: Copy, rng: random.Random) -> Expected:
    size = rng.choice(copy.original.heads)
    new = rng.choice([n for n in range(1, copy.original.size + 50) if n not in copy.original.heads])
    with copy.database() as conn:
        conn.execute("UPDATE checkpoint SET size = ? WHERE size = ?", (new, size))
    return Expected(words=f"checkpoint at {new}")


@_kind("line of the checkpoint log changed")
def _line(copy: Copy, rng: random.Random) -> Expected:
    lines = copy.log.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines) - 1)
    raw = bytearray(lines[at])
    raw[rng.randrange(len(raw) - 1)] ^= 1 << rng.randrange(1, 7)
    copy.log.write_bytes(b"".join([*lines[:at], bytes(raw), *lines[at + 1 :]]))
    return Expected(words=f"line {at + 1} of")


# --- what hangs on events ---


@_kind("mark removed, added, or led to another event")
def _mark(copy: Copy, rng: random.Random) -> Expected:
    with copy.database() as conn:
        marks = conn.execute("SELECT mark_id, seq FROM mark ORDER BY seq").fetchall()
        mark_id, seq = rng.choice([row for row in marks if row[1] not in copy.original.pruned])
        other = _some(copy, rng)
        while other == seq:
            other = _some(copy, rng)
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


@_kind("personal data changed, exchanged or removed")
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


@_kind("key of a person destroyed or exchanged")
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


@_kind("personal data gone without an erasure on record")
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


# --- exports ---


def _export(copy: Copy) -> list[bytes]:
    return (copy.original.folder / "export.jsonl").read_bytes().splitlines(keepends=True)


def _put_export(copy: Copy, lines: list[bytes]) -> None:
    (copy.folder / "export.jsonl").write_bytes(b"".join(lines))


@_kind("bit flipped in an export")
def _export_flip(copy: Copy, rng: random.Random) -> Expected:
    lines = _export(copy)
    at = rng.randrange(len(lines))
    raw = bytearray(lines[at])
    raw[rng.randrange(len(raw) - 1)] ^= 1 << rng.randrange(8)
    lines[at] = bytes(raw)
    _put_export(copy, lines)
    return Expected(words=f"line {at + 1}:", by="export")


@_kind("lines of an export removed, and their number made to fit")
def _export_cut(copy: Copy, rng: random.Random) -> Expected:
    lines = _export(copy)
    at = rng.randrange(1, len(lines) - 1)
    kept = lines[:at] + (lines[at + 1 : -1] if rng.random() < 0.5 else [])
    end = json.loads(lines[-1])
    end["events"] = len(kept) - 1
    _put_export(copy, [*kept, json.dumps(end, separators=(",", ":")).encode() + b"\n"])
    # What is left is sound line by line: only the seal over all of them tells.
    return Expected(words=f"line {len(kept) + 1}:", by="export")


@_kind("lines of an export exchanged or repeated")
def _export_moved(copy: Copy, rng: random.Random) -> Expected:
    lines = _export(copy)
    one, two = sorted(rng.sample(range(1, len(lines) - 1), 2))
    if rng.random() < 0.5:
        lines[one], lines[two] = lines[two], lines[one]
        _put_export(copy, lines)
        return Expected(words=f"line {one + 2}:", by="export")
    end = json.loads(lines[-1])
    end["events"] += 1
    lines[-1] = json.dumps(end, separators=(",", ":")).encode() + b"\n"
    _put_export(copy, [*lines[: one + 1], lines[one], *lines[one + 1 :]])
    return Expected(words=f"line {one + 2}:", by="export")


def look(copy: Copy, expected: Expected) -> tuple[bool, int | None, str]:
    """Look for tampering as `expected.by` does: whether it was found, where, and in which words."""
    signer = copy.original.signer
    try:
        if expected.by == "export":
            verify_export(copy.folder / "export.jsonl", signer.verifier_key)
            return False, None, ""
        if expected.by == "operator":
            with opened(copy.path, signer) as ledger:
                report = ledger.verify()
        else:
            kept = copy.original.folder / "kept.log" if expected.by == "auditor" else copy.log
            report = verify_database(copy.path, verifier_key=signer.verifier_key, checkpoint_log=kept)
    except Error as exc:
        return True, None, exc.message
    words = "; ".join(check.detail for check in report.checks if not check.ok)
    return not report.ok, report.first_bad, words


def tamperings(
    count: int, *, seed: int, moved: Callable[[int], None], kinds: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Tamper `count` times in each of the `kinds`, or all, and look whether it is found and named."""
    rows: dict[str, dict[str, Any]] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = [build(folder / f"original-{n}", seed * ORIGINALS + n) for n in range(ORIGINALS)]
        for kind in kinds or KINDS:
            found = named = 0
            missed: list[str] = []
            for turn in range(count):
                rng = random.Random(f"{seed}/{kind}/{turn}")  # noqa: S311  repeatable, not secret
                copy = Copy(rng.choice(originals), folder / "copy")
                expected = KINDS[kind](copy, rng)
                seen, first, words = look(copy, expected)
                right = seen and (
                    first == expected.seq if expected.seq is not None else expected.words in words
                )
                found += seen
                named += right
                if not right and len(missed) < 5:
                    want = expected.words if expected.seq is None else expected.seq
                    missed.append(f"{turn}: expected {want!r}, got {first}: {words[:200]}")
                moved(1)
            rows[kind] = {"done": count, "found": found, "named": named}
            if missed:
                rows[kind]["missed"] = missed
    total = sum(row["done"] for row in rows.values())
    return {
        "kinds": len(rows),
        "done": total,
        "found": sum(row["found"] for row in rows.values()),
        "named": sum(row["named"] for row in rows.values()),
        "by_kind": rows,
        "seconds": round(time.perf_counter() - started, 1),
    }


def clean_logs(count: int, *, seed: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Verify `count` ledgers to which nothing was done, as operator and as auditor: no alarm is right."""
    alarms = events = 0
    first: list[str] = []
    started = time.perf_counter()
    for turn in range(count):
        rng = random.Random(f"{seed}/clean/{turn}")  # noqa: S311  repeatable, not secret
        with tempfile.TemporaryDirectory() as name:
            path, signer = clean(Path(name), rng)
            with opened(path, signer) as ledger:
                reports = [ledger.verify()]
            reports.append(verify_database(path, verifier_key=signer.verifier_key))
            events += reports[0].events
            bad = [check.detail for report in reports for check in report.checks if not check.ok]
            export = path.with_name("export.jsonl")
            if export.exists():
                try:
                    verify_export(export, signer.verifier_key)
                except Error as exc:
                    bad.append(exc.message)
            alarms += bool(bad)
            first += [f"{turn}: {'; '.join(bad)}"] if bad and len(first) < 5 else []
        moved(1)
    return {
        "logs": count,
        "events": events,
        "alarms": alarms,
        **({"first": first} if first else {}),
        "seconds": round(time.perf_counter() - started, 1),
    }
