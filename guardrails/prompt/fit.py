"""Fit the prompt guard's numbers from labelled prompts: `python -m clearmark.guardrails.prompt.fit --help`.

Steps, in this order: `words` lists the common words of English prompts (what spelling repair takes for a
word); `model` fits the linear model over words; `calibrate` weighs that model and the term lists into one
probability per category on sources that the model did not see, and picks the thresholds; `card` writes the
model card. Every step writes into this package and prints what it measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._card import render
from clearmark.guardrails.prompt._measure import any_alarm, out_of_source, thresholds, unseen
from clearmark.guardrails.prompt._rows import Row, read_rows
from clearmark.guardrails.prompt._scoring import CATEGORIES, FEATURES, term_features
from clearmark.guardrails.prompt._training import fit_heads, pack, prepare

__all__ = ["main"]

_HERE = Path(__file__).parent
_MODELS = _HERE.parent / "models"
_PREVALENCE = 0.2
# Where each category's working point stands on the scale of scores. Probabilities are stated at whatever
# prevalence puts it there, so that fitting anew improves the ranking and moves nobody's policy.
_WORKING_POINTS = {
    "sexual": 0.55, "violence": 0.35, "violence/graphic": 0.25, "hate": 0.2, "harassment": 0.35,
    "self-harm": 0.35, "illicit": 0.15, "deception": 0.2, "likeness/public-figure": 0.5, "trademark": 0.5,
    "copyright/character": 0.6,
}  # fmt: skip
_LEAST = {"strong": 3.5, "medium": 0.5, "weak": 0.2, "head": 0.2}
# No row names brands or characters as we list them; the lists are short and exact, and scored by rule.
_BY_HAND = dict.fromkeys(
    ("likeness/public-figure", "trademark", "copyright/character"),
    (-5.0, (0.0, 0.0, 4.0, 2.0, 1.5, 0.5)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m clearmark.guardrails.prompt.fit", description=__doc__)
    parser.add_argument("step", choices=("words", "model", "calibrate", "card"))
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts, .jsonl or .jsonl.gz")
    options = parser.parse_args(argv)
    rows = list(read_rows(options.data))
    return {"words": _words, "model": _model, "calibrate": _calibrate, "card": _card}[options.step](rows)


def _words(rows: Sequence[Row]) -> int:
    counts: Counter[str] = Counter()
    for row in rows:
        if row.lang == "en":
            counts.update(set(re.findall(r"[a-z]{2,18}", row.text.lower())))
    known = sorted((word for word in counts if counts[word] >= 2), key=lambda word: (-counts[word], word))
    (_HERE / "terms" / "common.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    _say(f"{len(known):,} words")
    return 0


def _model(rows: Sequence[Row]) -> int:
    """Fit the heads on all rows and write the weights with their catalogue entry."""
    prepared = prepare(rows)
    data = pack(prepared, fit_heads(prepared, np.ones(len(rows), dtype=bool)))
    path = _MODELS / "weights" / "prompt-words.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    catalogue = json.loads((_MODELS / "catalogue.json").read_text(encoding="utf-8"))
    for model in catalogue["models"]:
        if model["id"] == "prompt-words":
            model["files"] = [
                {"path": "models/weights/prompt-words.npz", "sha256": sha256, "size": len(data)}
            ]
    (_MODELS / "catalogue.json").write_text(json.dumps(catalogue, indent=2) + "\n", encoding="utf-8")
    _say(f"{len(prepared.keys):,} features, {len(data):,} bytes, sha256 {sha256[:12]}")
    return 0


def _calibrate(rows: Sequence[Row]) -> int:
    """Weigh model and lists per category on rows whose source the model had not seen, and pick thresholds."""
    prepared = prepare(rows)
    peak = out_of_source(prepared)
    document: dict[str, Any] = {"schema_version": 2, "version": "", "categories": {}}
    probabilities: dict[str, NDArray[np.float64]] = {}
    for category in CATEGORIES:
        if category == "sexual/minors":
            continue
        terms = np.array([term_features(located, category) for located in prepared.terms])
        x = np.concatenate([prepared.head_columns(peak, category), terms], axis=1)
        y = np.array([category in row.categories for row in rows])
        if category in _BY_HAND:
            bias, weights = _BY_HAND[category][0], np.array(_BY_HAND[category][1])
        else:
            bias, weights = _logistic(x, y, prepared.trust(category))
        probabilities[category] = 1 / (1 + np.exp(-(bias + x @ weights)))
        document["categories"][category] = {
            "basis": "by hand" if category in _BY_HAND else "fitted",
            "bias": round(float(bias), 4),
            "weights": {name: round(float(w), 4) for name, w in zip(FEATURES, weights, strict=True)},
        }
    fixed = {category: _WORKING_POINTS[category] for category in _BY_HAND}
    measured_by_category = thresholds(rows, probabilities, fixed)
    limits = {name: measured["threshold"] for name, measured in measured_by_category.items()}
    document["any"] = {"false_alarms": any_alarm(rows, probabilities, limits)}
    document["unseen"] = unseen(rows, probabilities, limits)
    _say(json.dumps({"any": document["any"], "unseen": document["unseen"]}))
    for category, measured in measured_by_category.items():
        row = document["categories"][category]
        shift = _logit(_WORKING_POINTS[category]) - _logit(measured["threshold"])
        row |= measured
        row["threshold"] = _WORKING_POINTS[category]
        row["bias"] = round(row["bias"] + shift, 4)
        row["prevalence"] = round(float(1 / (1 + np.exp(-(_logit(_PREVALENCE) + shift)))), 4)
        _say(f"{category:20} {json.dumps(document['categories'][category])}")
    document["categories"]["sexual/minors"] = {
        "basis": "composed of age and sexual content", "bias": 0.0, "weights": dict.fromkeys(FEATURES, 0.0),
        "threshold": 0.2,
    }  # fmt: skip
    document["version"] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
    (_MODELS / "prompt.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _card(rows: Sequence[Row]) -> int:
    """Write the model card from what the other steps left."""
    document = json.loads((_MODELS / "prompt.json").read_text(encoding="utf-8"))
    path = _MODELS / "weights" / "prompt-words.npz"
    with np.load(path, allow_pickle=False) as arrays:
        features = len(arrays["keys"])
    text = render(document, rows=len(rows), features=features, size=path.stat().st_size)
    (_MODELS / "cards" / "prompt-words.md").write_text(text, encoding="utf-8")
    return 0


def _logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], trust: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Fit a logistic model whose weights are not negative, classes weighed to `_PREVALENCE`."""
    from scipy.optimize import minimize

    weight = trust * np.where(y, _PREVALENCE / trust[y].sum(), (1 - _PREVALENCE) / trust[~y].sum())

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = values[0] + x @ values[1:]
        error = weight * (1 / (1 + np.exp(-np.clip(z, -40, 40))) - y)
        value = float((weight * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * (values[1:] ** 2).sum())
        return value, np.concatenate([[error.sum()], x.T @ error + 2e-4 * values[1:]])

    # A strong term must always count: lists are what transfers to prompts of a kind never seen.
    least = [(None, None)] + [(_LEAST.get(name, 0.0), None) for name in FEATURES]
    start = np.concatenate([[-2.0], np.full(x.shape[1], 0.5)])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=least).x
    return float(fitted[0]), fitted[1:]


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
