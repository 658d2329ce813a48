"""Tampering with exports, which have nothing but the public key to be checked by."""

from __future__ import annotations

import json
import random

from clearmark.benchmarks._chaos_kinds import Expected, kind
from clearmark.benchmarks._chaos_ledgers import Copy

__all__: list[str] = []


def _export(copy: Copy) -> list[bytes]:
    return (copy.original.folder / "export.jsonl").read_bytes().splitlines(keepends=True)


def _put_export(copy: Copy, lines: list[bytes]) -> None:
    (copy.folder / "export.jsonl").write_bytes(b"".join(lines))


@kind("bit flipped in an export")
def _export_flip(copy: Copy, rng: random.Random) -> Expected:
    lines = _export(copy)
    at = rng.randrange(len(lines))
    raw = bytearray(lines[at])
    raw[rng.randrange(len(raw) - 1)] ^= 1 << rng.randrange(8)
    sealed_only = _only_ids_changed(lines[at], bytes(raw))
    lines[at] = bytes(raw)
    _put_export(copy, lines)
    return Expected(words=f"line {len(lines) if sealed_only else at + 1}:", by="export")


def _only_ids_changed(line: bytes, changed: bytes) -> bool:
    """Tell whether a line says all the same but for the ids of a pruned event, and by what it was pruned.

    Its hash binds the bytes that are gone, and those had the id: nothing that is left in the line can tell
    one id from another, only the seal over all lines.
    """
    try:
        old, new = json.loads(line), json.loads(changed)
    except ValueError:
        return False
    if not isinstance(new, dict) or "pruned" not in old or old.keys() != new.keys():
        return False
    if json.dumps(new, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" != changed:
        return False
    return all(isinstance(new[k], str) if k in {"event_id", "pruned"} else new[k] == old[k] for k in old)


@kind("lines of an export removed, and their number made to fit")
def _export_cut(copy: Copy, rng: random.Random) -> Expected:
    lines = _export(copy)
    at = rng.randrange(1, len(lines) - 1)
    kept = lines[:at] + (lines[at + 1 : -1] if rng.random() < 0.5 else [])
    end = json.loads(lines[-1])
    end["events"] = len(kept) - 1
    _put_export(copy, [*kept, json.dumps(end, separators=(",", ":")).encode() + b"\n"])
    # What is left is sound line by line: only the seal over all of them tells.
    return Expected(words=f"line {len(kept) + 1}:", by="export")


@kind("lines of an export exchanged or repeated")
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
