"""What one check of a verification finds, collected on the way."""

from __future__ import annotations

from clearmark.audits.ledger._records import Check

__all__ = ["Finding"]

MAX_PROBLEMS = 20
"""Most problems that a check names; it goes on counting."""


class Finding:
    """Collects the problems of one check; `done` is what it says when there are none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = ""
        self.count = 0
        self.problems: list[str] = []
        self.first_bad: int | None = None

    def bad(self, problem: str, seq: object = None) -> None:
        """Note a problem, and the event that it concerns; a `seq` that is no number is passed over."""
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        if isinstance(seq, int):
            self.blame(seq)

    def blame(self, seq: int) -> None:
        """Name an event as wrong."""
        self.first_bad = seq if self.first_bad is None else min(seq, self.first_bad)

    def check(self) -> Check:
        """Return the outcome."""
        more = f"; and {self.count - MAX_PROBLEMS} more" if self.count > MAX_PROBLEMS else ""
        detail = "; ".join(self.problems) + more if self.problems else self.done
        return Check(name=self.name, ok=not self.count, detail=detail, first_bad=self.first_bad)
