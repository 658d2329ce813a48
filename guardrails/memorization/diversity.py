"""Do different seeds give different pictures? The sign of a memorized prompt that needs no look inside.

Pictures of one prompt are compared pair by pair, whole and by halves: a memorized layout keeps one half while
the other changes. Groups of near-equal pictures are cliques, as in Carlini et al., "Extracting training data
from diffusion models", 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ALIKE", "Diversity", "diversity"]

_SIDE = 16
ALIKE = 0.06
"""Root mean square of the differences, of 1, up to which two small pictures count as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """How much the pictures of a prompt differ: root mean squares in [0, 1], the mean over all pairs.

    `half` is that of the half (left, right, upper, lower) which differs least; `clique` is the largest number
    of pictures that are all alike.
    """

    whole: float
    half: float
    clique: int
    pictures: int


def diversity(pictures: Sequence[NDArray[np.uint8]]) -> Diversity:
    """Compare pictures uint8 [height, width, 3] of one prompt; fewer than two say nothing (1.0)."""
    import cv2
    import numpy as np

    small = np.stack([cv2.resize(p, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for p in pictures]).astype(
        np.float32
    )
    small /= 255.0
    if len(small) < 2:
        return Diversity(whole=1.0, half=1.0, clique=len(small), pictures=len(small))
    pairs = list(combinations(range(len(small)), 2))
    squares = np.stack([np.square(small[a] - small[b]).mean(axis=2) for a, b in pairs])
    middle = _SIDE // 2
    halves = (squares[:, :, :middle], squares[:, :, middle:], squares[:, :middle], squares[:, middle:])
    by_half = [float(np.sqrt(half.mean(axis=(1, 2))).mean()) for half in halves]
    whole = np.sqrt(squares.mean(axis=(1, 2)))
    near = {pair for pair, value in zip(pairs, whole, strict=True) if value <= ALIKE}
    return Diversity(
        whole=float(whole.mean()), half=min(by_half), clique=_clique(len(small), near), pictures=len(small)
    )


def _clique(count: int, near: set[tuple[int, int]]) -> int:
    """Return the size of the largest group that is alike pair by pair, grown greedily from each picture."""
    best = min(1, count)
    for start in range(count):
        group = [start]
        for other in range(count):
            if other != start and all((min(other, one), max(other, one)) in near for one in group):
                group.append(other)
        best = max(best, len(group))
    return best
