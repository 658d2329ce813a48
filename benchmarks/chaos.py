"""Proof of reliability: kill, cut the power, break the disk, tamper and forge by the thousand.

    clearmark bench chaos --kills 2000 --cuts 2000 --tamperings 1000 --proofs 1000000

Real processes write to real ledgers. What is counted is what must not be: acknowledged events that are lost,
doubled or out of place, damage that is not found, an alarm over a sound log, a false proof that is accepted.
The exit code is 1 when any of that happened. The same seed tampers and forges alike; processes that are
killed run as the machine lets them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clearmark.benchmarks._chaos_disk import faults, power_cuts
from clearmark.benchmarks._chaos_kills import kills
from clearmark.benchmarks._chaos_proofs import proofs
from clearmark.benchmarks._chaos_tampering import KINDS, clean_logs, tamperings

__all__ = ["bad", "main", "measure"]

NEVER = ("lost", "doubled", "gaps", "tampered", "unopened", "silent", "alarms", "accepted", "raised")
"""Counts that must be zero, wherever they stand."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for: tables for people, `--json` for programs; 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="clearmark bench chaos", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=2000, help="kill -9 of a process that writes")
    parser.add_argument("--cuts", type=int, default=2000, help="power cuts at a random call")
    parser.add_argument("--faults", type=int, default=300, help="calls to the disk that fail")
    parser.add_argument("--tamperings", type=int, default=1000, help="of each kind")
    parser.add_argument("--kinds", nargs="+", default=[], metavar="WORDS", help="only kinds named so in part")
    parser.add_argument("--clean", type=int, default=1000, help="sound logs, over which no alarm is right")
    parser.add_argument("--proofs", type=int, default=1_000_000, help="changed proofs and notes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    counts = {name: getattr(options, name) for name in _PARTS}
    kinds = tuple(kind for kind in KINDS if any(words in kind for words in options.kinds))
    if options.kinds and not kinds:
        parser.error("no kind of tampering is named so; they are:\n  " + "\n  ".join(KINDS))
    report = measure(**counts, seed=options.seed, kinds=kinds)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    return 1 if bad(report) else 0


_PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "kills": kills,
    "cuts": power_cuts,
    "faults": faults,
    "tamperings": tamperings,
    "clean": clean_logs,
    "proofs": proofs,
}


def measure(*, seed: int = 1, kinds: tuple[str, ...] = (), **counts: int) -> dict[str, Any]:
    """Run so many of each of `kills`, `cuts`, `faults`, `tamperings`, `clean` and `proofs`; without, none.

    Of the tamperings, with `kinds` only these.
    """
    report: dict[str, Any] = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "seed": seed,
    }
    for name, part in _PARTS.items():
        count = counts.get(name, 0)
        if count:
            more = {"kinds": kinds} if name == "tamperings" else {}
            with _bar(name, count * (len(kinds or KINDS) if more else 1)) as moved:
                report[name] = part(count, seed=seed, moved=moved, **more)
    return report


def bad(report: dict[str, Any]) -> list[str]:
    """Return what must not have happened and did, in words."""
    out = [
        f"{part}: {row[name]} {name}"
        for part, row in report.items()
        if isinstance(row, dict)
        for name in NEVER
        if row.get(name)
    ]
    for kind, row in report.get("tamperings", {}).get("by_kind", {}).items():
        short = [name for name in ("found", "named") if row[name] < row["done"]]
        out += [f"{kind}: {row['done'] - row[name]} not {name}" for name in short]
    return out


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.update(task, advance=step)


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for name, row in report.items():
        if not isinstance(row, dict):
            continue
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("figure")
        table.add_column("", justify="right")
        for key, value in row.items():
            if isinstance(value, int | float):
                table.add_row(key.replace("_", " "), f"{value:,}")
            elif isinstance(value, dict):
                for inner, counted in value.items():
                    table.add_row(f"  {inner}", _words(counted))
        console.print(table)
    wrong = bad(report)
    console.print("\n".join(wrong) if wrong else "nothing that must not be")


def _words(counted: object) -> str:
    if not isinstance(counted, dict):
        return str(counted)
    return ", ".join(f"{value:,} {key}" for key, value in counted.items() if isinstance(value, int))


if __name__ == "__main__":
    raise SystemExit(main())
