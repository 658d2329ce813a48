"""What a guard is: the protocol, what it looks at, and what comes back of a run of guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from clearmark.core.assets import Asset
from clearmark.core.findings import Finding
from clearmark.core.requests import Request, Stage

__all__ = ["Failure", "Guard", "Observation", "Subject"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a guard looks at: the request, and at the media stages the picture in question."""

    stage: Stage
    request: Request
    asset: Asset | None = None


@runtime_checkable
class Guard(Protocol):
    """Measures; never decides. The batch is the primitive.

    `stages` says where the guard runs, `categories` what it measures. `check` returns one list per subject,
    in order, with at least one finding for every category that it measures; it never returns None and raises
    `GuardUnavailable` when it cannot measure.
    """

    @property
    def name(self) -> str:
        """A unique, stable name, such as `prompt-lexicon`."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same input could score differently."""
        ...

    @property
    def stages(self) -> frozenset[Stage]:
        """The stages at which the guard runs."""
        ...

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that the guard measures."""
        ...

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Measure every subject of `batch`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A guard that could not measure a subject, and why (an error's class and message, no user data)."""

    guard: str
    guard_version: str
    categories: tuple[str, ...]
    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything that a run of guards learnt about one subject: what was found and what could not be."""

    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """The highest score of each category."""
        out: dict[str, float] = {}
        for finding in self.findings:
            out[finding.category] = max(out.get(finding.category, 0.0), finding.score)
        return out

    @property
    def facts(self) -> dict[str, bool | int | float | str]:
        """The facts of all findings, later ones over earlier ones."""
        out: dict[str, bool | int | float | str] = {}
        for finding in self.findings:
            out.update(finding.facts)
        return out
