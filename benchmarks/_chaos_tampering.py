"""What is done to ledgers, and whether it is found: tampering by the thousand, and none at all."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Each of these adds its kinds to the register.
from clearmark.audits import verify_database, verify_export
from clearmark.benchmarks import _chaos_events, _chaos_exports, _chaos_files  # noqa: F401
from clearmark.benchmarks._chaos_kinds import KINDS, Expected
from clearmark.benchmarks._chaos_ledgers import Copy, build, clean, opened
from clearmark.core.errors import Error

__all__ = ["KINDS", "Expected", "clean_logs", "tamperings"]

ORIGINALS = 4


def look(copy: Copy, expected: Expected) -> tuple[bool, int | None, str]:
    """Look for tampering as `expected.by` does: whether it was found, where, and in which words."""
    signer = copy.original.signer
    try:
        if expected.by == "export":
            verify_export(copy.folder / "export.jsonl", signer.verifier_key)
            return False, None, ""
        if expected.by == "operator":
            with opened(copy.path, signer) as ledger:
                report = ledger.verify()
        else:
            kept = copy.original.folder / "kept.log" if expected.by == "auditor" else copy.log
            report = verify_database(copy.path, verifier_key=signer.verifier_key, checkpoint_log=kept)
    except Error as exc:
        return True, None, exc.message
    words = "; ".join(check.detail for check in report.checks if not check.ok)
    return not report.ok, report.first_bad, words


def tamperings(
    count: int, *, seed: int, moved: Callable[[int], None], kinds: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Tamper `count` times in each of the `kinds`, or all, and look whether it is found and named."""
    rows: dict[str, dict[str, Any]] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = [build(folder / f"original-{n}", seed * ORIGINALS + n) for n in range(ORIGINALS)]
        for kind in kinds or KINDS:
            found = named = 0
            missed: list[str] = []
            for turn in range(count):
                rng = random.Random(f"{seed}/{kind}/{turn}")  # noqa: S311  repeatable, not secret
                copy = Copy(rng.choice(originals), folder / "copy")
                expected = KINDS[kind](copy, rng)
                seen, first, words = look(copy, expected)
                right = seen and (
                    first == expected.seq if expected.seq is not None else expected.words in words
                )
                found += seen
                named += right
                if not right and len(missed) < 5:
                    want = expected.words if expected.seq is None else expected.seq
                    missed.append(f"{turn}: expected {want!r}, got {first}: {words[:200]}")
                moved(1)
            rows[kind] = {"done": count, "found": found, "named": named}
            if missed:
                rows[kind]["missed"] = missed
    total = sum(row["done"] for row in rows.values())
    return {
        "kinds": len(rows),
        "done": total,
        "found": sum(row["found"] for row in rows.values()),
        "named": sum(row["named"] for row in rows.values()),
        "by_kind": rows,
        "seconds": round(time.perf_counter() - started, 1),
    }


def clean_logs(count: int, *, seed: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Verify `count` ledgers to which nothing was done, as operator and as auditor: no alarm is right."""
    alarms = events = 0
    first: list[str] = []
    started = time.perf_counter()
    for turn in range(count):
        rng = random.Random(f"{seed}/clean/{turn}")  # noqa: S311  repeatable, not secret
        with tempfile.TemporaryDirectory() as name:
            path, signer = clean(Path(name), rng)
            with opened(path, signer) as ledger:
                reports = [ledger.verify()]
            reports.append(verify_database(path, verifier_key=signer.verifier_key))
            events += reports[0].events
            bad = [check.detail for report in reports for check in report.checks if not check.ok]
            export = path.with_name("export.jsonl")
            if export.exists():
                try:
                    verify_export(export, signer.verifier_key)
                except Error as exc:
                    bad.append(exc.message)
            alarms += bool(bad)
            first += [f"{turn}: {'; '.join(bad)}"] if bad and len(first) < 5 else []
        moved(1)
    return {
        "logs": count,
        "events": events,
        "alarms": alarms,
        **({"first": first} if first else {}),
        "seconds": round(time.perf_counter() - started, 1),
    }
