"""Fit the stack on held-out scores, and choose its one limit. Needs SciPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._measure import HeldOut, joint_limit
from clearmark.guardrails.prompt._rows import family
from clearmark.guardrails.prompt._scoring import HARM, features, told
from clearmark.guardrails.prompt._stack import ANY_FEATURES, BAND, CATEGORY_FEATURES, Stack
from clearmark.guardrails.prompt._training import Prepared

__all__ = ["FittedStack", "fit_stack"]

_PREVALENCE = 0.2
# A listed term must always count: lists are what transfers to prompts of a kind never seen.
_LEAST_ANY = {"strong": 0.8, "medium": 0.1, "weak": 0.05, "words": 0.1}
_LEAST_OWN = {"strong": 3.0, "medium": 0.5, "weak": 0.2, "words": 0.2}

Floats = NDArray[np.float64]
Terms = dict[str, Floats]


class FittedStack:
    """The stack in JSON form, and its margins by category on rows that no model was fitted on."""

    def __init__(self, document: dict[str, Any], terms: Terms, words: HeldOut, meant: HeldOut | None) -> None:
        self.document = document
        stack = Stack.from_dict(document)
        self.known = stack.margins(*features(terms, words.known, meant.known if meant else None))
        self.unknown = stack.margins(*features(terms, words.unknown, meant.unknown if meant else None))


def fit_stack(prepared: Prepared, words: HeldOut, meant: HeldOut | None) -> FittedStack:
    """Fit on known scores and a quarter of unknown ones; set the limit on known ones."""
    rows = prepared.rows
    terms = told(prepared.terms)
    mixed = features(terms, words.mixed(rows), meant.mixed(rows) if meant else None)
    english = np.array([row.lang == "en" for row in rows])
    harmful = np.array([row.unsafe for row in rows])
    families = np.array([family(row.set) for row in rows])
    trust = prepared.trust("unsafe") * english
    for name in set(families[harmful]):
        some = harmful & (families == name)
        trust[some] /= np.sqrt(some.sum())  # a large source says the same thing more often
    bias, weights = _logistic(mixed[0], harmful, trust, ANY_FEATURES, _LEAST_ANY)
    known = features(terms, words.known, meant.known if meant else None)
    bias += BAND - joint_limit(rows, known[0] @ weights + bias)
    alarms = mixed[0] @ weights + bias >= 0
    categories = {}
    for name in HARM:
        y = np.array([name in row.categories for row in rows])
        own_bias, own = _logistic(
            mixed[1][name], y, prepared.trust(name) * english, CATEGORY_FEATURES, _LEAST_OWN
        )
        scored = mixed[1][name] @ own + own_bias
        caught = harmful & english & alarms
        own_bias -= _best_split(scored[caught], y[caught])
        categories[name] = _row(own_bias, own, CATEGORY_FEATURES)
    document = {"any": _row(bias, weights, ANY_FEATURES), "categories": categories}
    return FittedStack(document, terms, words, meant)


def _best_split(scores: Floats, y: NDArray[np.bool_]) -> float:
    """Return the limit with the highest F1 between harmful rows of a category and harmful ones of others."""
    tried = np.quantile(scores, np.linspace(0.02, 0.98, 49))
    figures = [2 * (y & (scores >= at)).sum() / max(1, (scores >= at).sum() + y.sum()) for at in tried]
    return float(tried[int(np.argmax(figures))])


def _logistic(
    x: Floats, y: NDArray[np.bool_], trust: Floats, names: Sequence[str], least: dict[str, float]
) -> tuple[float, Floats]:
    """Fit a logistic model whose weights are not negative, classes weighed to `_PREVALENCE`."""
    from scipy.optimize import minimize

    weight = trust * np.where(y, _PREVALENCE / trust[y].sum(), (1 - _PREVALENCE) / trust[~y].sum())

    def loss(values: Floats) -> tuple[float, Floats]:
        z = values[0] + x @ values[1:]
        error = weight * (1 / (1 + np.exp(-np.clip(z, -40, 40))) - y)
        value = float((weight * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * (values[1:] ** 2).sum())
        return value, np.concatenate([[error.sum()], x.T @ error + 2e-4 * values[1:]])

    present = [bool(column.any()) for column in x.T]
    bounds: list[tuple[float | None, float | None]] = [(None, None)]
    for name, at in zip(names, present, strict=True):
        bounds.append((least.get(name, 0.0), None) if at else (0.0, 0.0))
    start = np.concatenate([[-2.0], np.full(x.shape[1], 0.5)])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(fitted[0]), fitted[1:]


def _row(bias: float, weights: Floats, names: Sequence[str]) -> dict[str, Any]:
    listed = {name: round(float(w), 4) for name, w in zip(names, weights, strict=True)}
    return {"bias": round(bias, 4), "weights": listed}
