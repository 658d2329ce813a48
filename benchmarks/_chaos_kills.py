"""kill -9 of processes that write to a ledger, at random points: opening it, committing, erasing."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clearmark.benchmarks._chaos_zygote import Account, zygote

__all__ = ["kills"]

PER_LEDGER = 25
"""Kills in the life of one ledger, before a new one begins."""


def kills(count: int, *, seed: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Kill writers `count` times and look at the ledger after each; `moved` is told of progress.

    A quarter dies within 40 ms after the start, a half after some acknowledgements, the others at any
    time in 80 ms. Every third time there are two processes on one ledger, and both die.
    """
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    wrong: Counter[str] = Counter()
    done = acknowledged = unsure = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, zygote(Path(name)) as (process, signer):
        account, path = Account(), Path(name)
        while done < count:
            if done % PER_LEDGER == 0:
                shutil.rmtree(path.parent) if path.name == "ledger.db" else None
                account, path = Account(), Path(name) / f"home-{done}" / "ledger.db"
            told, tried = len(account.acknowledged), len(account.tried)
            writers = 2 if done % 3 == 2 else 1
            process.killed(account, _moment(rng), path=str(path), writers=writers)
            told, tried = len(account.acknowledged) - told, len(account.tried) - tried
            acknowledged, unsure = acknowledged + told, unsure + tried - told
            wrong.update(account.check(path, signer))
            done += 1
            moved(1)
    return {
        "kills": done,
        "acknowledged": acknowledged,
        "in_flight_when_killed": unsure,
        **wrong,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _moment(rng: random.Random) -> Callable[[Iterator[str]], None]:
    """Return a function that waits for the moment of a kill."""
    kind, wait, lines = rng.random(), rng.random(), rng.randrange(1, 60)

    def come(heard: Iterator[str]) -> None:
        if kind < 0.25:
            time.sleep(wait * 0.04)
        elif kind < 0.75:
            for _ in range(lines):
                next(heard)
        else:
            for _ in range(4):
                next(heard)
            time.sleep(wait * 0.08)

    return come
