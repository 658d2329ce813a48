"""Fit the prompt guard's numbers from labelled prompts: `python -m clearmark.guardrails.prompt.fit --help`.

Two steps: `words` lists the common words of harmless captions (what spelling repair takes for a word);
`calibrate` fits the model over terms per category, picks thresholds, and measures both on held-out sources.
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

from clearmark.guardrails.prompt._lexicon import lexicon
from clearmark.guardrails.prompt._reading import read
from clearmark.guardrails.prompt._rows import BENIGN, TWINS, Row, family, read_rows
from clearmark.guardrails.prompt._scoring import CATEGORIES, FEATURES, features

__all__ = ["main"]

_HERE = Path(__file__).parent
_PREVALENCE = 0.2
_SHARE_OF_FALSE_ALARMS = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m clearmark.guardrails.prompt.fit", description=__doc__)
    parser.add_argument("step", choices=("words", "calibrate"))
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts, .jsonl or .jsonl.gz")
    options = parser.parse_args(argv)
    rows = list(read_rows(options.data))
    return _words(rows) if options.step == "words" else _calibrate(rows)


def _words(rows: Sequence[Row]) -> int:
    counts: Counter[str] = Counter()
    for row in rows:
        if row.lang == "en" and not row.unsafe:
            counts.update(set(re.findall(r"[a-z]{2,18}", row.text.lower())))
    known = [word for word, count in counts.most_common() if count >= 3]
    (_HERE / "terms" / "common.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(known):,} words\n")
    return 0


def _calibrate(rows: Sequence[Row]) -> int:
    lexicon()
    readings = [read(row.text) for row in rows]
    benign = np.array([row.set in BENIGN or row.set.startswith("diffdb") for row in rows])
    document: dict[str, Any] = {"schema_version": 1, "version": "", "categories": {}}
    for category in CATEGORIES:
        if category == "sexual/minors":
            continue
        x = np.array([features(reading.terms, category) for reading in readings])
        y = np.array([category in row.categories for row in rows])
        if y.sum() < 100:
            bias, weights = -5.0, np.array([4.0, 2.0, 1.0, 0.5])  # set by hand; the card says so
            basis = "by hand"
        else:
            # I2P's labels speak of the pictures that came out, not of the words.
            use = (y & np.array([row.set != "i2p" for row in rows])) | np.array([not r.unsafe for r in rows])
            bias, weights = _logistic(x[use], y[use])
            basis = "fitted"
        p = 1 / (1 + np.exp(-(bias + x @ weights)))
        threshold = _threshold(p[benign])
        document["categories"][category] = {
            "basis": basis,
            "bias": round(float(bias), 4),
            "weights": {name: round(float(w), 4) for name, w in zip(FEATURES, weights, strict=True)},
            "threshold": threshold,
            "false_alarms": {name: _rate(p, rows, name, threshold) for name in (*BENIGN, "diffdb", *TWINS)},
            "recall": {
                name: round(float((p[mask] >= threshold).mean()), 4) for name, mask in _sources(rows, y)
            },
        }
        row = document["categories"][category]
        sys.stdout.write(
            f"{category:22} {bias:6.2f} {np.round(weights, 2)} t={threshold} fa={row['false_alarms']} recall={row['recall']}\n"
        )
    document["categories"]["sexual/minors"] = {
        "basis": "composed", "bias": 0.0, "weights": dict.fromkeys(FEATURES, 0.0), "threshold": 0.2,
    }  # fmt: skip
    document["version"] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
    (_HERE.parent / "models" / "prompt.json").write_text(
        json.dumps(document, indent=1) + "\n", encoding="utf-8"
    )
    return 0


def _logistic(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Fit a logistic model with non-negative weights by projected gradient, classes weighed to `_PREVALENCE`."""
    weight = np.where(y, _PREVALENCE / y.sum(), (1 - _PREVALENCE) / (~y).sum())
    bias, coefficients = -2.0, np.ones(x.shape[1])
    for _ in range(4000):
        p = 1 / (1 + np.exp(-(bias + x @ coefficients)))
        error = weight * (p - y)
        bias -= 2.0 * float(error.sum())
        coefficients = np.maximum(0.05, coefficients - 2.0 * (x.T @ error + 1e-4 * coefficients))
    return bias, coefficients


def _threshold(benign: NDArray[np.float64]) -> float:
    """Return the lowest round threshold whose rate on harmless prompts is within the allowed share."""
    for threshold in np.arange(0.05, 0.96, 0.05):
        if (benign >= threshold).mean() <= _SHARE_OF_FALSE_ALARMS:
            return round(float(threshold), 2)
    return 0.95


def _rate(p: NDArray[np.float64], rows: Sequence[Row], name: str, threshold: float) -> float:
    mask = np.array([row.set.startswith(name) and not row.unsafe for row in rows])
    return round(float((p[mask] >= threshold).mean()), 4)


def _sources(rows: Sequence[Row], y: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    names = np.array([family(row.set) for row in rows])
    return [(name, y & (names == name)) for name in sorted(set(names)) if (y & (names == name)).sum() >= 20]


if __name__ == "__main__":
    sys.exit(main())
