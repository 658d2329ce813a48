"""Retrieve, then verify: where in a picture a part of another one is, by SIFT and RANSAC, mirrored too.

Matches vote for a turn and a scale first, as in Lowe's Hough step (2004); an affine map is fitted by RANSAC
to those that agree. What both pictures show under that map is the mask, and its share of each says the kind.
Time is bounded: sizes, key points and iterations are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clearmark.core import Box
from clearmark.guardrails.memorization._keypoints import STEPS, Features, colour_difference, features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization._layout import Agreement

__all__ = ["KINDS", "Features", "Region", "colour_difference", "features", "locate", "soft_region"]

KINDS = ("verbatim", "cropped", "part", "template")
"""The whole, a cut-out of it, a part pasted elsewhere, the same layout with a changed part."""

_RATIO = 0.82
_ERROR = 4.0
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


def locate(
    query: Features,
    mirror: Features,
    item: Features,
    luma: Callable[[], NDArray[np.uint8] | None] | None = None,
    *,
    least: int = 6,
) -> Region | None:
    """Return what `query` shares with `item`; `mirror` holds the features of the flipped query.

    `luma` makes that of an item whose features come without one: it is needed for the few that fit.
    None when fewer than `least` places agree.
    """
    best: tuple[int, bool, NDArray[np.float64]] | None = None
    for mirrored, side in ((False, query), (True, mirror)):
        found = _fit(side, item, least)
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], mirrored, found[1])
        if best is not None and best[0] >= 40:
            break
    if best is None or best[0] < least:
        return None
    inliers, mirrored, turn = best
    shown = item.luma if item.luma is not None else luma() if luma is not None else None
    if shown is None or shown.shape != item.size:
        return None
    return _region(mirror if mirrored else query, shown, turn, inliers=inliers, mirrored=mirrored)


def _matches(query: Features, item: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which key points pass the ratio test, and their partners."""
    import numpy as np

    scale = np.float32(1 / STEPS)
    likeness = (query.descriptors * scale) @ (item.descriptors * scale).T
    rows = np.arange(len(likeness))
    first = likeness.argmax(axis=1)
    nearest = likeness[rows, first]
    likeness[rows, first] = -1.0
    second = likeness.max(axis=1)
    near, far = (2 - 2 * nearest).clip(0), (2 - 2 * second).clip(1e-9)
    keep = np.flatnonzero(near < _RATIO**2 * far)
    return keep, first[keep]


def _agreeing(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the matches within 25 degrees and 0.7 octaves of the commonest turn and scale."""
    import numpy as np

    turn = (end[:, 2] - start[:, 2]) % 360.0
    octave = np.log2(np.maximum(end[:, 3], 1e-3) / np.maximum(start[:, 3], 1e-3))
    apart = np.abs(turn[:, None] - turn[None, :])
    near = (np.minimum(apart, 360.0 - apart) < 25.0) & (np.abs(octave[:, None] - octave[None, :]) < 0.7)
    return np.flatnonzero(near[int(near.sum(axis=1).argmax())])


def _fit(query: Features, item: Features, least: int) -> tuple[int, NDArray[np.float64]] | None:
    import cv2
    import numpy as np

    if len(query.points) < least or len(item.points) < least:
        return None
    ours, theirs = _matches(query, item)
    if len(ours) < least:
        return None
    agree = _agreeing(item.points[theirs], query.points[ours])
    if len(agree) < least:
        return None
    start, end = item.points[theirs[agree], :2], query.points[ours[agree], :2]
    turn, good = cv2.estimateAffine2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=_ERROR, maxIters=1000, confidence=0.995
    )
    if turn is None or not np.isfinite(turn).all():
        return None
    stretch = np.linalg.svd(turn[:, :2], compute_uv=False)
    if (
        np.linalg.det(turn[:, :2]) <= 0
        or not 0.12 < stretch[1] <= stretch[0] < 8
        or stretch[0] > 2.5 * stretch[1]
    ):
        return None
    good = good.ravel().astype(bool)
    # A repeated motif matches one place many times: only distinct places on both sides count.
    places = min(len(np.unique((side[good] // 4).astype(int), axis=0)) for side in (start, end))
    return places, turn


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
    query: Features, luma: NDArray[np.uint8], turn: NDArray[np.float64], *, inliers: int, mirrored: bool
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
