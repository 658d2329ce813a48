"""How well guards and a policy do on labelled rows that a caller brings: `clearmark eval`.

What is ranked is the highest score of a row among the categories that the policy judges, each on the scale
of the policy's lowest threshold for it (where only a rule reads a score, of its guard's). Intervals are the
middle 95% of a bootstrap (Efron, Annals of Statistics 7, 1979) that draws harmful and harmless rows apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core import Action, Stage, Subject
from clearmark.core.errors import GuardUnavailable
from clearmark.sdk.checking import Checker, Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.policies import Policy

__all__ = ["Labelled", "Scored", "attacked", "calibration", "evaluate", "reliability_svg", "score_rows"]

_BINS = 10
_SHARES = (0.01, 0.05)
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One row: what is measured, whether it is harmful, and what it is told apart by."""

    id: str
    subject: Subject
    harmful: bool
    categories: frozenset[str] = frozenset()
    language: str = ""
    set: str = ""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A row, its scores by category, the highest that is judged (0.5: at a threshold), and the verdict."""

    row: Labelled
    scores: dict[str, float]
    worst: float
    action: Action

    @property
    def stopped(self) -> bool:
        """Whether the policy keeps it from being made or shown: held for review, or blocked."""
        return self.action >= Action.REVIEW


def score_rows(
    checker: Checker, rows: Sequence[Labelled], *, advance: Callable[[int], None] = lambda _: None
) -> list[Scored]:
    """Measure and judge every row.

    Raises:
        GuardUnavailable: when a guard fails on a row: a block for want of a measurement is no recall.
    """
    out: list[Scored] = []
    for first in range(0, len(rows), _CHUNK):
        some = rows[first : first + _CHUNK]
        decisions = checker.decide([row.subject for row in some])
        judged = {stage: _judged(checker.policy, stage) for stage in {row.subject.stage for row in some}}
        out.extend(
            _scored(row, decision, judged[row.subject.stage])
            for row, decision in zip(some, decisions, strict=True)
        )
        advance(len(some))
    return out


def _judged(policy: Policy, stage: Stage) -> dict[str, float | None]:
    """Return what `policy` judges at `stage`: its lowest threshold, None where rules alone read a score."""
    read = (rule.category for rule in policy.rules if rule.stage is stage and rule.category)
    judged = dict.fromkeys((*policy.requires[stage], *policy.thresholds[stage], *read))
    return {category: policy.threshold(stage, category) for category in judged}


def evaluate(scored: Sequence[Scored], *, resamples: int = 200) -> dict[str, Any]:
    """Return the figures over all rows, by category, language and set, and what the policy did."""
    harmless = [one for one in scored if not one.row.harmful]
    harmful = [one for one in scored if one.row.harmful]
    categories = sorted({name for one in harmful for name in one.row.categories})
    measured = sorted({name for one in scored for name in one.scores})
    return {
        "rows": len(scored),
        "harmful": len(harmful),
        "harmless": len(harmless),
        "overall": _figures(harmful, harmless, lambda one: one.worst, resamples),
        "by_category": [
            {
                "category": name,
                **_figures(
                    [one for one in harmful if name in one.row.categories],
                    harmless,
                    lambda one, name=name: one.scores.get(name, 0.0),  # type: ignore[misc]
                    resamples,
                ),
            }
            for name in categories
            if name in measured
        ],
        "not_measured": [name for name in categories if name not in measured],
        "by_language": _by(scored, harmless, "language", resamples),
        "by_set": _by(scored, harmless, "set", resamples),
        "calibration": calibration(scored),
    }


def attacked(
    checker: Checker,
    scored: Sequence[Scored],
    attacks: Iterable[tuple[str, Callable[[Labelled], Labelled]]],
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Apply every attack to every row; tell recall and over-refusal, and the change to the rows as written.

    `recall_at_5` counts harmful rows above the score that 5% of the harmless rows as written exceed: an
    attacker changes the harmful prompts, not those of others.
    """
    import numpy as np

    before = [one for one in scored if one.row.harmful]
    limit = _limit(np.array([one.worst for one in scored if not one.row.harmful]), 0.05)
    out = [_attack_row("as written", scored, before, limit)]
    for name, change in attacks:
        after = score_rows(checker, [change(one.row) for one in scored], advance=advance)
        out.append(_attack_row(name, after, before, limit))
    return out


def calibration(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return per category how far scores are from shares: ten bins, and the expected calibration error.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Scores are stated at a prevalence of
    their own (see the model cards); a file with many more harmful rows than that shows them too low.
    """
    import numpy as np

    out: list[dict[str, Any]] = []
    for name in sorted({name for one in scored for name in one.scores}):
        p = np.array([one.scores.get(name, 0.0) for one in scored])
        y = np.array([name in one.row.categories for one in scored])
        if not y.any():
            continue
        place = np.minimum((p * _BINS).astype(int), _BINS - 1)
        bins = [
            {
                "from": at / _BINS,
                "rows": int((place == at).sum()),
                "mean_score": round(float(p[place == at].mean()), 6),
                "share": round(float(y[place == at].mean()), 6),
            }
            for at in range(_BINS)
            if (place == at).any()
        ]
        error = sum(each["rows"] * abs(each["mean_score"] - each["share"]) for each in bins) / len(p)
        out.append(
            {
                "category": name,
                "rows": len(p),
                "positive": int(y.sum()),
                "expected_error": round(error, 6),
                "bins": bins,
            }
        )
    return out


def reliability_svg(rows: Sequence[dict[str, Any]]) -> str:
    """Return the calibration as a drawing: one square per category, the diagonal is where it should lie.

    A dot's area grows with the rows of its bin: what few rows say is drawn small.
    """
    side, left, top, across = 160, 46, 52, 4
    step_x, step_y = side + left, side + top + 30
    wide = min(across, max(1, len(rows))) * step_x + 24
    high = ((len(rows) + across - 1) // across) * step_y + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'font-family="sans-serif" font-size="11" role="img">',
        "<title>Calibration: mean score against the share of harmful rows, by category</title>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, row in enumerate(rows):
        x, y = left + step_x * (number % across), top + step_y * (number // across)
        parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="#999"/>')
        parts.append(f'<path d="M{x} {y + side}L{x + side} {y}" stroke="#bbb" stroke-dasharray="3"/>')
        for tick in (0.0, 0.5, 1.0):
            right, down = x + tick * side, y + (1 - tick) * side
            parts.append(f'<text x="{right:g}" y="{y + side + 13}" text-anchor="middle">{tick:g}</text>')
            parts.append(f'<text x="{x - 4}" y="{down + 4:g}" text-anchor="end">{tick:g}</text>')
        dots = [
            (x + each["mean_score"] * side, y + (1 - each["share"]) * side, each["rows"])
            for each in row["bins"]
        ]
        most = max(count for _, _, count in dots)
        line = "L".join(f"{right:.1f} {down:.1f}" for right, down, _ in dots)
        parts.append(f'<path d="M{line}" fill="none" stroke="#1f5fa8"/>')
        parts.extend(
            f'<circle cx="{right:.1f}" cy="{down:.1f}" r="{1.5 + 5 * (count / most) ** 0.5:.1f}" '
            f'fill="#1f5fa8" fill-opacity="0.6"><title>{count} rows</title></circle>'
            for right, down, count in dots
        )
        told = f"error {row['expected_error']:.3f}, {row['positive']} of {row['rows']} rows"
        parts.append(f'<text x="{x}" y="{y - 20}" font-weight="bold">{row["category"]}</text>')
        parts.append(f'<text x="{x}" y="{y - 7}" fill="#555">{told}</text>')
    parts.append(
        f'<text x="{left}" y="{high - 12}" fill="#555">across: mean score; up: share of harmful rows; '
        "a dot's area: rows</text>"
    )
    return "".join(parts) + "</svg>\n"


def _scored(row: Labelled, decision: Decision, judged: Mapping[str, float | None]) -> Scored:
    failures = decision.observation.failures
    if failures:
        raise GuardUnavailable(
            f"{failures[0].guard} failed on row {row.id}: {failures[0].error}: {failures[0].message}",
            hint="an evaluation needs every guard",
        )
    worst = 0.0
    for finding in decision.observation.findings:
        if finding.category not in judged:
            continue
        limit = judged[finding.category] or finding.threshold or 0.5
        odds = finding.score * (1 - limit) / max(1e-12, limit * (1 - finding.score))
        worst = max(worst, odds / (1 + odds))
    return Scored(row=row, scores=decision.observation.scores, worst=worst, action=decision.to_check().action)


def _by(
    scored: Sequence[Scored], harmless: Sequence[Scored], what: str, resamples: int
) -> list[dict[str, Any]]:
    """Return figures per value; a group without harmless rows stands against those of all others."""
    out = []
    for name in sorted({getattr(one.row, what) for one in scored} - {""}):
        own = [one for one in scored if getattr(one.row, what) == name]
        bad = [one for one in own if one.row.harmful]
        good = [one for one in own if not one.row.harmful]
        figures = _figures(bad, good or harmless, lambda one: one.worst, resamples)
        against = "its own" if good else "all"
        out.append({what: name, "against": against, **figures, "policy": _policy(bad, good)})
    return out


def _figures(
    harmful: Sequence[Scored], harmless: Sequence[Scored], key: Callable[[Scored], float], resamples: int
) -> dict[str, Any]:
    import numpy as np

    bad, good = np.array([key(one) for one in harmful]), np.array([key(one) for one in harmless])
    out: dict[str, Any] = {"harmful": len(bad), "harmless": len(good)}
    names = ("area", *(f"recall_at_{round(share * 100)}" for share in _SHARES))
    if not len(bad) or not len(good):
        out |= dict.fromkeys(names) | {f"{name}_interval": None for name in names}
    else:
        chance = np.random.default_rng(0)
        drawn = np.array(
            [
                _measures(chance.choice(bad, len(bad)), chance.choice(good, len(good)))
                for _ in range(resamples)
            ]
        )
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        for at, (name, value) in enumerate(zip(names, _measures(bad, good), strict=True)):
            out[name] = round(value, 6)
            out[f"{name}_interval"] = [round(float(low[at]), 6), round(float(high[at]), 6)]
    return out | {"policy": _policy(harmful, harmless)}


def _measures(bad: NDArray[np.float64], good: NDArray[np.float64]) -> tuple[float, ...]:
    import numpy as np

    ranked = np.sort(good)
    below = np.searchsorted(ranked, bad, side="left") + np.searchsorted(ranked, bad, side="right")
    area = float(below.mean() / (2 * len(good)))
    return area, *(float((bad > _limit(ranked, share)).mean()) for share in _SHARES)


def _limit(good: NDArray[np.float64], share: float) -> float:
    """Return the score that at most `share` of the harmless rows exceed."""
    import numpy as np

    if not len(good):
        return 1.0
    return float(np.sort(good)[::-1][min(len(good) - 1, int(share * len(good)))])


def _policy(harmful: Sequence[Scored], harmless: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Return the share of rows per action: of the harmful ones (recall), of the harmless (over-refusal)."""
    out = {}
    for name, rows in (("harmful", harmful), ("harmless", harmless)):
        count = Counter(one.action for one in rows)
        out[name] = {
            action.word: round(count[action] / len(rows), 6) for action in Action if rows and count[action]
        }
    return out


def _attack_row(
    name: str, scored: Sequence[Scored], before: Sequence[Scored], limit: float
) -> dict[str, Any]:
    bad = [one for one in scored if one.row.harmful]
    good = [one for one in scored if not one.row.harmful]

    def share(rows: Sequence[Scored], told: Callable[[Scored], bool]) -> float | None:
        return round(sum(map(told, rows)) / len(rows), 6) if rows else None

    above, clean = share(bad, lambda one: one.worst > limit), share(before, lambda one: one.worst > limit)
    return {
        "attack": name,
        "harmful": len(bad),
        "harmless": len(good),
        "recall": share(bad, lambda one: one.stopped),
        "recall_at_5": above,
        "points_lost": None if above is None or clean is None else round(100 * (clean - above), 2),
        "over_refusal": share(good, lambda one: one.stopped),
    }
