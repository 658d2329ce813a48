"""Measure on what was not fitted: held-out scores, the joint limit of false alarms, figures by source.

Rows are split three ways by digests of their ids, so that no split follows another: which fold scores them,
which of them are scored by models that saw nothing of their source, and which the limit is chosen on. What is
reported is never what something was chosen on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._rows import BENIGN, TWINS, Row, family
from clearmark.guardrails.prompt._words import HEADS
from clearmark.guardrails.prompt.evaluation import area, interval, recall_at

__all__ = [
    "BUDGETS",
    "HARMLESS",
    "HeldOut",
    "chosen_on",
    "held_out",
    "joint_limit",
    "left_out",
    "shares",
    "unseen",
]

# The most that all categories of harm together may alarm on, by kind of harmless prompt.
BUDGETS: Mapping[str, tuple[Sequence[str], float]] = {
    "captions": (BENIGN, 0.005),
    "near-miss twins": (TWINS[:1], 0.018),
    "users' prompts": (("diffdb_refl", "diffdb_test"), 0.04),
}

HARMLESS: Sequence[Sequence[str]] = [names for names, _ in BUDGETS.values()]
"""The kinds of harmless prompt, as the sets of each."""

_FOLDS = 2
_ALWAYS_SEEN = ("captions", "diffdb")

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class HeldOut:
    """Log-odds of every row [rows, heads] by models that were not fitted on it.

    `known` by models that saw other rows of its source, `unknown` by models that saw none (captions and
    users' prompts have no `unknown`: nobody would use a model that has seen no plain prompts).
    """

    def __init__(self, known: Floats, unknown: Floats) -> None:
        self.known, self.unknown = known, unknown

    def mixed(self, rows: Sequence[Row]) -> Floats:
        """Return some of each: users' prompts will be both like and unlike what was learnt from."""
        return np.where(left_out(rows)[:, None], self.unknown, self.known)


def held_out(
    rows: Sequence[Row], fit: Callable[[Mask], Callable[[Mask], Floats]], say: Callable[[str], None]
) -> HeldOut:
    """Fit once per fold and once per source; `fit` takes the rows to see and returns what scores rows."""
    families = np.array([_source(row.set) for row in rows])
    fold = _digest(rows, 1) % _FOLDS
    known = np.zeros((len(rows), len(HEADS)))
    for number in range(_FOLDS):
        known[fold == number] = fit(fold != number)(fold == number)
        say(f"fold {number + 1} of {_FOLDS}")
    unknown = known.copy()
    for name in sorted(set(families) - set(_ALWAYS_SEEN)):
        unknown[families == name] = fit(families != name)(families == name)
        say(f"without {name}")
    return HeldOut(known, unknown)


def left_out(rows: Sequence[Row]) -> Mask:
    """Return the quarter that `HeldOut.mixed` takes from models that saw nothing of its source."""
    return np.asarray(_digest(rows, 0) % 4 == 1)


def chosen_on(rows: Sequence[Row]) -> Mask:
    """Return the half that limits are chosen on; the other half is reported."""
    return np.asarray(_digest(rows, 2) % 2 == 1)


def joint_limit(rows: Sequence[Row], margin: Floats) -> float:
    """Return the lowest limit on `margin` at which no kind of harmless prompt exceeds its budget."""
    sets = np.array([row.set for row in rows])
    usable = chosen_on(rows) & np.array([not row.unsafe for row in rows])
    limits = [
        np.quantile(margin[usable & np.isin(sets, names)], 1 - share) for names, share in BUDGETS.values()
    ]
    return float(max(limits)) + 1e-6


def shares(rows: Sequence[Row], alarm: Mask, use: Mask) -> dict[str, dict[str, Any]]:
    """Return by set the share of the rows `use` that alarm, with its 95% interval."""
    sets = np.array([row.set for row in rows])
    out: dict[str, dict[str, Any]] = {}
    for name in sorted(set(sets[use])):
        some = alarm[use & (sets == name)]
        low, high = interval(int(some.sum()), len(some))
        out[name] = {
            "rows": len(some),
            "share": round(float(some.mean()), 4),
            "interval": [round(low, 4), round(high, 4)],
        }
    return out


def unseen(rows: Sequence[Row], known: Floats, unknown: Floats) -> list[dict[str, Any]]:
    """Return area and recall by source on the highest margin, for models that saw nothing of the source.

    Harmful rows stand against harmless ones of their source where it has any (also unseen), against captions,
    against users' prompts, and against both of these, half and half. Rows that limits were chosen on are out.
    """
    sets = np.array([row.set for row in rows])
    names = np.array([family(name) for name in sets])
    harmful = np.array([row.unsafe for row in rows])
    usable = ~chosen_on(rows) & np.array([row.lang == "en" for row in rows])
    captions = known[usable & np.isin(sets, BENIGN)]
    users = known[usable & (names == "diffdb")]
    count = min(len(captions), len(users))
    both = np.concatenate([captions[:: len(captions) // count][:count], users[:count]])
    out: list[dict[str, Any]] = []
    for name in sorted(set(names[harmful])):
        positive = unknown[usable & harmful & (names == name)]
        own = unknown[usable & ~harmful & (names == name) & (sets != "nib_implicit")]
        for label, against in (
            ("its harmless rows", own), ("captions", captions), ("users", users), ("captions and users", both)
        ):  # fmt: skip
            if len(positive) < 20 or len(against) < 20:
                continue
            values = [*positive.tolist(), *against.tolist()]
            labels = [True] * len(positive) + [False] * len(against)
            row = {"source": name, "against": label, "harmful": len(positive), "harmless": len(against)}
            row["area"] = round(area(values, labels), 4)
            for share in (5, 1):
                row[f"recall_at_{share}"] = round(
                    recall_at(positive.tolist(), against.tolist(), share / 100), 4
                )
            out.append(row)
    return out


def _source(name: str) -> str:
    if name in (*BENIGN, "everyday"):
        return "captions"
    found = family(name)
    return "questions" if found in {"oai", "multijail"} else found


def _digest(rows: Sequence[Row], byte: int) -> NDArray[np.intp]:
    return np.array([hashlib.sha256(row.id.encode()).digest()[byte] for row in rows])
