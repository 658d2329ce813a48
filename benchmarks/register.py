"""The register of training data: rows a second, memory, and what a kill in the middle loses (nothing).

A synthetic Parquet file in the layout of img2dataset is imported by a process that is killed (SIGKILL) half
way and started again. With `--twice` it is imported once more without a break: both must end with one digest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearmark.core.optional import import_optional

__all__ = ["main", "measure"]

_GROUP = 50_000
_LICENCES = ("CC0-1.0", "https://creativecommons.org/licenses/by/4.0/", "CC BY-SA 4.0", "CC BY-NC 2.0", "")
_CHILD = """
import json, resource, sys, time
from clearmark.provenance.training_data import Register, import_source, open_source
wall, cpu, done = time.perf_counter(), time.process_time(), 0
def report(digest):
    print(json.dumps({
        "read": done,
        "digest": digest,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }), flush=True)
def progress(rows):
    global done
    done += rows
    if done % 10_000 == 0:
        report("")
with Register(sys.argv[1]) as register:
    version = import_source(register, open_source("parquet", sys.argv[2]), dataset="rows", label=sys.argv[3],
                            progress=progress)
report(version.digest)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench register", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--twice", action="store_true", help="import once more without a break, and compare")
    options = parser.parse_args(arguments)
    report = measure(options.rows, twice=options.twice)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 0 if report["lost"] == report["doubled"] == 0 and report["same_digest"] is not False else 1


def measure(rows: int = 1_000_000, *, twice: bool = False) -> dict[str, Any]:
    """Import `rows` rows with a kill in the middle, count what is on record, and compare where asked."""
    from clearmark.provenance.training_data import Dataset, Register

    with tempfile.TemporaryDirectory() as folder:
        table, database = Path(folder) / "rows.parquet", Path(folder) / "register.db"
        _write(table, rows)
        with Register(database) as register:
            register.put_dataset(Dataset(name="rows", description="synthetic"))
        first = _import(database, table, "cut", kill_at=rows // 2)
        with Register(database) as register:
            killed_at = register.version("rows@cut").read
        second = _import(database, table, "cut")
        with contextlib.closing(sqlite3.connect(database)) as raw:  # counted without the code under test
            numbers, keys = raw.execute("SELECT count(*), count(DISTINCT key) FROM training_item").fetchone()
        size = database.stat().st_size
        whole = _import(database, table, "whole") if twice else None
    timed = first["read"] + second["read"] - killed_at  # what a kill cut off between two reports is not timed
    wall, cpu = first["wall_s"] + second["wall_s"], first["cpu_s"] + second["cpu_s"]
    return {
        "rows": rows,
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        "rows_per_s": timed / wall,
        "rows_per_cpu_s": timed / cpu,
        "share_of_a_core": cpu / wall,
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mib": max(first["peak_mib"], second["peak_mib"]),
        "killed_at": killed_at,
        "resumed_rows": second["read"] - killed_at,
        "lost": rows - keys,
        "doubled": numbers - keys,
        "same_digest": whole["digest"] == second["digest"] if whole else None,
        "database_mib": size / 1024**2,
    }


def _write(path: Path, rows: int) -> None:
    pa = import_optional("pyarrow", extra="data")
    pq = import_optional("pyarrow.parquet", extra="data")
    writer = None
    for start in range(0, rows, _GROUP):
        numbers = range(start, min(rows, start + _GROUP))
        group = pa.table(
            {
                "key": [f"{n:09}" for n in numbers],
                "url": [f"https://images{n % 4999}.example/{n % 97}/{n}.jpg" for n in numbers],
                "caption": [f"a photograph of thing {n % 1013} beside thing {n % 7919}" for n in numbers],
                "license": [_LICENCES[n % len(_LICENCES)] for n in numbers],
                "status": ["success"] * len(numbers),
                "original_width": [512 + n % 512 for n in numbers],
                "original_height": [384 + n % 512 for n in numbers],
                "punsafe": [(n % 1000) / 1000 for n in numbers],
            }
        )
        writer = writer or pq.ParquetWriter(path, group.schema)
        writer.write_table(group)
    if writer is not None:
        writer.close()


def _import(database: Path, table: Path, label: str, *, kill_at: int | None = None) -> dict[str, Any]:
    """Import in a process of its own; with `kill_at`, kill it once it has reported that many rows."""
    command = [sys.executable, "-c", _CHILD, str(database), str(table), label]
    report: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own program
        for line in process.stdout or ():
            report = json.loads(line)
            if kill_at is not None and report["read"] >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
    return report


def _print(report: dict[str, Any]) -> None:
    same = {True: "yes", False: "no", None: "not compared (--twice)"}[report["same_digest"]]
    lines = (
        ("rows", f"{report['rows']:,}"),
        ("rows a second", f"{report['rows_per_s']:,.0f} with {report['share_of_a_core']:.0%} of a core"),
        ("rows a CPU second", f"{report['rows_per_cpu_s']:,.0f}"),
        ("peak memory", f"{report['peak_mib']:,.0f} MiB"),
        ("killed after", f"{report['killed_at']:,} rows"),
        ("resumed with", f"{report['resumed_rows']:,} rows"),
        ("lost / doubled", f"{report['lost']} / {report['doubled']}"),
        ("same digest as without a kill", same),
        ("register", f"{report['database_mib']:,.0f} MiB"),
        ("load of the machine", f"{report['machine']['load']:.1f} on {report['machine']['cpus']} cores"),
    )
    for name, value in lines:
        print(f"{name:32}{value}")


if __name__ == "__main__":
    raise SystemExit(main())
