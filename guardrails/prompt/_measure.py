"""Measure on what was not fitted: scores of rows whose source was left out, and the thresholds they allow."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._rows import BENIGN, TWINS, Row, family
from clearmark.guardrails.prompt._training import Prepared, fit_heads, score
from clearmark.guardrails.prompt._words import HEADS

__all__ = ["out_of_source", "thresholds"]

# The most that a category may alarm on, by kind of harmless prompt.
_CAPTIONS, _USERS, _TWINS = 0.002, 0.01, 0.01
_FOLDS = 2
_TOGETHER = {"captions": BENIGN, "questions": ("oai", "multijail")}


def out_of_source(prepared: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log-odds for every row from models that did not see it: [rows, heads], whole and window.

    Half of the rows are scored by models that had seen nothing of their source (leave one source out), half
    by models that had: users' prompts will be both like and unlike what was learnt from.
    """
    shape = (len(prepared.rows), len(HEADS))
    whole, peak = np.zeros(shape), np.zeros(shape)
    families = prepared.families.copy()
    for group, names in _TOGETHER.items():
        families[np.isin(families, names)] = group
    coin = np.array([zlib.crc32(row.id.encode()) % 2 for row in prepared.rows]).astype(bool)
    fold = np.array([zlib.crc32(b"fold" + row.id.encode()) % _FOLDS for row in prepared.rows])
    held_out: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = [
        ((families != name), (families == name) & coin) for name in sorted(set(families))
    ]
    held_out += [(fold != number, (fold == number) & ~coin) for number in range(_FOLDS)]
    for seen, asked in held_out:
        whole[asked], peak[asked] = score(prepared, fit_heads(prepared, seen), asked)
    return whole, peak


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


def _above(p: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(p, 1 - share)) + 1e-6


def _share(p: NDArray[np.float64], threshold: float) -> float:
    return round(float((p >= threshold).mean()), 4)
