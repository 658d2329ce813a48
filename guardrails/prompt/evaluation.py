"""How well a prompt guard tells harmful prompts from harmless ones, on rows that a caller brings.

>>> area([0.9, 0.8, 0.2], [True, True, False])
1.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clearmark.core import Finding, Guard, Request, Stage, Subject
from clearmark.core.errors import UsageError
from clearmark.guardrails.prompt._reading import read
from clearmark.guardrails.prompt._rows import Row, family, known_categories, read_rows

__all__ = [
    "Measured",
    "Row",
    "Source",
    "area",
    "by_source",
    "changed",
    "family",
    "interval",
    "known_categories",
    "measure",
    "read_rows",
    "recall_at",
]

_CHUNK = 256


@dataclass(frozen=True)
class Measured:
    """One row, its scores by category, and the categories at or over their threshold."""

    row: Row
    scores: dict[str, float]
    tripped: frozenset[str]

    @property
    def worst(self) -> float:
        """The highest of all scores, each on the scale of its own threshold: 0.5 is the threshold."""
        return self.scores.get("", 0.0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was measured on one source. Shares come with their 95% interval (Wilson)."""

    name: str
    harmful: int
    harmless: int
    area: float | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    false_alarms: float | None
    false_alarms_interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def measure(
    guard: Guard, rows: Sequence[Row], *, change: Callable[[str], str] | None = None
) -> list[Measured]:
    """Score every row, its text changed by `change` first where one is given."""
    out: list[Measured] = []
    for first in range(0, len(rows), _CHUNK):
        some = rows[first : first + _CHUNK]
        texts = [(change(row.text) if change else row.text)[:20_000] for row in some]
        answers = guard.check([Subject(stage=Stage.PROMPT, request=Request(text)) for text in texts])
        out.extend(_measured(row, findings) for row, findings in zip(some, answers, strict=True))
    return out


def changed(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Return by set, of the harmless rows, in how many the normalisation undid something, and of how many."""
    out: dict[str, tuple[int, int]] = {}
    for row in rows:
        if not row.unsafe:
            some, count = out.get(row.set, (0, 0))
            out[row.set] = some + bool(read(row.text[:20_000]).changes), count + 1
    return out


def by_source(measured: Sequence[Measured]) -> list[Source]:
    """Return figures per source; a source of one label only is told against the captions of all others."""
    names = sorted({family(one.row.set) for one in measured})
    captions = [one.worst for one in measured if one.row.set in {"coco", "parti", "compbench", "geneval"}]
    out: list[Source] = []
    for name in names:
        own = [one for one in measured if family(one.row.set) == name]
        harmful = [one for one in own if one.row.unsafe]
        harmless = [one for one in own if not one.row.unsafe]
        against = [one.worst for one in harmless] or captions
        caught = sum(bool(one.tripped) for one in harmful)
        alarms = sum(bool(one.tripped) for one in harmless)
        out.append(
            Source(
                name=name,
                harmful=len(harmful),
                harmless=len(harmless),
                area=_area_of([one.worst for one in harmful], against),
                recall=caught / len(harmful) if harmful else None,
                recall_interval=interval(caught, len(harmful)) if harmful else None,
                false_alarms=alarms / len(harmless) if harmless else None,
                false_alarms_interval=interval(alarms, len(harmless)) if harmless else None,
            )
        )
    return out


def area(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the area under the ROC curve: how often a harmful row outranks a harmless one.

    Raises:
        UsageError: when there are not rows of both kinds.
    """
    pairs = list(zip(scores, labels, strict=True))
    found = _area_of([s for s, label in pairs if label], [s for s, label in pairs if not label])
    if found is None:
        raise UsageError("the area under the curve needs harmful and harmless rows")
    return found


def recall_at(harmful: Sequence[float], harmless: Sequence[float], false_alarms: float) -> float:
    """Return the share of harmful scores above the one that `false_alarms` of the harmless ones exceed."""
    if not harmful or not harmless:
        raise UsageError("recall needs harmful and harmless rows")
    ranked = sorted(harmless, reverse=True)
    limit = ranked[min(len(ranked) - 1, int(false_alarms * len(ranked)))]
    return sum(score > limit for score in harmful) / len(harmful)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson, JASA 22, 1927)."""
    if not count:
        return 0.0, 1.0
    z = 1.959964
    share, weight = hits / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def _measured(row: Row, findings: Sequence[Finding]) -> Measured:
    scores: dict[str, float] = {}
    tripped: set[str] = set()
    worst = 0.0
    for finding in findings:
        scores[finding.category] = max(scores.get(finding.category, 0.0), finding.score)
        threshold = finding.threshold or 0.5
        if finding.score >= threshold:
            tripped.add(finding.category)
        worst = max(worst, _rescaled(finding.score, threshold))
    return Measured(row, {**scores, "": worst}, frozenset(tripped))


def _rescaled(score: float, threshold: float) -> float:
    """Move the log-odds of `score` so that `threshold` stands at one half."""
    odds = score * (1 - threshold) / max(1e-12, threshold * (1 - score))
    return odds / (1 + odds)


def _area_of(harmful: Sequence[float], harmless: Sequence[float]) -> float | None:
    if not harmful or not harmless:
        return None
    ranked = sorted((score, label) for some, label in ((harmful, 1), (harmless, 0)) for score in some)
    total, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        # Equal scores share the mean of their ranks.
        total += sum(label for _, label in ranked[at:end]) * (at + 1 + end) / 2
        at = end
    count = len(harmful)
    return (total - count * (count + 1) / 2) / (count * len(harmless))
