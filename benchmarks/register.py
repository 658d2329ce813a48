"""The register of training data: rows a second, memory, and what a kill in the middle loses (nothing).

A synthetic Parquet file in the layout of img2dataset is imported twice: once without a break, and once by a
process that is killed (SIGKILL) half-way and started again. Both must end with the same digest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
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
def progress(rows):
    global done
    done += rows
    print(done, flush=True)
with Register(sys.argv[1]) as register:
    version = import_source(register, open_source("parquet", sys.argv[2]), dataset="rows", label=sys.argv[3],
                            progress=progress)
print(json.dumps({"digest": version.digest, "read": version.read, "held": version.held,
                  "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu,
                  "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark: a table for people, `--json` for programs."""
    parser = argparse.ArgumentParser(prog="clearmark bench register", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    report = measure(options.rows)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 0 if report["lost"] == report["doubled"] == 0 and report["same_digest"] else 1


def measure(rows: int = 1_000_000) -> dict[str, Any]:
    """Import `rows` rows twice, the second time with a kill in the middle, and compare."""
    from clearmark.provenance.training_data import Dataset, Register

    with tempfile.TemporaryDirectory() as folder:
        table, database = Path(folder) / "rows.parquet", Path(folder) / "register.db"
        _write(table, rows)
        with Register(database) as register:
            register.put_dataset(Dataset(name="rows", description="synthetic"))
        whole = _import(database, table, "whole")
        killed_at = _import(database, table, "cut", kill_at=rows // 2)["read"]
        resumed = _import(database, table, "cut")
        with Register(database) as register:
            numbers, keys = 0, set()
            for item in register.items(register.version("rows@cut")):
                numbers += 1
                keys.add(hash(item.key))
            size = database.stat().st_size
    return {
        "rows": rows,
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        "rows_per_s": rows / whole["wall_s"],
        "rows_per_cpu_s": rows / whole["cpu_s"],
        "wall_s": whole["wall_s"],
        "cpu_s": whole["cpu_s"],
        "peak_mib": max(whole["peak_mib"], resumed["peak_mib"]),
        "killed_at": killed_at,
        "resumed_rows": resumed["read"] - killed_at,
        "lost": rows - len(keys),
        "doubled": numbers - len(keys),
        "same_digest": resumed["digest"] == whole["digest"],
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
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own program
        for line in process.stdout or ():
            last = line
            if kill_at is not None and line.strip().isdecimal() and int(line) >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
    if kill_at is None:
        report: dict[str, Any] = json.loads(last)
        return report
    time.sleep(0.1)
    from clearmark.provenance.training_data import Register

    with Register(database) as register:
        return {"read": register.version(f"rows@{label}").read}


def _print(report: dict[str, Any]) -> None:
    lines = (
        ("rows", f"{report['rows']:,}"),
        ("rows a second", f"{report['rows_per_s']:,.0f}"),
        ("rows a CPU second", f"{report['rows_per_cpu_s']:,.0f}"),
        ("peak memory", f"{report['peak_mib']:,.0f} MiB"),
        ("killed after", f"{report['killed_at']:,} rows"),
        ("resumed with", f"{report['resumed_rows']:,} rows"),
        ("lost / doubled", f"{report['lost']} / {report['doubled']}"),
        ("same digest as without a kill", "yes" if report["same_digest"] else "no"),
        ("register", f"{report['database_mib']:,.0f} MiB"),
        ("load of the machine", f"{report['machine']['load']:.1f} on {report['machine']['cpus']} cores"),
    )
    for name, value in lines:
        print(f"{name:32}{value}")


if __name__ == "__main__":
    raise SystemExit(main())
