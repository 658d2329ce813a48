"""The decoder of the codec `clearmark`: from luma to a mark id, or to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._carrier import TILE, Carrier
from clearmark.provenance.watermark._convolution import decode, encode
from clearmark.provenance.watermark._front import (
    SIDES,
    canonical,
    equalised,
    fold,
    middle,
    spectrum,
    whiten,
)
from clearmark.provenance.watermark._geometry import search, straightened
from clearmark.provenance.watermark._payload import Bits, unframe
from clearmark.provenance.watermark.codec import Extracted

__all__ = ["SALT", "TRIES", "read", "soft_bits", "weights"]

SALT = b"clearmark tile 1"
"""What the check word covers beside the id."""

TRIES = 12
"""Poses of the search that are decoded at most."""

LEAST = 4.6
"""Fit of the fixed pattern below which nothing is decoded; the best of a search of nothing is about 5.5."""

PEAKS = 2

Floats = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read, how well the fixed pattern fitted, and which way led there."""

    extracted: Extracted
    fit: float
    way: str


def weights(aligned: Complex, carrier: Carrier) -> Floats:
    """Return how far each frequency can be trusted: the fixed pattern's strength, as a line over radius."""
    radius = carrier.radius / carrier.radius.max()
    fit, at = carrier.fit(aligned), radius[carrier.sync]
    # A small prior pulls the line's slope to zero and its level to what a weak mark shows.
    # Least squares, by hand: the equations are two.
    count, first, second = len(at), float(at.sum()), float(at @ at) + 3.0**2
    level, tilted = float(fit.sum()), float(at @ fit) - 3.0
    slope = (count * tilted - first * level) / (count * second - first**2)
    base = (level - slope * first) / count
    out = np.maximum(base + slope * radius, 0.15 * max(float(fit.mean()), 0.05))
    scaled: Floats = (out / np.sqrt((out * out).mean())).astype(np.float32)
    return scaled


def soft_bits(aligned: Complex, carrier: Carrier) -> Floats:
    """Return the soft code bits of an equalised spectrum whose tile is at the origin."""
    return carrier.collect(aligned, weights(aligned, carrier))


def read(luma: Floats, carrier: Carrier, *, deep: bool = True) -> Reading | None:
    """Return the mark in `luma` (0-255, any size), or None.

    First as if the picture were only resized, mirrored or turned by quarters, which one transform answers;
    then, when `deep`, through the search, its likeliest poses first; all at each canonical size. Every
    message that is tried has one chance in 2**32 to pass by accident. At most (3 x 8 + TRIES) x PEAKS x LIST
    = 576 are tried, so a picture without a mark passes once in 7 million (1.3e-7).
    """
    seen = middle(luma)
    planes: dict[int, Floats] = {}
    whitened: dict[int, Floats] = {}
    folded: dict[int, Floats] = {}
    for quarters, mirrored in _LIES:
        for side in SIDES:
            if side not in folded:
                planes[side] = canonical(seen, side)
                whitened[side] = whiten(planes[side])
                folded[side] = fold(whitened[side])
            found = _decoded(_lying(folded[side], quarters, mirrored), carrier)
            if found is not None:
                way = f"{side} {'mirrored ' if mirrored else ''}{90 * quarters}"
                return Reading(extracted=found[0], fit=found[1], way=way)
    if not deep:
        return None
    likely = [
        (fit, planes[side], pose)
        for side in SIDES
        for fit, pose in search(whitened[side], carrier, tries=TRIES, least=LEAST)
    ]
    for _, plane, pose in sorted(likely, key=lambda found: -found[0])[:TRIES]:
        found = _decoded(fold(whiten(straightened(plane, pose))), carrier)
        if found is not None:
            return Reading(extracted=found[0], fit=found[1], way=f"{min(plane.shape)} {pose}")
    return None


_LIES = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""The eight ways in which a square can lie."""


def _lying(tile: Floats, quarters: int, mirrored: bool) -> Floats:
    return np.ascontiguousarray(np.rot90(tile[:, ::-1] if mirrored else tile, quarters))


def _decoded(tile: Floats, carrier: Carrier) -> tuple[Extracted, float] | None:
    values = equalised(spectrum(tile, carrier), carrier.radius)
    fit = carrier.position(values)
    best = float(fit.max())
    for down, right, height in _peaks(fit):
        if height < LEAST:
            return None
        soft = soft_bits(carrier.moved(values, -down, -right), carrier)
        for bits in decode(soft):
            mark_id = unframe(bits, salt=SALT)
            if mark_id is not None:
                return Extracted(mark_id=mark_id, confidence=_agreement(soft, bits)), best
    return None


def _agreement(soft: Floats, message: Bits) -> float:
    return round(float(((soft < 0) == encode(message).astype(bool)).mean()), 4)


def _peaks(fit: Floats) -> Iterator[tuple[float, float, float]]:
    """Yield the highest peaks: down and right to a fraction of a pixel, and height."""
    left = fit.copy()
    for _ in range(PEAKS):
        row, column = divmod(int(left.argmax()), TILE)
        height = float(left[row, column])
        yield (
            row + _between(fit[(row - 1) % TILE, column], height, fit[(row + 1) % TILE, column]),
            column + _between(fit[row, (column - 1) % TILE], height, fit[row, (column + 1) % TILE]),
            height,
        )
        near = np.arange(-2, 3)
        left[np.ix_((row + near) % TILE, (column + near) % TILE)] = -np.inf


def _between(before: float, top: float, after: float) -> float:
    """Return where the parabola through three neighbours has its top, in (-0.5, 0.5)."""
    bend = before - 2 * top + after
    return 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))
