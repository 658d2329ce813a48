"""Reports from a state folder: computed from its ledger, written in one of several forms, and on record."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core import Event, uuid7
from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    from clearmark.audits import Ledger
    from clearmark.audits.reports import Report

__all__ = ["FORMATS", "KINDS", "build_report", "parse_period", "record_report", "render"]

KINDS = ("transparency",)
"""The reports that there are."""

FORMATS = ("html", "json", "csv")
"""The forms that a report is written in; JSON is what the others are made from."""

_DAY = dt.timedelta(days=1)


def build_report(
    kind: str, ledger: Ledger, *, since_us: int, until_us: int, tenant: str | None = None
) -> Report:
    """Compute a report over the events from `since_us` up to, not including, `until_us`.

    Raises:
        UsageError: for an unknown kind or an impossible period. LedgerTampered: for a changed event.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown report {kind!r}", hint=f"one of {', '.join(KINDS)}")
    from clearmark.audits.reports import transparency

    return transparency(ledger, since_us=since_us, until_us=until_us, tenant=tenant)


def render(report: Report, form: str) -> str:
    """Return the report in one of `FORMATS`, as one text; the same report gives the same text."""
    from clearmark.audits.reports import csv, html

    writers: Mapping[str, Callable[[Report], str]] = {
        "html": html.to_html,
        "json": lambda report: report.to_json(),
        "csv": csv.to_csv,
    }
    if form not in writers:
        raise UsageError(
            f"unknown format {form!r}", hint=f"one of {', '.join(FORMATS)}; for a PDF, print the html"
        )
    return writers[form](report)


def record_report(ledger: Ledger, report: Report, *, form: str, text: str) -> None:
    """Put on record that a report was made: of what, over which checkpoint, and the digest of its text."""
    line = report.lineage
    ledger.append(
        [
            Event(
                kind="report.built",
                request_id=uuid7(),
                tenant=line.tenant or "default",
                body={
                    "report": report.kind,
                    "format": form,
                    "since_us": line.since_us,
                    "until_us": line.until_us,
                    "tree_size": line.tree_size,
                    "root": line.root,
                    "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
                },
            )
        ]
    )


def parse_period(since: str, until: str) -> tuple[int, int]:
    """Return a period in microseconds since 1970, the end excluded.

    Each end is a day (UTC, the last one included) or an ISO 8601 time, UTC unless it says otherwise.

    Raises:
        UsageError: when one of them is neither, or the period is empty.
    """
    start, _ = _moment(since)
    end, is_day = _moment(until)
    if is_day:
        end += _DAY
    if end <= start:
        raise UsageError(f"the period from {since} to {until} is empty")
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    if start < epoch:
        raise UsageError("nothing is on record before 1970")
    one = dt.timedelta(microseconds=1)
    return (start - epoch) // one, (end - epoch) // one


def _moment(text: str) -> tuple[dt.datetime, bool]:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        raise UsageError(f"{text!r} is no date", hint="for example 2026-11-01, or 2026-11-01T12:00Z") from exc
    if not 1970 <= moment.year <= 9000:
        raise UsageError(f"{text!r} is out of range", hint="for example 2026-11-01")
    is_day = len(text) <= 10
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)), is_day


def write_files(report: Report, folder: Path) -> list[Path]:
    """Write one CSV file per figure into a folder, and return their paths."""
    from clearmark.audits.reports import csv

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in csv.to_csv_files(report).items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="")
        paths.append(path)
    return paths
