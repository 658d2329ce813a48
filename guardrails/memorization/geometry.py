"""Retrieve, then verify: where in a picture a part of another one is, by SIFT, mirrored too.

Each match says by itself how the item would lie in the picture (Lowe 2004); the maps that most others agree
with are refined to affine ones. What both pictures show under the map is the mask, and its share of each says
the kind; where few places agree, the two have to look the same there as well. Time is bounded: sizes, key
points and maps are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clearmark.core import Box
from clearmark.guardrails.memorization._bands import alike, band, detailed
from clearmark.guardrails.memorization._keypoints import STEPS, VIEW, Features, colour_difference, features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization._layout import Agreement

__all__ = [
    "KINDS",
    "Features",
    "Region",
    "agreeing_places",
    "colour_difference",
    "features",
    "locate",
    "soft_region",
]

KINDS = ("verbatim", "cropped", "part", "template")
"""The whole, a cut-out of it, a part pasted elsewhere, the same layout with a changed part."""

_RATIO = 0.9
_MATCHES = 120
_ERROR = 5.0
_LOOSE = 8.0
_TURN, _OCTAVE = 25.0, 0.7
_LEAST, _SURE = 4, 6
_TRIED = 3
_MOST = 0.8
"""From this share on, something counts as the whole of a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What a picture has in common with an item.

    `inliers` counts distinct places that agree on one map, 0 where only the layouts agree; `of_query` and
    `of_item` are the shares of the two pictures that are common, `agreement` that of where the two overlap,
    and `correlation` is that of the lumas there. `mask` is bool [h, w] over the query, shrunk by `scale`;
    `box` is in its pixels.
    """

    kind: str
    inliers: int
    mirrored: bool
    of_query: float
    of_item: float
    agreement: float
    correlation: float
    box: Box
    scale: float
    mask: NDArray[np.bool_] = field(repr=False)
    dense: float = 0.0
    colour: float = 1.0


def locate(
    query: Features,
    mirror: Features,
    item: Features,
    picture: Callable[[], NDArray[np.uint8] | None] | None = None,
    *,
    least: int = _LEAST,
) -> Region | None:
    """Return what `query` shares with `item`; `mirror` holds the features of the flipped query.

    `picture` makes the item at its size [height, width, 3]: it is needed for the few that fit.
    None when fewer than `least` places agree.
    """
    best: tuple[int, bool, NDArray[np.float64]] | None = None
    for mirrored, side in ((False, query), (True, mirror)):
        found = _fit(side, item, least)
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], mirrored, found[1])
        if best is not None and best[0] >= 40:
            break
    if best is None:
        return None
    inliers, mirrored, turn = best
    pixels = picture() if picture is not None else None
    shown = item.luma if item.luma is not None else None if pixels is None else _grey(pixels)
    if shown is None or shown.shape != item.size:
        return None
    side = mirror if mirrored else query
    assert side.luma is not None
    dense = shown_alike(side.luma, shown, turn)
    # Few places agree by chance: then what lies there has to look the same as well.
    if inliers < _SURE and dense < _DENSE:
        return None
    region = _region(side, shown, turn, inliers=inliers, mirrored=mirrored, dense=dense)
    if pixels is None or side.view is None:
        return region
    return replace(region, colour=_colours_apart(side, pixels, turn))


def agreeing_places(query: Features, mirror: Features, item: Features) -> int:
    """Return how many distinct places agree on one map of the item to `query` or to its `mirror` image."""
    found = (_fit(side, item, _LEAST) for side in (query, mirror))
    return max((places for places, _ in filter(None, found)), default=0)


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _colours_apart(query: Features, item: NDArray[np.uint8], turn: NDArray[np.float64]) -> float:
    """Return the mean difference in [0, 1] of the colours where the item lies in the query; else 1."""
    import cv2
    import numpy as np

    assert query.view is not None
    height, width = query.view.shape[:2]
    scale = VIEW / max(query.size)
    growth = float(np.sqrt(max(np.linalg.det(turn[:, :2]), 1e-6))) * scale
    share = min(1.0, growth)
    size = (max(1, round(item.shape[1] * share)), max(1, round(item.shape[0] * share)))
    small = cv2.resize(item, size, interpolation=cv2.INTER_AREA)
    moved = turn * scale
    moved[:, 0] *= item.shape[1] / size[0]
    moved[:, 1] *= item.shape[0] / size[1]
    lies = cv2.warpAffine(np.full(small.shape[:2], 255, np.uint8), moved, (width, height)) > 250
    if int(lies.sum()) < 16:
        return 1.0
    theirs = cv2.warpAffine(small, moved, (width, height), borderMode=cv2.BORDER_REPLICATE)
    a, b = (cv2.GaussianBlur(side.astype(np.float32), (0, 0), 2.0) for side in (query.view, theirs))
    return float(np.abs(a - b)[lies].mean()) / 255.0


def _matches(query: Features, item: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which key points pass the ratio test, the best of them, and their partners."""
    import numpy as np

    scale = np.float32(1 / STEPS)
    likeness = (query.descriptors * scale) @ (item.descriptors * scale).T
    rows = np.arange(len(likeness))
    first = likeness.argmax(axis=1)
    nearest = likeness[rows, first]
    likeness[rows, first] = -1.0
    second = likeness.max(axis=1)
    ratio = (2 - 2 * nearest).clip(0) / (2 - 2 * second).clip(1e-9)
    keep = np.flatnonzero(ratio < _RATIO**2)
    if len(keep) > _MATCHES:
        keep = keep[np.argsort(ratio[keep], kind="stable")[:_MATCHES]]
    return keep, first[keep]


def _fit(query: Features, item: Features, least: int) -> tuple[int, NDArray[np.float64]] | None:
    """Return how many distinct places agree on one map of the item to the query, and the map.

    A match of two key points with turn and size is a similarity by itself (Lowe 2004): each is tried on all
    the others, and the best are refined to affine maps by least squares. Nothing is drawn by chance.
    """
    if len(query.points) < least or len(item.points) < least:
        return None
    ours, theirs = _matches(query, item)
    if len(ours) < least:
        return None
    start, end = item.points[theirs], query.points[ours]
    agree = _agreeing(start, end)
    places = _places(start), _places(end)
    counts = agree.sum(axis=1)
    best: tuple[int, NDArray[np.float64]] | None = None
    for _ in range(_TRIED):
        one = int(counts.argmax())
        if counts[one] < least:
            break
        found = _refined(start[:, :2], end[:, :2], agree[one], places, least)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
        counts[agree[one]] = 0  # the next one is another map
    return best


def _agreeing(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which matches [n, n] agree with the similarity of each: in turn, scale and place."""
    import numpy as np

    turn = np.deg2rad(end[:, 2] - start[:, 2])
    octave = np.log2(np.maximum(end[:, 3], 1e-3) / np.maximum(start[:, 3], 1e-3))
    apart = np.abs(turn[:, None] - turn[None, :]) % (2 * np.pi)
    near = np.minimum(apart, 2 * np.pi - apart) < np.deg2rad(_TURN)
    near &= np.abs(octave[:, None] - octave[None, :]) < _OCTAVE
    # As complex numbers, a similarity is a product and a sum.
    a, b = (side[:, 0] + 1j * side[:, 1] for side in (start, end))
    by = np.exp2(octave) * np.exp(1j * turn)
    far = np.abs(by[:, None] * (a[None, :] - a[:, None]) - (b[None, :] - b[:, None]))
    out: NDArray[np.bool_] = near & (far < np.maximum(_LOOSE, 0.5 * end[:, 3])[None, :])
    return out


def _refined(
    start: NDArray[np.float32],
    end: NDArray[np.float32],
    agree: NDArray[np.bool_],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    least: int,
) -> tuple[int, NDArray[np.float64]] | None:
    """Return how many distinct places lie near the map that fits the matches that `agree`, and the map."""
    import numpy as np

    count, turn = _distinct(places, agree), None
    for _ in range(2):
        if count < least:
            return None
        turn = _map(start[agree], end[agree], affine=count >= _SURE)
        off = start @ turn[:, :2].T + turn[:, 2] - end
        agree = (off * off).sum(axis=1) < _ERROR**2
        count = _distinct(places, agree)
    assert turn is not None
    stretch = np.linalg.svd(turn[:, :2], compute_uv=False)
    if (
        count < least
        or np.linalg.det(turn[:, :2]) <= 0
        or not 0.12 < stretch[1] <= stretch[0] < 8
        or stretch[0] > 2.5 * stretch[1]
    ):
        return None
    return count, turn


def _places(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the cell of 4 x 4 pixels that each key point lies in, as a number."""
    import numpy as np

    cells = (points[:, :2] // 4).astype(np.int64)
    return cells[:, 0] * 4096 + cells[:, 1]


def _distinct(places: tuple[NDArray[np.int64], NDArray[np.int64]], which: NDArray[np.bool_]) -> int:
    """Count distinct places on both sides: a repeated motif matches one place many times."""
    return min(len(set(side[which].tolist())) for side in places)


def _map(start: NDArray[np.float32], end: NDArray[np.float32], *, affine: bool) -> NDArray[np.float64]:
    """Return the affine map [2, 3] of least squares, else the similarity."""
    import numpy as np

    a, b = start.astype(np.float64), end.astype(np.float64)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    a, b = a - mean_a, b - mean_b
    spread = a.T @ a
    # Places on one line leave an affine map open across it.
    if affine and np.linalg.eigvalsh(spread)[0] > 16.0 * len(a):
        linear = np.linalg.solve(spread, a.T @ b).T
    else:
        whole = max(float(np.trace(spread)), 1e-9)
        along, across = float((a * b).sum()), float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
        linear = np.array([[along, -across], [across, along]]) / whole
    return np.column_stack([linear, mean_b - linear @ mean_a])


_DENSE_SIDE = 128
_FINE, _COARSE = 0.8, 4.0
_WINDOW = (11, 11)
_VARIES, _EVEN = 4.0, 0.1
_SAME = 0.6
_ENOUGH = 600
_DENSE = 0.35
"""Likeness from which on few key points make a region."""


def shown_alike(query: NDArray[np.uint8], item: NDArray[np.uint8], turn: NDArray[np.float64]) -> float:
    """Return in [0, 1] how far the two look the same where the map lays the item on the query.

    Both at 128 pixels, a band of frequencies, only where both vary in both directions: the share of these
    places whose surroundings correlate, times the correlation over all of them, less where there are few.
    """
    import cv2
    import numpy as np

    height, width = query.shape
    scale = _DENSE_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ours = cv2.resize(query, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    moved = turn * scale
    growth = float(np.sqrt(max(np.linalg.det(moved[:, :2]), 1e-6)))
    # What is shown smaller is smoothed first, what is shown larger is as smooth on the other side.
    theirs = cv2.GaussianBlur(item, (0, 0), 0.4 / growth) if growth < 0.7 else item
    theirs = cv2.warpAffine(theirs, moved, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if growth > 1.5:
        ours = cv2.GaussianBlur(ours, (0, 0), 0.4 * growth)
    lies = cv2.warpAffine(np.full(item.shape, 255, np.uint8), moved, size) > 250
    a, b = (band(side, _FINE, _COARSE) for side in (ours, theirs))
    both = lies & detailed(a, _WINDOW, _VARIES, _EVEN) & detailed(b, _WINDOW, _VARIES, _EVEN)
    count = int(both.sum())
    if not count:
        return 0.0
    same, likeness = alike(a, b, both, _WINDOW, _SAME)
    return float(same.sum()) / count * max(0.0, likeness) * min(1.0, count / _ENOUGH)


_SOFT = 0.5
"""Share of the places with detail from which on two layouts that agree make a region."""


def soft_region(query: Features, found: Agreement) -> Region | None:
    """Return the region of two pictures whose layouts agree though no key points do; None where too little
    does."""
    import cv2
    import numpy as np

    if query.luma is None or found.share * found.weight < _SOFT:
        return None
    height, width = query.luma.shape
    same = cv2.resize(found.common().astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    share = float(same.mean())
    return Region(
        kind="verbatim" if share >= _MOST else "template",
        inliers=0,
        mirrored=found.turn >= 4,
        of_query=share,
        of_item=share,
        agreement=found.share,
        correlation=found.likeness,
        box=_box(same, query.scale),
        scale=query.scale,
        mask=same,
    )


def _box(same: NDArray[np.bool_], scale: float) -> Box:
    """Return the box around a mask, in pixels of the picture."""
    import numpy as np

    rows, columns = np.flatnonzero(same.any(axis=1)), np.flatnonzero(same.any(axis=0))
    if not len(rows):
        return Box(0, 0, 0, 0)
    left, top = int(columns[0] / scale), int(rows[0] / scale)
    right, bottom = int((columns[-1] + 1) / scale), int((rows[-1] + 1) / scale)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


def _region(
    query: Features,
    luma: NDArray[np.uint8],
    turn: NDArray[np.float64],
    *,
    inliers: int,
    mirrored: bool,
    dense: float,
) -> Region:
    import cv2
    import numpy as np

    assert query.luma is not None
    height, width = query.luma.shape
    moved = cv2.warpAffine(luma, turn, (width, height))
    lies = cv2.warpAffine(np.full_like(luma, 255), turn, (width, height)) > 127
    same = _alike(query.luma, moved, lies)
    growth = max(abs(float(np.linalg.det(turn[:, :2]))), 1e-6)
    item_area = luma.size * growth
    of_query, of_item = same.sum() / same.size, min(1.0, same.sum() / item_area)
    lies_query, lies_item = lies.sum() / lies.size, min(1.0, lies.sum() / item_area)
    kind = _kind(of_query, of_item, lies_query, lies_item)
    if mirrored:
        same = np.ascontiguousarray(same[:, ::-1])
    return Region(
        kind=kind,
        inliers=inliers,
        mirrored=mirrored,
        of_query=float(of_query),
        of_item=float(of_item),
        agreement=float(same.sum() / max(1, lies.sum())),
        correlation=_correlation(query.luma[lies], moved[lies]),
        box=_box(same, query.scale),
        scale=query.scale,
        mask=same,
        dense=dense,
    )


def _kind(of_query: float, of_item: float, lies_query: float, lies_item: float) -> str:
    if of_query >= _MOST and of_item >= _MOST:
        return "verbatim"
    if of_query >= _MOST:
        return "cropped"
    if lies_query >= _MOST and lies_item >= _MOST:
        return "template"
    return "part"


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    import numpy as np

    if one.size < 16:
        return 0.0
    a, b = (x.astype(np.float32) - float(x.mean()) for x in (one, other))
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-6))


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8], within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say where two aligned lumas show the same: their windows correlate, or both are flat and as bright."""
    import cv2
    import numpy as np

    a, b = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), 1.5) for x in (one, other))
    window = (17, 17)
    mean_a, mean_b = cv2.blur(a, window), cv2.blur(b, window)
    var_a = (cv2.blur(a * a, window) - mean_a**2).clip(0)
    var_b = (cv2.blur(b * b, window) - mean_b**2).clip(0)
    both = cv2.blur(a * b, window) - mean_a * mean_b
    correlate = both > 0.6 * np.sqrt(var_a * var_b) + 1e-6
    difference = mean_a - mean_b
    offset = float(np.median(difference[within])) if within.any() else 0.0
    flat = (var_a < 64) & (var_b < 64) & (np.abs(difference - offset) < 25)
    structured = (var_a >= 16) & (var_b >= 16)
    same = ((correlate & structured) | flat) & within
    kernel = np.ones((7, 7), np.uint8)
    closed = cv2.morphologyEx(same.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    out: NDArray[np.bool_] = (opened > 0) & within
    return out
