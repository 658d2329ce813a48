"""Power cuts and failing disks: a real ledger on real files, and what a disk may make of its calls.

A small library in front of libc (`_chaos_trace.c`) records what a process writes and synchronises in all
files of a folder. It stands below SQLite, Python and our own code, so nothing of them is replaced. Afterwards
the disk is made again as it may look after a power cut at a random call: what was synchronised is there; of
the rest, each sector of 512 bytes may or may not be. A failed synchronisation keeps nothing of its promise:
the system may have dropped what it held, and a later one that succeeds does not bring it back.
"""

from __future__ import annotations

import errno
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.audits import NoteSigner
from clearmark.benchmarks._chaos_zygote import Account, Zygote, zygote
from clearmark.core.errors import Unavailable

__all__ = ["Disk", "Recording", "cuts", "faults", "library", "power_cuts", "recorded"]

SECTOR = 512
PER_RECORDING = 100
"""Cuts of one recording, before another one is made."""

BATCHES = 25
"""Batches that each of the threads of a recorded process appends."""

Operation = tuple[str, str, int, bytes]
"""Letter, file name, offset, data: see `_chaos_trace.c`."""


class Disk:
    """Files as they are on the disk, and the operations since the last synchronisation of each."""

    def __init__(self, rng: random.Random) -> None:
        self.account = Account()
        self.injected = 0
        self._rng = rng
        self._durable: dict[str, bytes] = {}
        self._pending: dict[str, list[tuple[int, Operation]]] = {}
        self._begun: dict[tuple[str, int], int] = {}
        self._count = 0

    def apply(self, operation: Operation) -> None:
        """Do what one record says."""
        what, name, offset, data = operation
        self._count += 1
        if what == "A":
            for line in data.decode().splitlines():
                self.account.take(line)
        elif what == "X":
            self.injected += 1
        elif what == "B":
            self._begun[name, offset] = self._count
        elif what in "SF":
            self._settle(name, self._begun.pop((name, offset)), whole=what == "S")
        else:
            self._pending.setdefault(name, []).append((self._count, operation))

    def _settle(self, name: str, until: int, *, whole: bool) -> None:
        if name == ".":
            # A folder: what was removed from it stays removed. That files exist is durable as they are.
            for each, held in self._pending.items() if whole else ():
                last = max((n for n, item in held if item[0] == "U" and n < until), default=0)
                if last:
                    self._durable.pop(each, None)
                    self._pending[each] = [(n, item) for n, item in held if n > last]
            return
        held = self._pending.pop(name, [])
        now = [item for n, item in held if n < until]
        self._store(name, now if whole else list(self._lucky(now)))
        self._pending[name] = [(n, item) for n, item in held if n >= until]

    def _store(self, name: str, operations: list[Operation]) -> None:
        content = done(self._durable.get(name), operations)
        if content is None:
            self._durable.pop(name, None)
        else:
            self._durable[name] = content

    def _lucky(self, operations: list[Operation]) -> Iterator[Operation]:
        """Yield what reached the disk all the same, sector by sector."""
        rng = self._rng
        for what, name, offset, data in operations:
            if what != "W":
                if rng.random() < 0.5:
                    yield what, name, offset, data
                continue
            share = rng.choice((0.1, 0.5, 0.9))
            at, end = offset, offset + len(data)
            while at < end:
                to = min(end, (at // SECTOR + 1) * SECTOR)
                if rng.random() < share:
                    yield "W", name, at, data[at - offset : to - offset]
                at = to

    def after_a_cut(self) -> dict[str, bytes]:
        """Return the files as they may be after a power cut now."""
        files = dict(self._durable)
        for name, held in self._pending.items():
            lucky = list(self._lucky([item for _, item in held]))
            content = done(files.pop(name, None), lucky)
            if content is not None:
                files[name] = content
        return files

    def in_the_end(self) -> dict[str, bytes]:
        """Return the files as the system shows them while the power is on."""
        made = {
            name: done(self._durable.get(name), [item for _, item in self._pending.get(name, [])])
            for name in self._durable.keys() | self._pending.keys()
        }
        return {name: raw for name, raw in made.items() if raw is not None}


def done(content: bytes | None, operations: list[Operation]) -> bytes | None:
    """Return a file after some operations; None when it is not there."""
    if content is None and not operations:
        return None
    raw = bytearray(content or b"")
    removed = False
    for what, _, offset, data in operations:
        removed = what == "U"
        if what == "U":
            raw = bytearray()
        elif what == "T":
            raw = raw[:offset] if offset <= len(raw) else raw + bytes(offset - len(raw))
        else:
            raw += bytes(max(0, offset - len(raw)))
            raw[offset : offset + len(data)] = data
    return None if removed else bytes(raw)


def library(folder: Path) -> Path:
    """Compile the library that records.

    Raises:
        Unavailable: without a C compiler, or elsewhere than on Linux.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        raise Unavailable(
            "power cuts are recorded on Linux, with a C compiler",
            hint="apt install gcc libc6-dev, or leave them out: --cuts 0 --faults 0",
        )
    made = folder / "trace.so"
    source = Path(__file__).with_name("_chaos_trace.c")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(made), str(source), "-pthread"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  our own source
    return made


@dataclass(frozen=True)
class Recording:
    """What one process did to its files and said, in order, and where they stand."""

    operations: list[Operation]
    home: Path


def recorded(process: Zygote, folder: Path, *, weak: bool = False, fail: str = "") -> Recording:
    """Let a writer, forked under `library`, run to its end on a new ledger in `folder`, and record it."""
    home, trace = folder / "home", folder / "trace"
    home.mkdir(parents=True)
    process.run(
        Account(),
        path=str(home / "ledger.db"),
        batches=BATCHES,
        weak=weak,
        environment={"TRACE_HOME": str(home), "TRACE_FILE": str(trace), "TRACE_FAIL": fail},
    )
    return Recording(list(_read(trace.read_bytes(), home)), home)


def _read(trace: bytes, home: Path) -> Iterator[Operation]:
    at = 0
    while at < len(trace):
        what, length = struct.unpack_from("<cH", trace, at)
        path = trace[at + 3 : at + 3 + length].decode()
        offset, size = struct.unpack_from("<qI", trace, at + 3 + length)
        at += 3 + length + 12
        name = str(Path(path).relative_to(home)) if path else ""
        yield what.decode(), name, offset, trace[at : at + size]
        at += size


def cuts(recording: Recording, count: int, rng: random.Random) -> Iterator[Disk]:
    """Yield the disk at `count` random moments, first to last."""
    moments = Counter(rng.randrange(1, len(recording.operations) + 1) for _ in range(count))
    disk = Disk(rng)
    for number, operation in enumerate(recording.operations, 1):
        disk.apply(operation)
        for _ in range(moments[number]):
            yield disk


def reopened(disk: Disk, files: dict[str, bytes], place: Path, signer: NoteSigner) -> dict[str, int]:
    """Lay `files` down at `place`, open the ledger that is there, and count what is wrong."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, raw in files.items():
        if not name.endswith("-shm"):
            (place / name).write_bytes(raw)
    if "ledger.db" not in files:
        return {"lost": len(disk.account.acknowledged)}
    return disk.account.check(place / "ledger.db", signer)


def power_cuts(count: int, *, seed: int, moved: Callable[[int], None], weak: bool = False) -> dict[str, Any]:
    """Cut the power `count` times and look at what is left; `weak` does not synchronise at each commit."""
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    wrong: Counter[str] = Counter()
    at_stake = recordings = made = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zygote(folder, {"LD_PRELOAD": str(library(folder))} if count else {}) as (process, signer):
            while made < count:
                run = folder / f"run-{recordings}"
                recording = recorded(process, run, weak=weak)
                recordings += 1
                for disk in cuts(recording, min(PER_RECORDING, count - made), rng):
                    wrong.update(reopened(disk, disk.after_a_cut(), folder / "after", signer))
                    at_stake += len(disk.account.acknowledged)
                    made += 1
                    moved(1)
                shutil.rmtree(run)
    return {
        "cuts": made,
        "recordings": recordings,
        "acknowledged_at_stake": at_stake,
        **wrong,
        "seconds": round(time.perf_counter() - started, 1),
    }


def faults(count: int, *, seed: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Let the disk fail at a random call, for some calls or for good: nothing may be acknowledged on it.

    Writes fail as on a full disk, a broken one, one that turned read-only, and one over its quota;
    synchronisations as on a broken one. Whatever was acknowledged must be there as the process left the
    files, and also after a power cut then. A fault for good of which no caller heard is counted as silent.
    """
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    wrong: Counter[str] = Counter(silent=0)
    refused = injected = 0
    names: Counter[str] = Counter()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zygote(folder, {"LD_PRELOAD": str(library(folder))} if count else {}) as (process, signer):
            for number in range(count):
                kind = rng.choice("WWS")
                code = rng.choice((errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)) if kind == "W" else 5
                lasts = rng.choice((0, 0, 1, 3, 20))
                start = rng.randrange(2, 700 if kind == "W" else 250)
                run = folder / f"run-{number}"
                recording = recorded(process, run, fail=f"{kind}:{code}:{start}:{lasts}")
                disk = Disk(rng)
                for operation in recording.operations:
                    disk.apply(operation)
                hit = bool(disk.injected)
                injected += hit
                names[errno.errorcode[code]] += hit
                refused += bool(disk.account.refused)
                wrong["silent"] += hit and not lasts and not disk.account.refused
                wrong.update(disk.account.check(run / "home" / "ledger.db", signer, again=0))
                wrong.update(reopened(disk, disk.after_a_cut(), folder / "after", signer))
                shutil.rmtree(run)
                moved(1)
    return {
        "faults": count,
        "injected": injected,
        "by_error": dict(sorted(names.items())),
        "refused": refused,
        **wrong,
        "seconds": round(time.perf_counter() - started, 1),
    }
