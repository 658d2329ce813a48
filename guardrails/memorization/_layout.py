"""Whether two pictures have the same layout, where key points are gone: dense agreement of small pictures.

What went through an autoencoder or an edge-preserving filter has lost the fine detail that key points stand
on, and kept what lies where. Both pictures are brought to 64 x 64, a band of frequencies is kept, the turn
and the shift that fit best are found by correlation (Kuglin and Hines 1975, over the eight flips), and
each place is compared by the correlation of its surroundings. Only places count at which both
pictures vary in both directions (the lesser eigenvalue of the structure tensor, Harris and Stephens 1988):
stripes, gradients and blank paper agree with each other, and say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clearmark.guardrails.memorization._bands import alike, band, detailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Agreement", "Layout", "agreement", "layout", "turned"]

SIDE = 64
_FINE, _COARSE = 1.2, 4.0
_WINDOW = (9, 9)
_AROUND = (13, 13)
_VARIES, _RATIO = 2.0, 0.2
_SHIFT = 2
_SAME = 0.7
_ENOUGH = 320
"""Places with detail in both from which on an agreement counts in full: 8 % of the picture."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The band [64, 64] of a picture's luma, where it has detail [64, 64], and the transform of the band."""

    band: NDArray[np.float32]
    detailed: NDArray[np.bool_]
    waves: NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two layouts agree.

    `share` is that of the places with detail in both that look the same, `likeness` the correlation over all
    of these places, and `weight` in [0, 1] how many there are. `turn` is that of the query, in the order
    of `turned`; `detailed` and `same` [64, 64] lie over the turned query.
    """

    share: float
    likeness: float
    weight: float
    turn: int
    detailed: NDArray[np.bool_] = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)

    def common(self) -> NDArray[np.bool_]:
        """Return where in the query [64, 64] both show the same: places without detail go with their
        surroundings."""
        import cv2
        import numpy as np

        around = [cv2.blur(part.astype(np.float32), _AROUND) for part in (self.same, self.detailed)]
        out = np.where(around[1] > 0, around[0] > 0.5 * around[1], self.share > 0.5)
        back = np.rot90(out, -(self.turn % 4))
        return np.ascontiguousarray(back[:, ::-1] if self.turn >= 4 else back)


def layout(luma: NDArray[np.uint8]) -> Layout:
    """Return the layout of luma uint8 [height, width]."""
    import cv2
    import numpy as np
    import scipy.fft

    small = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    whole = band(small, _FINE, _COARSE)
    return Layout(whole, detailed(whole, _WINDOW, _VARIES, _RATIO), scipy.fft.rfft2(whole))


def turned(found: Layout) -> list[Layout]:
    """Return the layouts of the eight flips and quarter turns of a picture, the upright one first."""
    import numpy as np
    import scipy.fft

    out = [found]
    for turn in range(1, 8):
        whole: NDArray[np.float32] = np.ascontiguousarray(_turned(found.band, turn))
        places: NDArray[np.bool_] = np.ascontiguousarray(_turned(found.detailed, turn))
        out.append(Layout(whole, places, scipy.fft.rfft2(whole)))
    return out


def _turned(side: Any, turn: int) -> Any:
    import numpy as np

    return np.rot90(side[:, ::-1] if turn >= 4 else side, turn % 4)


def agreement(queries: Sequence[Layout], item: Layout) -> Agreement:
    """Return how far the best of the turned `queries` agrees with `item`, shifted by up to two places."""
    import numpy as np
    import scipy.fft

    waves = np.stack([query.waves for query in queries])
    fits = scipy.fft.irfft2(waves * np.conj(item.waves), s=(SIDE, SIDE))
    shifts = np.arange(-_SHIFT, _SHIFT + 1)
    near = fits[:, shifts[:, None], shifts[None, :]]
    turn, *places = np.unravel_index(int(near.argmax()), near.shape)
    query, moved = queries[int(turn)], [int(shifts[place]) for place in places]
    ours = tuple(slice(max(0, s), SIDE + min(0, s)) for s in moved)
    theirs = tuple(slice(max(0, -s), SIDE + min(0, -s)) for s in moved)
    a, b = (np.ascontiguousarray(x) for x in (query.band[ours], item.band[theirs]))
    both = query.detailed[ours] & item.detailed[theirs]
    count = int(both.sum())
    where, same = np.zeros((2, SIDE, SIDE), dtype=np.bool_)
    if not count:
        return Agreement(0.0, 0.0, 0.0, int(turn), where, same)
    agrees, likeness = alike(a, b, both, _WINDOW, _SAME)
    where[ours], same[ours] = both, agrees
    return Agreement(
        share=float(agrees.sum()) / count,
        likeness=max(0.0, likeness),
        weight=min(1.0, count / _ENOUGH),
        turn=int(turn),
        detailed=where,
        same=same,
    )
