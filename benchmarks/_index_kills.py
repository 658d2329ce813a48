"""Kill a writer of an index at any moment, and see that nothing acknowledged is lost and nothing comes back.

The writer is forked, so that a kill costs no start of an interpreter; the index is opened by it anew.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from clearmark.guardrails.memorization import Entry, Index

__all__ = ["KillReport", "kill_writers", "synthetic"]

_ROUND = 8
"""Items of the other index that a round merges."""

_STEPS_EACH = 12
"""Steps after which a writer is killed at the latest: by then each kind of step was taken."""

_ROUNDS_EACH = 25
"""Kills that one index has to bear before a new one takes its place: checking a large one takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillReport:
    """What the kills did: at which step they struck, and everything that was wrong afterwards."""

    kills: int
    during: dict[str, int]
    acknowledged: int
    lost: int
    returned: int
    unopened: int
    left_over: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no item was lost or came back and every index opened."""
        return not (self.lost or self.returned or self.unopened or self.left_over)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "ok": self.ok}


def synthetic(number: int, *, prefix: str = "k") -> Entry:
    """Return the entry number `number`: the same codes and picture each time."""
    from clearmark.guardrails.memorization import Entry, Item

    rng = np.random.default_rng(number)
    item = Item(key=f"{prefix}{number}", sha256=f"{number:064x}", source="synthetic", licence="CC0-1.0")
    codes = rng.integers(0, 256, (2, 64), dtype=np.uint8)
    return Entry(item, rng.bytes(32), codes, b"picture " + rng.bytes(60))


def kill_writers(folder: Path, kills: int, *, seed: int = 0) -> KillReport:
    """Start a writer and kill it, `kills` times, and check the index after each."""
    from clearmark.core.errors import Error
    from clearmark.guardrails.memorization import Index

    draw = random.Random(seed)  # noqa: S311  moments, not secrets
    during: dict[str, int] = {}
    acknowledged = lost = returned = unopened = left_over = 0
    begun = time.monotonic()
    for number in range(kills):
        path = folder / f"killed-{number // _ROUNDS_EACH}.index"
        if number % _ROUNDS_EACH == 0:
            Index.create(path, descriptor="synthetic@sha256:00").close()
            held: set[str] = set()
            removed: set[str] = set()
            saved = -1
        done, (struck, words) = _round(path, folder, number, draw)
        during[struck] = during.get(struck, 0) + 1
        for step, keys in done:
            acknowledged += len(keys)
            if step in {"add", "merge"}:
                held |= set(keys)
            elif step == "remove":
                held -= set(keys)
                removed |= set(keys)
            elif step == "save":
                saved = int(keys[0])
        try:
            with Index(path) as index:
                there = {entry.item.key for entry in index.entries()}
                stored = int(index.calibration.get("round", -1))
                left_over += _files(index)
        except Error:
            unopened += 1
            continue
        # What was begun and not acknowledged may have come about or not.
        open_ = set(words) if struck == "remove" else set()
        lost += len(held - there - open_) + int(stored < saved)
        returned += len(removed & there)
        held = there
        removed |= open_ - there
    return KillReport(
        kills=kills,
        during=dict(sorted(during.items())),
        acknowledged=acknowledged,
        lost=lost,
        returned=returned,
        unopened=unopened,
        left_over=left_over,
        seconds=round(time.monotonic() - begun, 1),
    )


def _files(index: Index) -> int:
    """Return the files that stay although nothing names them, once a writer has been there."""
    index.set_calibration(index.calibration)
    named = {name for name, _ in index._catalogue.segments()}
    return sum(path.stem not in named for path in (index.path / "segments").iterdir())


def _round(
    path: Path, folder: Path, number: int, draw: random.Random
) -> tuple[list[tuple[str, list[str]]], tuple[str, list[str]]]:
    """Let a writer work and kill it; return the steps that it acknowledged, and the one that it was in."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            _write(path, folder, number, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        # Counted in steps, so that a slow machine is killed as far along as a fast one.
        told = [stream.readline() for _ in range(draw.randint(1, 2 * _STEPS_EACH))]
        time.sleep(draw.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        lines = (b"".join(told) + stream.read()).decode().splitlines(keepends=True)
    os.waitpid(child, 0)
    begun: tuple[str, list[str]] = ("between steps", [])
    done: list[tuple[str, list[str]]] = []
    for kind, step, *words in (line.split() for line in lines if line.endswith("\n")):
        if kind == "done":
            done.append((step, words))
        begun = (step, words) if kind == "begin" else ("between steps", [])
    return done, begun


def _write(path: Path, folder: Path, number: int, pipe: int) -> None:
    """Add, save, merge, remove and compact, over and over, saying before and after each what it is."""
    from clearmark.guardrails.memorization import Index

    def say(*words: object) -> None:
        os.write(pipe, (" ".join(map(str, words)) + "\n").encode())

    other = folder / f"other-{number}.index"
    base = number * 10_000
    with Index.create(other, descriptor="synthetic@sha256:00") as small:
        small.add(synthetic(base + 5_000 + n) for n in range(_ROUND))
    with Index(path) as index, Index(other) as small:
        for n in range(10_000):
            keys = [f"k{base + n * 4 + i}" for i in range(4)]
            say("begin", "add")
            index.add(synthetic(base + n * 4 + i) for i in range(4))
            say("done", "add", *keys)
            say("begin", "save")
            index.set_calibration({"threshold": 0.9, "round": number})
            say("done", "save", number)
            if n == 0:
                say("begin", "merge")
                index.merge(small)
                say("done", "merge", *(f"k{base + 5_000 + i}" for i in range(_ROUND)))
            say("begin", "remove", keys[0])
            index.remove(keys=keys[:1])
            say("done", "remove", keys[0])
            if n % 3 == 2:
                say("begin", "compact")
                index.compact()
                say("done", "compact")
