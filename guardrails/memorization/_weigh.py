"""Fit the probability of a copy: a logistic model of the evidence, with weights that cannot be negative.

The rows are what `clearmark bench copies --purpose dev --evidence FILE` writes. A negative counts by its
likeliest candidate, since that is what would alarm: which one it is depends on the weights, so the two are
found in turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization.calibration import EVIDENCE, fitted, trusted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fit_weights", "held_out", "read_evidence"]

_ROUNDS = 12
_RIDGE = 2e-4
_FREE = frozenset({"detail"})
"""Evidence that may speak either way."""

_UNWEIGHED = frozenset({"colour"})
"""Evidence that says what other evidence is worth (`trusted`), and nothing by itself: a template whose
changed part is of another colour is none the less one."""

_PRIOR = {
    "hash": 5.0,
    "cosine": 1.0,
    "both": 3.0,
    "plain": 3.0,
    "inliers": 3.0,
    "layout": 2.0,
    "dense": 2.0,
} | dict.fromkeys(("of_query", "of_item", "agreement", "correlation"), 1.0)
"""What the weights lean towards where the rows say little: an exact copy without any key point is rare among
them, and still one; so is a soft one that only its layout tells."""
_PRIOR_BIAS = -6.0


def read_evidence(
    path: Path, reuse: Mapping[str, Sequence[str]], *, across: bool = False
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the trusted evidence of the right candidates [n, k], and that of each negative's [m_i, k].

    Pairs in `reuse` are left out: a picture that does re-use another one is no negative for it. So are, with
    `across`, all pairs within a package: sets of drawings re-use their parts more often than anyone labels.

    Raises:
        UsageError: the file holds evidence of another version, or not enough of it.
    """
    import numpy as np

    head, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    of: Mapping[str, str] = head.get("packages", {}) if across else {}
    right: list[Any] = []
    wrong: list[NDArray[np.float64]] = []
    for row in rows:
        known = reuse.get(row["key"], ())
        some = [
            trusted(m["evidence"])
            for m in row["found"]
            if m["key"] != row["right"]
            and m["key"] not in known
            and of.get(m["key"], "") != row.get("package", "-")
        ]
        right.extend(
            trusted(m["evidence"]) for m in row["found"] if row["right"] and m["key"] == row["right"]
        )
        if some and not row["right"]:
            wrong.append(np.array(some, dtype=np.float64))
    positives = np.array(right, dtype=np.float64)
    if len(right) < 50 or len(wrong) < 50 or positives.ndim != 2 or positives.shape[1] != len(EVIDENCE):
        raise UsageError(
            f"{path}: {len(right)} copies and {len(wrong)} negatives with the evidence of this version",
            hint="clearmark bench copies writes it with --purpose dev --evidence FILE",
        )
    return positives, wrong


def fit_weights(positives: NDArray[np.float64], negatives: Sequence[NDArray[np.float64]]) -> bytes:
    """Return the file `weights.json`; both classes weigh the same, so it is a probability at even odds."""
    import numpy as np
    from scipy.optimize import minimize

    def loss(free: Any, x: Any, sign: Any, weight: Any) -> tuple[float, Any]:
        z = sign * (x @ free[1:] + free[0])
        slope = -sign * weight / (1 + np.exp(np.clip(z, -500, 500)))
        off = free - prior
        value = float((weight * np.logaddexp(0, -z)).sum()) + _RIDGE * float(off @ off)
        return value, np.concatenate([[slope.sum()], slope @ x]) + 2 * _RIDGE * off

    of = dict.fromkeys(_FREE, (None, None)) | dict.fromkeys(_UNWEIGHED, (0.0, 0.0))
    bounds = [(None, None), *(of.get(name, (0.0, None)) for name in EVIDENCE)]
    prior = np.array([_PRIOR_BIAS, *(_PRIOR.get(name, 0.0) for name in EVIDENCE)])
    model = prior.copy()
    for _ in range(_ROUNDS):
        likeliest = np.stack([some[int((some @ model[1:]).argmax())] for some in negatives])
        x = np.concatenate([positives, likeliest])
        sign = np.concatenate([np.ones(len(positives)), -np.ones(len(likeliest))])
        weight = np.where(sign > 0, 0.5 / len(positives), 0.5 / len(likeliest))
        found = minimize(loss, model, (x, sign, weight), jac=True, method="L-BFGS-B", bounds=bounds)
        model = 0.5 * model + 0.5 * found.x
    return fitted(
        round(float(model[0]), 4), {n: round(float(w), 4) for n, w in zip(EVIDENCE, model[1:], strict=True)}
    )


def held_out(
    positives: NDArray[np.float64], negatives: Sequence[NDArray[np.float64]], *, folds: int = 3
) -> tuple[float, int]:
    """Return the share of copies above all but one in a thousand negatives, and how many of these are above.

    Each fold is weighed by what the others are fitted on; the scores of all folds share one threshold.
    """
    import numpy as np

    right, wrong = np.empty(len(positives)), np.empty(len(negatives))
    for fold in range(folds):
        ours, theirs = np.arange(len(positives)) % folds, np.arange(len(negatives)) % folds
        rest = [some for some, number in zip(negatives, theirs, strict=True) if number != fold]
        document = json.loads(fit_weights(positives[ours != fold], rest))
        weights = np.array([document["weights"][name] for name in EVIDENCE])
        right[ours == fold] = positives[ours == fold] @ weights + document["bias"]
        for place in np.flatnonzero(theirs == fold).tolist():
            wrong[place] = (negatives[place] @ weights).max() + document["bias"]
    threshold = np.sort(wrong)[::-1][len(wrong) // 1000]
    return float((right > threshold).mean()), int((wrong > threshold).sum())
