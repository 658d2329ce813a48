"""Damaged files by the thousand through `verify`: no crash, no hang, bounded memory.

    clearmark bench fuzz_verify --count 10000

Signed files of every format, some with a parent's manifest, small pictures and an identity assertion inside,
are cut, doubled, overwritten and exchanged in part, and each result is verified with all layers and put into
words, in a process that may die. It fails when anything is raised, when the process dies, when one file takes
longer than `--seconds`, when memory grows over `--mib`, or when a damaged file passes for another signer's.

Time is taken by the clock and of the processor. A file that took too long by the clock is verified again,
alone: a machine that was busy or asleep is no fault of the file. With `--state FOLDER` a run that was cut off
goes on where it was, over the same files; what broke a bound is kept there as `found-NUMBER.bin`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clearmark.benchmarks._fuzz_worker import ANCHORS, SIGNER, mutated, read_sources
from clearmark.benchmarks.credentials import FORMATS, MARK_ID, sample
from clearmark.core.assets import Asset
from clearmark.core.errors import Error, UsageError
from clearmark.provenance import ManifestSigner, make_development_ca
from clearmark.provenance.credentials import IdentitySigner, ManifestSpec, Thumbnails

__all__ = ["fuzz", "main"]

PART = 500
"""Files after which a new process is started."""

_AGAIN = 3
"""How often those files are verified again, one after the other, that were slow by the clock."""

_ROWS = "rows.jsonl"
_PLAN = "plan.json"
_WITH_PARENT = ("image/png", "image/jpeg", "image/webp", "video/mp4")
_WORKER = (sys.executable, "-m", "clearmark.benchmarks._fuzz_worker")


def fuzz(
    count: int,
    *,
    seed: int = 1,
    side: int = 56,
    seconds: float = 5.0,
    state: Path | None = None,
    jobs: int = 1,
    worker: Sequence[str] = _WORKER,
) -> dict[str, Any]:
    """Verify `count` damaged files; `side` is the pictures', from 64 on watermarks are searched, too.

    `jobs` processes do it at the same time.

    Raises:
        UsageError: a `state` of another seed or side.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(state or Path(folder), seed, worker)
        _prepare(run.state, seed, side)
        run.read()
        while missing := [number for number in range(count) if number not in run.rows]:
            run.verify(missing, jobs)
        for _ in range(_AGAIN):
            slow = [number for number in range(count) if _slow(run.rows[number]) > seconds]
            run.verify(slow, jobs)
        done = [run.rows[number] for number in range(count)]
        _keep(run.state, seed, done, seconds)
    return _report(done, seed, side)


class _Run:
    """The rows of a run by the numbers of their files, in memory and in its folder."""

    def __init__(self, state: Path, seed: int, worker: Sequence[str]) -> None:
        self.state = state
        self.rows: dict[int, dict[str, Any]] = {}
        self._seed, self._worker = seed, worker
        self._lock = threading.Lock()

    def read(self) -> None:
        """Take up what a run that was cut off has found; its last line may be half a line."""
        path = self.state / _ROWS
        if not path.exists():
            return
        whole, _, half = path.read_text(encoding="utf-8").rpartition("\n")
        if half:
            path.write_text(whole + "\n" if whole else "", encoding="utf-8")
        self.rows = {row["file"]: row for row in map(json.loads, whole.splitlines())}

    def verify(self, numbers: Sequence[int], jobs: int) -> None:
        """Verify files, for the first time or again. Where a process dies, what was left is for later."""
        size = max(1, min(PART, -(-len(numbers) // jobs)))
        parts = [numbers[at : at + size] for at in range(0, len(numbers), size)]
        with ThreadPoolExecutor(jobs) as pool:
            for _ in pool.map(self._verify_part, parts):
                pass

    def _verify_part(self, numbers: Sequence[int]) -> None:
        for row in _part(self._worker, self.state, self._seed, numbers):
            with self._lock, (self.state / _ROWS).open("a", encoding="utf-8") as log:
                self.rows[row["file"]] = _joined(self.rows.get(row["file"]), row)
                log.write(json.dumps(self.rows[row["file"]]) + "\n")


def _joined(before: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """Add what came of a file when it was verified again."""
    if before is None:
        return row
    found = {name: row[name] for name in ("raised", "died", "forged") if row.get(name)}
    again = min(row["wall_s"], before.get("again_s", row["wall_s"]))
    return {**before, **found, "again_s": again, "cpu_s": max(before["cpu_s"], row["cpu_s"])}


def _prepare(state: Path, seed: int, side: int) -> None:
    """Make the intact files, or find those of the run that is taken up again."""
    plan = {"seed": seed, "side": side}
    state.mkdir(parents=True, exist_ok=True)
    if (state / _PLAN).exists():
        found = json.loads((state / _PLAN).read_text(encoding="utf-8"))
        if found != plan:
            raise UsageError(f"{state} holds a run of {found}", hint="name another folder")
        return
    ca = make_development_ca()
    signer = ManifestSigner.from_pem(ca.chain_pem, ca.key_pem)
    plain = {kind: sample(kind, side) for kind in FORMATS}
    signed = {
        kind: signer.sign(data, kind, ManifestSpec(mark_id=MARK_ID)).data for kind, data in plain.items()
    }
    parent = Asset(data=signed["image/jpeg"], media_type="image/jpeg", width=side, height=side)
    people = make_development_ca(organization="somebody")
    named = ManifestSigner.from_pem(
        ca.chain_pem, ca.key_pem, identity=IdentitySigner.from_pem(people.chain_pem, people.key_pem)
    )
    spec = ManifestSpec(
        mark_id=MARK_ID,
        source="altered",
        parent=parent,
        placed=(parent,),
        thumbnails=Thumbnails(side=64, inputs=True),
    )
    derived = [named.sign(plain[kind], kind, spec).data for kind in _WITH_PARENT]
    for number, data in enumerate([*signed.values(), *derived]):
        (state / f"source-{number:02}.bin").write_bytes(data)
    (state / ANCHORS).write_bytes(ca.root_pem)
    (state / SIGNER).write_text(signer.name, encoding="utf-8")
    (state / _PLAN).write_text(json.dumps(plan), encoding="utf-8")  # last: a folder with a plan is complete


def _part(worker: Sequence[str], state: Path, seed: int, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the rows of some files; where the process dies, its last file's row says of what."""
    command = [*worker, str(state), str(seed), ",".join(map(str, numbers))]
    running = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            running = row.get("start")
            if running is None:
                yield row
    if running is not None:
        yield {
            "file": running,
            "died": _cause(process.returncode),
            "wall_s": 0.0,
            "cpu_s": 0.0,
            "peak_mib": None,
        }
    elif process.returncode:
        raise UsageError(f"the process that verifies ended with {process.returncode} before its first file")


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit {code}"
    hangs = {signal.SIGPROF: "over a minute of the processor", signal.SIGALRM: "stuck"}
    return hangs.get(signal.Signals(-code), signal.Signals(-code).name)


def _keep(state: Path, seed: int, rows: Sequence[dict[str, Any]], seconds: float) -> None:
    sources = read_sources(state)
    for row in rows:
        if row.get("raised") or row.get("died") or row.get("forged") or _slow(row) > seconds:
            (state / f"found-{row['file']}.bin").write_bytes(mutated(sources, seed, row["file"]))


def _slow(row: dict[str, Any]) -> float:
    """Return the seconds that a file took by the clock, the best of its turns."""
    return min(float(row["wall_s"]), float(row.get("again_s", row["wall_s"])))


def _report(rows: Sequence[dict[str, Any]], seed: int, side: int) -> dict[str, Any]:
    return {
        "bench": "fuzz_verify",
        "files": len(rows),
        "formats": len(FORMATS),
        "seed": seed,
        "side": side,
        "exit_codes": dict(sorted(Counter(row["exit_code"] for row in rows if "exit_code" in row).items())),
        "raised": dict(Counter(row["raised"] for row in rows if "raised" in row)),
        "died": dict(Counter(row["died"] for row in rows if "died" in row)),
        "forged": sum(bool(row.get("forged")) for row in rows),
        "slowest_s": max(map(_slow, rows), default=0.0),
        "slowest_cpu_s": max((row["cpu_s"] for row in rows), default=0.0),
        "slowest_before_again_s": max((row["wall_s"] for row in rows), default=0.0),
        "verified_again": sum("again_s" in row for row in rows),
        "peak_mib": max((row["peak_mib"] or 0 for row in rows), default=0),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz and print one JSON document; 1 when a bound was passed."""
    parser = argparse.ArgumentParser(prog="clearmark bench fuzz_verify", description=__doc__)
    parser.add_argument("--json", action="store_true", help="it prints JSON in any case")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=56, help="pixels; from 64 on marks are searched, too")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument("--state", type=Path, help="folder in which a run can be taken up again")
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = fuzz(
        options.count,
        seed=options.seed,
        side=options.side,
        seconds=options.seconds,
        state=options.state,
        jobs=max(1, options.jobs),
    )
    sys.stdout.write(json.dumps(report) + "\n")
    fine = not (report["raised"] or report["died"] or report["forged"])
    fast = max(report["slowest_s"], report["slowest_cpu_s"]) <= options.seconds
    return 0 if fine and fast and report["peak_mib"] <= options.mib else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as failed:
        sys.exit(failed.diagnostics())
