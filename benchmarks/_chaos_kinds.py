"""The register of kinds of tampering, and what each must lead to."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from clearmark.benchmarks._chaos_ledgers import Copy

__all__ = ["KINDS", "Expected", "commit_of", "envelopes", "kind", "some"]


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


def kind(name: str) -> Callable[[Tampering], Tampering]:
    def add(function: Tampering) -> Tampering:
        KINDS[name] = function
        return function

    return add


def some(copy: Copy, rng: random.Random) -> int:
    """Return an event that still has its bytes."""
    while (seq := rng.randrange(copy.original.size)) in copy.original.pruned:
        pass
    return seq


def envelopes(conn: sqlite3.Connection, start: int) -> dict[int, bytes]:
    query = "SELECT seq, envelope FROM event WHERE seq >= ? AND pruned IS NULL"
    return dict(conn.execute(query, (start,)).fetchall())


def commit_of(copy: Copy, seq: int) -> int:
    """Return what can be told at best of a change whose tile was made to fit, or is not complete."""
    return copy.original.head_below(seq)
