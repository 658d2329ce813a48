"""The transparency report: one pass over the events of a period, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearmark.audits.reports._decisions import Decisions
from clearmark.audits.reports._figures import Lineage, Report
from clearmark.audits.reports._operations import Operations
from clearmark.audits.reports._people import People
from clearmark.audits.reports._reading import Tally
from clearmark.audits.reports._traffic import Traffic
from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    from clearmark.audits.ledger import Ledger

__all__ = ["MAX_DAYS", "transparency"]

MAX_DAYS = 3660
"""Longest period of a report, in days."""

_DAY_US = 86_400_000_000
_ORDER = (
    "requests",
    "pictures",
    "verdicts",
    "categories",
    "rules",
    "reviews",
    "precision",
    "overrides",
    "review_time",
    "marks",
    "latency",
    "failures",
    "guard_failures",
    "erasures",
    "changes",
    "policies",
    "guards",
    "generators",
    "kinds",
)


def transparency(ledger: Ledger, *, since_us: int, until_us: int, tenant: str | None = None) -> Report:
    """Report on what is on record from `since_us` up to, not including, `until_us` (microseconds since 1970).

    The rows are read as they were hashed; a changed one ends the report with an error.

    Raises:
        UsageError: for a period that ends before it begins, or is longer than `MAX_DAYS`.
        LedgerTampered: when an event is not what was recorded.
    """
    if not 0 <= since_us < until_us:
        raise UsageError("the period of a report must end after it begins")
    if until_us - since_us > MAX_DAYS * _DAY_US:
        raise UsageError(f"a report covers at most {MAX_DAYS:,} days")
    tallies: tuple[Tally, ...] = (Traffic(), Decisions(), People(), Operations())
    # What is appended while the report is computed is not chased after.
    size = ledger.size
    last, count, pruned = None, 0, 0
    for event in ledger.events(since=since_us, until=until_us, tenant=tenant):
        if event.seq >= size:
            break
        if event.kind.startswith("report."):
            continue
        last = event
        if event.pruned:
            pruned += 1
            continue
        count += 1
        for tally in tallies:
            tally.see(event)
    if last is None:
        head = ledger.checkpoint()
        tree_size, root = head.size, head.root
    else:
        proof = ledger.receipt(last.event_id)
        tree_size, root = proof.tree_size, proof.root
    figures = {figure.id: figure for tally in tallies for figure in tally.figures()}
    return Report(
        kind="transparency",
        title="Transparency report",
        lineage=Lineage(
            origin=ledger.origin,
            verifier_key=ledger.verifier_key,
            tree_size=tree_size,
            root=root,
            last_seq=-1 if last is None else last.seq,
            events=count,
            pruned=pruned,
            since_us=since_us,
            until_us=until_us,
            tenant=tenant,
        ),
        figures=tuple(figures[name] for name in _ORDER),
    )
