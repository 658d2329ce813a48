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
from clearmark.guardrails.memorization.calibration import EVIDENCE, fitted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fit_weights", "read_evidence"]

_ROUNDS = 12
_RIDGE = 2e-3
_FREE = frozenset({"detail"})
"""Evidence that may speak either way."""

_PRIOR = {"hash": 5.0, "cosine": 1.0, "both": 3.0, "plain": 3.0, "inliers": 3.0} | dict.fromkeys(
    ("of_query", "of_item", "agreement", "correlation"), 1.0
)
"""What the weights lean towards where the rows say little: an exact copy without any key point is rare among
them, and still one."""
_PRIOR_BIAS = -6.0


def read_evidence(
    path: Path, reuse: Mapping[str, Sequence[str]]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the evidence of the right candidates [n, k], and that of each negative's candidates [m_i, k].

    Pairs in `reuse` are left out: a picture that does re-use another one is no negative for it.

    Raises:
        UsageError: the file holds evidence of another version, or not enough of it.
    """
    import numpy as np

    rows = [json.loads(line) for line in path.read_text().splitlines()][1:]
    right: list[Any] = []
    wrong: list[NDArray[np.float64]] = []
    for row in rows:
        known = reuse.get(row["key"], ())
        some = [m["evidence"] for m in row["found"] if m["key"] != row["right"] and m["key"] not in known]
        right.extend(m["evidence"] for m in row["found"] if row["right"] and m["key"] == row["right"])
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

    bounds = [(None, None), *((None, None) if name in _FREE else (0.0, None) for name in EVIDENCE)]
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
