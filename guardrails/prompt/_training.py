"""Fit the word model: sparse counts in, one logistic model per head out. Needs SciPy and scikit-learn."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._reading import Located, read
from clearmark.guardrails.prompt._rows import Row, family
from clearmark.guardrails.prompt._words import HEAD_FLOOR, HEADS, SMOOTHING, WordModel, pair_key, word_keys

__all__ = ["Heads", "Prepared", "fit_heads", "pack", "prepare"]

_MIN_DOCUMENTS = 4
_EPOCHS = 6
_BATCH = 512
_RATE = 0.3
_FLOOR = 1e-7
# I2P's labels speak of the pictures that came out; about half of its texts read as harmless.
# OVERT's near misses are few beside captions, and what tells them apart is what is to be learnt.
_TRUST = {
    "i2p": 0.35, "nib_implicit": 0.3, "diffdb_refl": 0.6, "diffdb_test": 0.6, "overt_benign": 2.0,
    "overt_unsafe": 3.0,
}  # fmt: skip
_PENALTY, _PASSES = 2e-6, 8  # of the head for any harm


@dataclass(frozen=True)
class Prepared:
    """Rows as counts: the words and terms of each, the known keys, and a sparse matrix [rows, keys]."""

    rows: Sequence[Row]
    words: list[list[str]]
    terms: list[tuple[Located, ...]]
    keys: NDArray[np.uint32]
    idf: NDArray[np.float32]
    matrix: Any

    @property
    def families(self) -> NDArray[np.str_]:
        """The source of every row."""
        return np.array([family(row.set) for row in self.rows])

    def labels(self) -> NDArray[np.bool_]:
        """Return which head each row is an example of: [rows, heads]."""
        return np.array([[row.unsafe, *(head in row.categories for head in HEADS[1:])] for row in self.rows])

    def trust(self, head: str) -> NDArray[np.float64]:
        """Return how much each row counts for `head`; unsafe rows of other categories count little."""
        out = np.array([_TRUST.get(row.set, 1.0) for row in self.rows])
        if head != "unsafe":
            out[[row.unsafe and head not in row.categories for row in self.rows]] *= 0.25
        return out

    def head_columns(self, peak: NDArray[np.float64], category: str) -> NDArray[np.float64]:
        """Return the columns that the calibration of `category` sees of the model: its head, and `unsafe`."""
        clipped = np.maximum(peak, HEAD_FLOOR)
        own = clipped[:, HEADS.index(category)] if category in HEADS else np.zeros(len(peak))
        return np.stack([own, clipped[:, 0]], axis=1)


@dataclass(frozen=True)
class Heads:
    """Fitted weights [keys, heads] and bias [heads]."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


def prepare(rows: Sequence[Row]) -> Prepared:
    """Read every row and count its words, pairs and letter groups."""
    import scipy.sparse

    readings = [read(row.text) for row in rows]
    words = [[word.text for word in reading.words] for reading in readings]
    cache: dict[str, list[int]] = {}
    counts: list[Counter[int]] = []
    documents: Counter[int] = Counter()
    for text in words:
        count: Counter[int] = Counter()
        for index, word in enumerate(text):
            if word not in cache:
                cache[word] = list(word_keys(word))
            count.update(cache[word])
            if index:
                count[pair_key(text[index - 1], word)] += 1
        counts.append(count)
        documents.update(count.keys())
    kept = sorted(key for key, number in documents.items() if number >= _MIN_DOCUMENTS)
    place = {key: index for index, key in enumerate(kept)}
    idf = np.array([np.log(len(rows) / documents[key]) + 1 for key in kept], dtype=np.float32)
    data: list[float] = []
    columns: list[int] = []
    starts = [0]
    for count in counts:
        known = [(place[key], number) for key, number in count.items() if key in place]
        at = np.array([index for index, _ in known], dtype=int)
        often = np.array([number for _, number in known], dtype=np.float32)
        norm = np.sqrt((often * idf[at] ** 2).sum() + SMOOTHING)
        data.extend(often * idf[at] / norm)
        columns.extend(at)
        starts.append(len(columns))
    matrix = scipy.sparse.csr_matrix(
        (np.array(data, dtype=np.float32), columns, starts), shape=(len(rows), len(kept))
    )
    terms = [reading.terms for reading in readings]
    return Prepared(rows, words, terms, np.array(kept, dtype=np.uint32), idf, matrix)


def fit_heads(prepared: Prepared, use: NDArray[np.bool_]) -> Heads:
    """Fit every head on the rows `use`.

    The head for any harm, which decides, by stochastic gradient descent on the rows as they come; those of
    the categories, which tell kinds of harm apart, on classes of equal weight, all at once by AdaGrad (Duchi
    et al., JMLR 2011). Few epochs stand in for a penalty. The order of rows is fixed: a fit repeats itself.
    """
    use = use & np.array([row.lang == "en" for row in prepared.rows])
    x = prepared.matrix[use]
    y = prepared.labels()[use].astype(np.float32)
    weight = np.stack([prepared.trust(head)[use] for head in HEADS], axis=1).astype(np.float32)
    for head in range(len(HEADS)):
        positive = y[:, head] > 0
        weight[positive, head] *= 0.5 / max(weight[positive, head].sum(), 1e-6)
        weight[~positive, head] *= 0.5 / weight[~positive, head].sum()
    weight *= len(y)
    weights = np.zeros((x.shape[1], len(HEADS)), dtype=np.float32)
    bias = np.zeros(len(HEADS), dtype=np.float32)
    seen = np.full_like(weights, _FLOOR)
    order = np.random.default_rng(7)
    for epoch in range(_EPOCHS):
        shuffled = order.permutation(len(y))
        rate = _RATE * (1 - epoch / _EPOCHS)
        for first in range(0, len(y), _BATCH):
            rows = shuffled[first : first + _BATCH]
            batch = x[rows]
            z = np.clip(batch @ weights + bias, -30, 30)
            error = np.clip(weight[rows], 0, 20) * (1 / (1 + np.exp(-z)) - y[rows]) / len(rows)
            gradient = batch.T @ error
            touched = np.flatnonzero(gradient.any(axis=1))
            part = gradient[touched]
            seen[touched] += part**2
            weights[touched] -= rate * part / np.sqrt(seen[touched])
            bias -= 0.5 * rate * error.sum(0)
    weights[:, 0], bias[0] = _fit_any(x, y[:, 0], prepared.trust("unsafe")[use])
    return Heads(weights, bias)


def _fit_any(x: Any, y: NDArray[np.float32], trust: NDArray[np.float64]) -> tuple[NDArray[np.float32], float]:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", alpha=_PENALTY, max_iter=_PASSES, tol=None, random_state=0)
    model.fit(x, y > 0, sample_weight=trust)
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def pack(prepared: Prepared, heads: Heads, *, small: bool = True) -> bytes:
    """Return the `.npz` file that `WordModel` reads; weights as whole steps of 1/127 of the largest."""
    scale = np.abs(heads.weights).max(0) / 127
    out = io.BytesIO()
    (np.savez_compressed if small else np.savez)(
        out,
        keys=prepared.keys,
        idf=prepared.idf.astype(np.float16),
        weights=np.round(heads.weights / scale).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=heads.bias.astype(np.float32),
    )
    return out.getvalue()


def score(prepared: Prepared, heads: Heads, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return log-odds of the highest window for the rows asked for: [rows, heads]."""
    model = WordModel(pack(prepared, heads, small=False))
    return np.array([model.scores(prepared.words[index])[1] for index in np.flatnonzero(rows)])
