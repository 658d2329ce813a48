"""What `clearmark data` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clearmark.sdk.cli._console import say, table

if TYPE_CHECKING:
    from clearmark.provenance.training_data import Audit, ItemAudit, Summary

__all__ = ["print_audit", "print_summary"]


def print_audit(run: Audit, denied: Sequence[ItemAudit]) -> None:
    """Print the counts of a finished audit, its rules, and the items in `denied`."""
    counts = run.summary
    say(f"{counts.dataset}: {counts.allowed:,} of {counts.items:,} items may be trained on")
    say(f"  policy {counts.policy.name} {counts.policy.version}  {counts.policy.digest}")
    table("", ("rule", "items"), [(rule, f"{count:,}") for rule, count in counts.rules.most_common()])
    say(
        f"  {counts.pictures:,} pictures, {counts.clusters:,} different; {counts.with_copies:,} have copies, "
        f"at most {counts.largest:,}; duplication factor {counts.duplication_factor:.3f}"
    )
    if denied:
        table(
            "denied, the first of them",
            ("number", "item", "rule", "because"),
            [(item.number, item.key, item.rule, item.because) for item in denied],
        )


def print_summary(counts: Summary) -> None:
    """Print what a version holds, a table for each question."""
    version = counts.version
    states = f"{version.held:,} held, {version.quarantined:,} in quarantine, {version.removed:,} removed"
    say(f"{version.name}: {version.read:,} items, {states}")
    say(f"  {counts.different:,} different files, {counts.size:,} bytes")
    say(f"  {version.digest or 'the import is not complete'}")
    for title, rows in (
        ("licence", counts.licences),
        (f"creator ({counts.creators_total:,} named)", counts.creators),
        ("category", counts.categories),
        ("opt-out", counts.opt_outs),
        ("signal", counts.signals),
        ("quarantine", counts.quarantine),
    ):
        if rows:
            table("", (title, "items"), [(name or "(none)", f"{count:,}") for name, count in rows.items()])
