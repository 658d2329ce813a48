"""Fit the visual words: principal axes of root SIFT, and the centres of the two halves by Lloyd's method."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core.errors import UsageError
from clearmark.guardrails.memorization._keypoints import STEPS, features
from clearmark.guardrails.memorization._words import AXES, CENTRES, Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fit_words"]

_EACH = 120
_ROUNDS = 16


def fit_words(pictures: Sequence[NDArray[np.uint8]], out: Path, *, seed: int = 20261124) -> None:
    """Fit on up to 120 key points of each picture (uint8 [h, w, 3]); write `copy-words.npz` into `out`.

    Raises:
        UsageError: fewer key points than twenty for each centre.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    rows = np.concatenate([features(picture).descriptors[:_EACH] for picture in pictures])
    if len(rows) < 20 * CENTRES:
        raise UsageError(f"{len(rows)} key points are too few for {CENTRES} centres", hint="more --pictures")
    values = rows.astype(np.float32) / STEPS
    mean = values.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((values - mean).T))
    axes = vectors[:, ::-1][:, :AXES].astype(np.float32)
    plain = Vocabulary(mean, axes, np.zeros((2, CENTRES, AXES // 2), np.float32)).project(rows)
    centres = np.stack([_lloyd(np.ascontiguousarray(plain[:, half]), rng) for half in (0, 1)])
    parts = {"mean": mean, "axes": axes, "centres": centres}
    np.savez(out / "copy-words.npz", **{name: part.astype(np.float16) for name, part in parts.items()})
    sys.stderr.write(f"{len(rows)} key points of {len(pictures)} pictures\n")


def _lloyd(y: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return centres [CENTRES, d] of `y` [n, d]; one that nobody is near is drawn again."""
    import numpy as np

    centres = y[rng.choice(len(y), CENTRES, replace=False)]
    for _ in range(_ROUNDS):
        half = 0.5 * (centres * centres).sum(axis=1)
        near = np.concatenate(
            [(half - y[first : first + 8192] @ centres.T).argmin(axis=1) for first in range(0, len(y), 8192)]
        )
        order = np.argsort(near, kind="stable")
        counts = np.bincount(near, minlength=CENTRES)
        starts = (np.cumsum(counts) - counts)[counts > 0]
        centres = y[rng.choice(len(y), CENTRES, replace=False)]
        centres[counts > 0] = np.add.reduceat(y[order], starts, axis=0) / counts[counts > 0, None]
    out: NDArray[np.float32] = centres
    return out
