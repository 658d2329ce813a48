"""Fit the sentence heads: embeddings in, a network with one hidden layer out. Needs numpy alone.

Which window of a long harmful prompt is the harmful one is not labelled: all of them stand for it, each for
a share. The head for any harm, which decides, counts rows as they come; those of the categories, which tell
kinds of harm apart, count both classes the same.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails.prompt._minilm import encoder
from clearmark.guardrails.prompt._sentences import WINDOW, SentenceHeads

__all__ = ["Pieces", "balanced", "embed_rows", "fit_sentences", "peaks"]

_MOST_PIECES = 8
_HIDDEN, _EPOCHS, _BATCH, _RATE, _DECAY, _DROP = 160, 12, 512, 1.5e-3, 1e-2, 0.35
_SCALE = np.float32(4)  # numbers of a unit vector are small
_CATEGORIES = 0.15  # weight of a category's head beside that for any harm
_CHUNK = 4096

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pieces:
    """Embeddings [pieces, 384] of windows, and the row that each is of."""

    embeddings: Floats
    owner: NDArray[np.intp]
    count: int


def embed_rows(texts: Sequence[Sequence[str]], cache: Path, say: Callable[[str], None]) -> Pieces:
    """Embed every row (its words), at most eight windows of it; each is kept in `cache`."""
    pieces: list[Sequence[str]] = []
    owner: list[int] = []
    for row, words in enumerate(texts):
        starts = list(range(0, max(1, len(words) - WINDOW // 2), WINDOW // 2)) if len(words) > WINDOW else [0]
        if len(starts) > _MOST_PIECES:
            last = len(starts) - 1
            starts = [starts[round(at * last / (_MOST_PIECES - 1))] for at in range(_MOST_PIECES)]
        pieces.extend(words[start : start + WINDOW] for start in starts)
        owner.extend([row] * len(starts))
    keys = [hashlib.sha256(" ".join(piece).encode()).digest() for piece in pieces]
    known: dict[bytes, NDArray[np.float16]] = {}
    if cache.exists():
        with np.load(cache, allow_pickle=False) as arrays:
            stored = arrays["keys"].tobytes()
            known = {stored[32 * at : 32 * at + 32]: row for at, row in enumerate(arrays["embeddings"])}
    fresh = [(key, piece) for key, piece in dict(zip(keys, pieces, strict=True)).items() if key not in known]
    for first in range(0, len(fresh), _CHUNK):
        some = fresh[first : first + _CHUNK]
        embedded = encoder().embed([piece for _, piece in some]).astype(np.float16)
        known.update((key, row) for (key, _), row in zip(some, embedded, strict=True))
        say(f"embedded {min(len(fresh), first + _CHUNK):,} of {len(fresh):,}")
    if fresh:
        stored = np.frombuffer(b"".join(known), dtype=np.uint8)
        np.savez(cache, embeddings=np.stack(list(known.values())), keys=stored)
    out = np.stack([known[key] for key in keys]).astype(np.float32)
    return Pieces(out, np.array(owner), len(texts))


def balanced(labels: Floats, trust: Floats) -> Floats:
    """Return weights [rows, heads] by which both classes of every head count the same, at most 20 each."""
    out = trust.copy()
    for head in range(labels.shape[1]):
        positive = labels[:, head] > 0
        out[positive, head] *= 0.5 / max(float(out[positive, head].sum()), 1e-6)
        out[~positive, head] *= 0.5 / float(out[~positive, head].sum())
    return np.clip(out * len(labels), 0, 20).astype(np.float32)


def fit_sentences(pieces: Pieces, labels: Floats, trust: Floats, use: NDArray[np.bool_]) -> bytes:
    """Fit all heads on the rows `use` and return the `.npz` file that `SentenceHeads` reads."""
    owner = pieces.owner
    often = np.bincount(owner, minlength=pieces.count)[owner]
    chosen = np.flatnonzero(use[owner])
    y = labels[owner[chosen]]
    shared = (trust[owner[chosen]] / np.sqrt(often[chosen])[:, None]).astype(np.float32)
    weight = balanced(y, shared) * np.float32(_CATEGORIES)
    weight[:, 0] = shared[:, 0]
    return _network(pieces.embeddings[chosen] * _SCALE, y, weight)


def peaks(data: bytes, pieces: Pieces) -> NDArray[np.float64]:
    """Return the highest log-odds of any window of every row: [rows, heads]."""
    scores = SentenceHeads(data)(pieces.embeddings)
    out = np.full((pieces.count, scores.shape[1]), -np.inf)
    np.maximum.at(out, pieces.owner, scores)
    return out


def _network(x: Floats, y: Floats, weight: Floats) -> bytes:
    """Train with Adam (Kingma and Ba, ICLR 2015), dropout and decoupled decay; the order is fixed."""
    chance = np.random.default_rng(3)
    rows, heads = y.shape
    values = [
        chance.normal(0, (2 / x.shape[1]) ** 0.5, (x.shape[1], _HIDDEN)).astype(np.float32),
        np.zeros(_HIDDEN, dtype=np.float32),
        chance.normal(0, _HIDDEN**-0.5, (_HIDDEN, heads)).astype(np.float32),
        np.zeros(heads, dtype=np.float32),
    ]
    mean, square = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    steps = _EPOCHS * -(-rows // _BATCH)
    step = 0
    for _ in range(_EPOCHS):
        order = chance.permutation(rows)
        for first in range(0, rows, _BATCH):
            step += 1
            some = order[first : first + _BATCH]
            rate = _RATE * (1 - step / steps)
            for at, gradient in enumerate(_gradients(values, x[some], y[some], weight[some], chance)):
                mean[at] = 0.9 * mean[at] + 0.1 * gradient
                square[at] = 0.99 * square[at] + 0.01 * gradient**2
                move = mean[at] / (1 - 0.9**step) / (np.sqrt(square[at] / (1 - 0.99**step)) + 1e-8)
                values[at] -= rate * (move + _DECAY * values[at] * (values[at].ndim > 1))
    values[0] *= _SCALE  # whoever uses it has plain unit vectors
    out = io.BytesIO()
    names = ("inner", "inner_bias", "outer", "outer_bias")
    arrays: dict[str, Any] = {name: v.astype(np.float16) for name, v in zip(names, values, strict=True)}
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _gradients(
    values: Sequence[Floats], x: Floats, y: Floats, weight: Floats, chance: np.random.Generator
) -> list[Floats]:
    inner, inner_bias, outer, outer_bias = values
    hidden = x @ inner + inner_bias
    kept = (hidden > 0) * (chance.random(hidden.shape, dtype=np.float32) > _DROP) / np.float32(1 - _DROP)
    hidden = hidden * kept
    z = np.clip(hidden @ outer + outer_bias, -30, 30)
    error = (weight * (1 / (1 + np.exp(-z)) - y) / len(x)).astype(np.float32)
    back = (error @ outer.T) * kept
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
