"""Logos in pixels: regions of one colour, compared by shape with an index of silhouettes, then verified.

Every region's silhouette is compared with every mark of the index; the best candidates are held against the
picture, and a logistic model weighs what that shows. Each mark also has what is usual for it: the likeness
that one region in a thousand of ordinary pictures reaches. A disc reaches much, an odd outline little.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from clearmark.core import Box
from clearmark.core.errors import Error, GuardUnavailable, ModelCorrupt, UsageError
from clearmark.guardrails.models import entry
from clearmark.guardrails.trademark._regions import Region, regions
from clearmark.guardrails.trademark._shapes import (
    ANGLES,
    FEATURES,
    FINE,
    FRAME,
    embed,
    features,
    framed,
    silhouette,
    unit,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Candidate",
    "LogoHit",
    "LogoIndex",
    "Weights",
    "candidates",
    "find_logos",
    "logo_index",
    "read_index",
    "turned",
]

UNUSUAL = 0.80
"""What is taken to be usual for marks that were added and not measured: the middle of those that ship."""

_LEAST = 0.70  # likeness below which nothing is verified
_PROMISING, _PER_REGION, _VERIFIED = 48, 2, 12
_SHOWN = 0.5


@dataclass(frozen=True, slots=True)
class LogoHit:
    """A mark, where it is in the picture, and how sure that is: 0.5 at the limit that the card gives."""

    name: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A mark that a region could be: its number in the index, the box, and the features to weigh."""

    mark: int
    box: Box
    features: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A logistic model over `FEATURES`, standardised; log-odds of 0 are the limit."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: float

    @classmethod
    def none(cls) -> Weights:
        """Return a model that finds nothing: of an index that was built and not fitted."""
        import numpy as np

        count = len(FEATURES)
        return cls(
            np.zeros(count, np.float32), np.ones(count, np.float32), np.zeros(count, np.float32), -30.0
        )

    def log_odds(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the log-odds of rows [candidates, features]."""
        import numpy as np

        plain = np.clip((rows - self.mean) / self.scale, -6, 6)
        return np.asarray(plain @ self.weights + self.bias, np.float32)


class LogoIndex:
    """Names, silhouettes, and what is usual for each."""

    def __init__(
        self,
        names: tuple[str, ...],
        shapes: NDArray[np.bool_],
        usual: NDArray[np.float32],
        *,
        basis: NDArray[np.float32] | None = None,
    ) -> None:
        """Take shapes [marks, FINE, FINE] in the common frame, and a likeness each.

        `basis` [FRAME * FRAME, dimensions] makes the search quicker: directions in which shapes differ.

        Raises:
            ModelCorrupt: when the arrays do not fit together.
        """
        import numpy as np

        if shapes.shape != (len(names), FINE, FINE) or usual.shape != (len(names),):
            raise ModelCorrupt("the logo index's arrays do not fit together", hint="reinstall clearmark")
        self.names, self.usual, self.basis = names, usual, basis
        self._bits = np.packbits(shapes.reshape(len(names), -1), axis=1)
        rows = unit(embed([shape.astype(np.uint8) * 255 for shape in shapes]))
        self.vectors = rows if basis is None else np.asarray(rows @ basis, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, marks: Mapping[str, NDArray[np.uint8]]) -> LogoIndex:
        """Make an index of your own marks: a mask of 0 and 255 each, of any size.

        Raises:
            UsageError: without a mark, or for a mask that shows nothing.
        """
        import numpy as np

        if not marks or any(mask.ndim != 2 or not mask.any() for mask in marks.values()):
            raise UsageError("a mark's mask [height, width] shows nothing", hint="255 is the mark")
        shapes = np.stack([framed((mask > 127).astype(np.uint8) * 255) > 127 for mask in marks.values()])
        return cls(tuple(marks), shapes, np.full(len(marks), UNUSUAL, dtype=np.float32))

    def bits(self, mark: int) -> bytes:
        """Return the packed pixels of one silhouette."""
        return bytes(self._bits[mark].tobytes())

    def likenesses(self, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the correlation of embedded masks with every mark [masks, marks]."""
        import numpy as np

        flat = unit(rows)
        return np.asarray((flat if self.basis is None else flat @ self.basis) @ self.vectors.T, np.float32)


def turned(found: list[Region], angles: tuple[float, ...] = ANGLES) -> NDArray[np.uint8]:
    """Return the regions in the small frame at every angle [regions * angles, FRAME * FRAME]."""
    return embed([framed(region.mask, FRAME, angle) for region in found for angle in angles])


def candidates(rgb: NDArray[np.uint8], index: LogoIndex) -> list[Candidate]:
    """Return what could be a mark in a picture [height, width, 3], with the features of each."""
    import cv2
    import numpy as np

    found = regions(rgb)
    if not found:
        return []
    first = index.likenesses(turned(found, ANGLES[:2])).reshape(len(found), 2, -1).max(axis=1)
    # A mark may be alike as few things are, or more alike than is usual for it: both are looked at.
    ranks = np.minimum(_ranks(first.max(axis=1)), _ranks((first - index.usual).max(axis=1)))
    found = [found[at] for at in np.argsort(ranks, kind="stable")[:_PROMISING]]
    likeness = index.likenesses(turned(found)).reshape(len(found), len(ANGLES), -1)
    best, angle = likeness.max(axis=1), likeness.argmax(axis=1)
    over = best - index.usual
    count = min(_PER_REGION, len(index))
    tops = np.concatenate(
        [np.argpartition(-rows, count - 1, axis=1)[:, :count] for rows in (best, over)], axis=1
    )
    pairs = {(at, int(mark)) for at in range(len(found)) for mark in tops[at] if best[at, mark] >= _LEAST}
    listed = sorted(pairs)
    if not listed:
        return []
    alike, above = (_ranks(np.array([rows[pair] for pair in listed], np.float32)) for rows in (best, over))
    order = np.argsort(np.minimum(alike, above), kind="stable")
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[:, :, 0] *= 100 / 255
    out: list[Candidate] = []
    taken: list[tuple[int, Region]] = []
    for at, mark in (listed[place] for place in order):
        region = found[at]
        if any(mark == other and region.near(place) for other, place in taken):
            continue
        taken.append((mark, region))
        row = features(
            lab,
            region,
            silhouette(index.bits(mark)),
            angle=ANGLES[angle[at, mark]],
            likeness=float(best[at, mark]),
            over=float(over[at, mark]),
        )
        out.append(Candidate(mark, region.box, row))
        if len(out) == _VERIFIED:
            break
    return out


def _ranks(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the place of each value, the largest first."""
    import numpy as np

    return np.argsort(np.argsort(-values, kind="stable"), kind="stable")


def find_logos(
    rgb: NDArray[np.uint8], index: LogoIndex | None = None, *, least: float = _SHOWN
) -> list[LogoHit]:
    """Return the marks in a picture [height, width, 3] that reach `least`, the surest first.

    Raises:
        GuardUnavailable: when the weights are absent or not the ones on record.
    """
    import numpy as np

    shipped, weights = _shipped()
    used = index or shipped
    found = candidates(rgb, used)
    if not found:
        return []
    odds = np.clip(weights.log_odds(np.stack([one.features for one in found])), -30, 30)
    scores = 1 / (1 + np.exp(-odds))
    hits: dict[str, LogoHit] = {}
    for one, score in sorted(zip(found, scores, strict=True), key=lambda pair: -pair[1]):
        if score >= least:
            hits.setdefault(used.names[one.mark], LogoHit(used.names[one.mark], one.box, float(score)))
    return list(hits.values())


def logo_index() -> LogoIndex:
    """Return the index that ships.

    Raises:
        GuardUnavailable: when it is absent or not the one on record.
    """
    return _shipped()[0]


@lru_cache(maxsize=1)
def _shipped() -> tuple[LogoIndex, Weights]:
    try:
        (path,) = entry("logo-shapes").verify().values()
        return read_index(path.read_bytes())
    except Error as exc:
        raise GuardUnavailable(f"logos: {exc.message}", hint=exc.hint) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise GuardUnavailable("logos: the index cannot be read", hint="reinstall clearmark") from exc


def read_index(data: bytes) -> tuple[LogoIndex, Weights]:
    """Read what `logos build` and `logos fit` wrote."""
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        names = tuple(arrays["names"].tobytes().decode().split("\n"))
        shapes = np.unpackbits(arrays["shapes"], axis=1).reshape(-1, FINE, FINE).astype(bool)
        index = LogoIndex(
            names, shapes, arrays["usual"].astype(np.float32), basis=arrays["basis"].astype(np.float32)
        )
        count = len(FEATURES)
        mean, scale, weights = (arrays[name].astype(np.float32) for name in ("mean", "scale", "weights"))
        if mean.shape != (count,) or scale.shape != (count,) or weights.shape != (count + 1,):
            raise ModelCorrupt("the logo index's weights do not fit", hint="reinstall clearmark")
    return index, Weights(mean, scale, weights[:-1], float(weights[-1]))
