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
from collections import Counter
from collections.abc import Iterator, Sequence
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
"""How often a file that was slow by the clock is verified again."""

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
    worker: Sequence[str] = _WORKER,
) -> dict[str, Any]:
    """Verify `count` damaged files; `side` is the pictures', from 64 on watermarks are searched, too.

    Raises:
        UsageError: a `state` of another seed or side.
    """
    if state is None:
        with tempfile.TemporaryDirectory() as folder:
            return fuzz(count, seed=seed, side=side, seconds=seconds, state=Path(folder), worker=worker)
    _prepare(state, seed, side)
    rows = _known(state)
    with (state / _ROWS).open("a", encoding="utf-8") as log:
        missing = [number for number in range(count) if number not in rows]
        while missing:
            start = missing[0]
            end = min(start + PART, count, *(n for n in rows if n > start))
            for row in _part(worker, state, seed, start, end):
                rows[row["file"]] = row
                log.write(json.dumps(row) + "\n")
                log.flush()
            missing = [number for number in missing if number not in rows]
        for row in rows.values():
            if row["file"] < count and row["wall_s"] > seconds and "again_s" not in row:
                alone = [one for _ in range(_AGAIN) for one in _alone(worker, state, seed, row["file"])]
                row["again_s"] = min(one["wall_s"] for one in alone)
                log.write(json.dumps(row) + "\n")
                log.flush()
    done = [rows[number] for number in range(count)]
    _keep(state, seed, done, seconds)
    return _report(done, seed, side)


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


def _known(state: Path) -> dict[int, dict[str, Any]]:
    """Return the rows of a run that was cut off; its last line may be half a line."""
    if not (state / _ROWS).exists():
        return {}
    text = (state / _ROWS).read_text(encoding="utf-8")
    whole, _, half = text.rpartition("\n")
    if half:
        (state / _ROWS).write_text(whole + "\n" if whole else "", encoding="utf-8")
    return {row["file"]: row for row in map(json.loads, whole.splitlines())}


def _part(worker: Sequence[str], state: Path, seed: int, start: int, end: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of some files; where the process dies, its last file's row says of what."""
    command = [*worker, str(state), str(seed), str(start), str(end)]
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


def _alone(worker: Sequence[str], state: Path, seed: int, number: int) -> Iterator[dict[str, Any]]:
    yield from _part(worker, state, seed, number, number + 1)


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
    parser.add_argument("--state", type=Path, help="folder in which a run can be taken up again")
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = fuzz(
        options.count, seed=options.seed, side=options.side, seconds=options.seconds, state=options.state
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
