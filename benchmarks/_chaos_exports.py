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
    lines[at] = bytes(raw)
    _put_export(copy, lines)
    return Expected(words=f"line {at + 1}:", by="export")


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
