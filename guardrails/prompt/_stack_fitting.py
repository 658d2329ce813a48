"""Fit the stack on held-out scores, and choose its one limit. Needs SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._measure import HARMLESS, HeldOut, chosen_on, joint_limit
from clearmark.guardrails.prompt._rows import family
from clearmark.guardrails.prompt._scoring import HARM, features, told
from clearmark.guardrails.prompt._stack import (
    ANY_FEATURES,
    BAND,
    CATEGORY_FEATURES,
    ELSEWHERE,
    TERMS,
    Stack,
)
from clearmark.guardrails.prompt._training import Prepared

__all__ = ["FittedStack", "fit_stack"]

_PREVALENCE = 0.2
# A listed term must always count: lists are what transfers to prompts of a kind never seen.
_LEAST_ANY = {"strong": 1.2, "medium": 0.1, "weak": 0.05, "words": 0.1, "more": 0.5, "plain": 0.5}
_LEAST_OWN = {"strong": 1.5, "medium": 0.5}
_MOST_PLAIN = 0.002  # of any kind of harmless prompt may hold two strong terms of a category
# A source of eight thousand rows says the same thing more often than one of two hundred.
_LARGE = {"copro": 0.4, "i2p": 0.4}

Floats = NDArray[np.float64]
Terms = dict[str, Floats]
Bounds = tuple[float | None, float | None]


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
    bias, weights = _logistic(
        mixed[0], harmful, trust * _balance(trust, harmful), _bounds(mixed[0], ANY_FEATURES, _LEAST_ANY)
    )
    any_harm = _row(bias, weights, ANY_FEATURES)
    labelled = harmful & english & np.array([bool(row.categories) for row in rows])
    counts = np.array([_LARGE.get(name, 1.0) for name in families])[labelled]
    categories = {}
    for name in HARM:
        x, y = mixed[1][name][labelled], np.array([name in row.categories for row in rows])[labelled]
        own_bias, own = _logistic(
            x, y, counts / counts.sum(), _bounds(x, CATEGORY_FEATURES, _LEAST_OWN, most=ELSEWHERE)
        )
        own_bias -= _best_split(x @ own + own_bias, y)
        categories[name] = _row(own_bias, own, CATEGORY_FEATURES)
    document = {"any": any_harm, "categories": categories, "plain": _plain(prepared, terms)}
    # What the rules on terms let through counts against the budget like all else.
    stack = Stack.from_dict(document)
    known = stack.margins(*features(terms, words.known, meant.known if meant else None))
    any_harm["bias"] = round(
        any_harm["bias"] + BAND - joint_limit(rows, np.max(list(known.values()), axis=0)), 4
    )
    return FittedStack(document, terms, words, meant)


def _plain(prepared: Prepared, terms: Mapping[str, Floats]) -> list[str]:
    """Return the categories of which hardly any harmless prompt of any kind holds two strong terms."""
    rows = prepared.rows
    sets = np.array([row.set for row in rows])
    usable = chosen_on(rows) & np.array([not row.unsafe for row in rows])
    kinds = [usable & np.isin(sets, names) for names in HARMLESS]
    return [
        name
        for name in HARM
        if all(terms[name][kind, TERMS.index("plain")].mean() <= _MOST_PLAIN for kind in kinds)
    ]


def _best_split(scores: Floats, y: NDArray[np.bool_]) -> float:
    """Return the limit with the highest F1 between harmful rows of a category and harmful ones of others."""
    tried = np.quantile(scores, np.linspace(0.02, 0.98, 49))
    figures = [2 * (y & (scores >= at)).sum() / max(1, (scores >= at).sum() + y.sum()) for at in tried]
    return float(tried[int(np.argmax(figures))])


def _balance(trust: Floats, y: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(y, _PREVALENCE / trust[y].sum(), (1 - _PREVALENCE) / trust[~y].sum()))


def _bounds(
    x: Floats, names: Sequence[str], least: Mapping[str, float], *, most: Sequence[str] = ()
) -> list[Bounds]:
    """Return the bounds of every weight: none is negative but those of `most`, and those are not positive."""
    out: list[Bounds] = []
    for name, column in zip(names, x.T, strict=True):
        if not column.any():
            out.append((0.0, 0.0))
        else:
            out.append((None, 0.0) if name in most else (least.get(name, 0.0), None))
    return out


def _logistic(
    x: Floats, y: NDArray[np.bool_], weight: Floats, bounds: Sequence[Bounds]
) -> tuple[float, Floats]:
    """Fit a logistic model: bias, and weights within their bounds."""
    from scipy.optimize import minimize

    def loss(values: Floats) -> tuple[float, Floats]:
        z = values[0] + x @ values[1:]
        error = weight * (1 / (1 + np.exp(-np.clip(z, -40, 40))) - y)
        value = float((weight * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * (values[1:] ** 2).sum())
        return value, np.concatenate([[error.sum()], x.T @ error + 2e-4 * values[1:]])

    start = np.concatenate([[-2.0], np.full(x.shape[1], 0.5)])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(None, None), *bounds]).x
    return float(fitted[0]), fitted[1:]


def _row(bias: float, weights: Floats, names: Sequence[str]) -> dict[str, Any]:
    listed = {name: round(float(w), 4) for name, w in zip(names, weights, strict=True)}
    return {"bias": round(bias, 4), "weights": listed}
