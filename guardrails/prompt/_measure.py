"""Measure on what was not fitted: scores of rows whose source was left out, and the thresholds they allow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._rows import BENIGN, TWINS, Row, family
from clearmark.guardrails.prompt._training import Prepared, fit_heads, score
from clearmark.guardrails.prompt._words import HEADS
from clearmark.guardrails.prompt.evaluation import area, recall_at

__all__ = ["any_alarm", "out_of_source", "thresholds", "unseen"]

# The most that a category may alarm on, by kind of harmless prompt.
_CAPTIONS, _USERS, _TWINS = 0.002, 0.01, 0.025
_FOLDS = 2
_HARM = HEADS[1:-1]
_TOGETHER = {"captions": BENIGN, "questions": ("oai", "multijail")}
_ALWAYS_SEEN = ("captions", "diffdb")


def out_of_source(prepared: Prepared) -> NDArray[np.float64]:
    """Return log-odds for every row from models that did not see it: [rows, heads].

    Half of the rows are scored by models that had seen nothing of their source (leave one source out), half
    by models that had: users' prompts will be both like and unlike what was learnt from. Captions and users'
    prompts are always of the second kind: nobody would use a model that has seen no plain prompts.
    """
    peak = np.zeros((len(prepared.rows), len(HEADS)))
    families = prepared.families.copy()
    for group, names in _TOGETHER.items():
        families[np.isin(families, names)] = group
    unseen = unseen_rows(prepared.rows) & ~np.isin(families, _ALWAYS_SEEN)
    fold = np.array([hashlib.sha256(row.id.encode()).digest()[1] % _FOLDS for row in prepared.rows])
    held_out: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = [
        (families != name, (families == name) & unseen) for name in sorted(set(families[unseen]))
    ]
    held_out += [(fold != number, (fold == number) & ~unseen) for number in range(_FOLDS)]
    for seen, asked in held_out:
        if asked.any():
            peak[asked] = score(prepared, fit_heads(prepared, seen), asked)
    return peak


def thresholds(
    rows: Sequence[Row], probabilities: Mapping[str, NDArray[np.float64]], fixed: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return per category the lowest threshold within the allowed alarms, the alarms, and the recall.

    Categories in `fixed` keep the threshold given there.
    """
    sets = np.array([row.set for row in rows])
    names = np.array([family(name) for name in sets])
    safe = np.array([not row.unsafe for row in rows])
    captions, users, twins = np.isin(sets, BENIGN), names == "diffdb", np.isin(sets, TWINS)
    out: dict[str, dict[str, Any]] = {}
    for category, p in probabilities.items():
        y = np.array([category in row.categories for row in rows])
        threshold = max(
            _above(p[captions], _CAPTIONS), _above(p[users], _USERS), _above(p[twins], _TWINS), 0.05
        )
        threshold = fixed.get(category, min(0.999, threshold))
        out[category] = {
            "threshold": round(float(threshold), 6),
            "false_alarms": {
                name: _share(p[safe & (sets == name)], threshold) for name in sorted(set(sets[safe]))
            },
            "recall": {
                name: _share(p[y & (names == name)], threshold)
                for name in sorted(set(names[y]))
                if (y & (names == name)).sum() >= 20
            },
        }
    return out


def unseen_rows(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Return the half of the rows whose source is left out before they are scored."""
    return np.array([hashlib.sha256(row.id.encode()).digest()[0] % 2 == 1 for row in rows])


def any_alarm(
    rows: Sequence[Row], probabilities: Mapping[str, NDArray[np.float64]], limits: Mapping[str, float]
) -> dict[str, float]:
    """Return by set the share of harmless rows that any category of harm alarms on: names are none."""
    alarm = np.any([probabilities[name] >= limits[name] for name in _HARM], axis=0)
    sets = np.array([row.set for row in rows])
    safe = np.array([not row.unsafe for row in rows])
    return {name: round(float(alarm[safe & (sets == name)].mean()), 4) for name in sorted(set(sets[safe]))}


def unseen(
    rows: Sequence[Row], probabilities: Mapping[str, NDArray[np.float64]], limits: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return area and recall by source for rows whose source was left out, on the highest score.

    Scores are compared as log-odds above each category's threshold. Harmful rows stand against the harmless
    ones of their source where it has any, against captions and against users' prompts.
    """
    margins = [_logit(probabilities[name]) - _logit(np.array(limits[name])) for name in _HARM]
    worst = np.max(margins, axis=0)
    sets = np.array([row.set for row in rows])
    names = np.array([family(name) for name in sets])
    harmful = np.array([row.unsafe for row in rows])
    english = np.array([row.lang == "en" for row in rows])
    left_out = unseen_rows(rows) & english
    out: list[dict[str, Any]] = []
    for name in sorted(set(names[harmful])):
        positive = worst[left_out & harmful & (names == name)]
        for label, negative in (
            ("its harmless rows", left_out & ~harmful & (names == name) & ~np.isin(sets, ["nib_implicit"])),
            ("captions", left_out & np.isin(sets, BENIGN)),
            ("diffdb", left_out & (names == "diffdb")),
        ):
            against = worst[negative]
            if len(positive) >= 20 and len(against) >= 20:
                scores = [*positive.tolist(), *against.tolist()]
                out.append(
                    {
                        "source": name,
                        "against": label,
                        "area": round(area(scores, [True] * len(positive) + [False] * len(against)), 4),
                        "recall_at_5": round(recall_at(positive.tolist(), against.tolist(), 0.05), 4),
                        "recall_at_1": round(recall_at(positive.tolist(), against.tolist(), 0.01), 4),
                    }
                )
    return out


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))


def _above(p: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(p, 1 - share)) + 1e-6


def _share(p: NDArray[np.float64], threshold: float) -> float:
    return round(float((p >= threshold).mean()), 4)
