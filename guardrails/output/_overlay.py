"""Stock agencies' watermarks: one faint pattern of words that is repeated over the whole picture.

What the picture shows is taken away (a high pass, cut off at a few grey levels, every place weighed by what
is usual around it, so that a faint word on a plain sky counts as much as one on leaves). What remains is held
against itself, shifted (autocorrelation by FFT). If it is like itself at two shifts in different directions,
and that in most ninths of the picture, a pattern lies over it. Words are thin: what fills the picture (weave,
wall) is left out by its kurtosis. A generator that learnt from an agency's previews draws such patterns too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import Finding, Stage, Subject
from clearmark.guardrails._media import pixels_of, unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LIMIT", "OverlayGuard", "overlay_strength"]

LIMIT = 0.1135
"""Strength at which the score is one half; the card says how often photographs reach it."""

_SIDE = 512
_CUT = 24.0  # grey levels: an edge of the picture counts no more than a letter
_NEAREST, _FARTHEST = 36, 0.5  # shifts that are looked at: pixels, and share of the side
_APART = 0.35  # sine of the angle between the two shifts, at least
_FLOOR = 3.0  # grey levels: noise of a plain picture is not blown up to a pattern
_SPARSE = 2.2  # least kurtosis: a dense texture has less than 2, letters over a photograph more
_AROUND, _RIDGE = 10, 0.75  # pixels around a peak, where it must have fallen to this share
_LEAST = 96  # a smaller picture shows no pattern twice


class OverlayGuard:
    """Scores `trademark` by a pattern that is repeated over the picture, as agencies mark their previews."""

    name = "overlay"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("trademark",)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one `trademark` finding per picture, with the fact `repeated_overlay`.

        Raises:
            GuardUnavailable: when a picture cannot be read.
        """
        with unavailable(self.name, "looking at a picture"):
            return [[self._check(subject)] for subject in batch]

    def _check(self, subject: Subject) -> Finding:
        began = time.perf_counter()
        strength = overlay_strength(_grey(pixels_of(self.name, subject)))
        return Finding(
            category="trademark",
            score=min(1.0, max(0.0, 0.5 * strength / LIMIT)),
            guard=self.name,
            guard_version=self.version,
            threshold=0.5,
            facts=MappingProxyType(
                {"repeated_overlay": strength >= LIMIT, "overlay_strength": round(strength, 4)}
            ),
            ms=(time.perf_counter() - began) * 1000,
        )


def overlay_strength(grey: NDArray[np.float32]) -> float:
    """Return how much of what is fine in a picture [height, width] repeats in two directions, 0 to 1."""
    import cv2
    import numpy as np

    height, width = grey.shape
    if min(height, width) < _LEAST:
        return 0.0
    fine = np.clip(grey - cv2.GaussianBlur(grey, (0, 0), 6), -_CUT, _CUT)
    fine /= np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 12)) + _FLOOR
    fine -= fine.mean()
    energy = float((fine * fine).mean())
    if energy < 1e-6 or float((fine**4).mean()) < _SPARSE * energy * energy:
        return 0.0
    peaks = _autocorrelation(fine)
    # Shifts of one half plane: the other mirrors it.
    rows, columns = peaks.shape
    y, x = np.mgrid[0:rows, 0:columns]
    x = x - columns // 2
    distance = np.hypot(x, y)
    peaks[(distance < _NEAREST) | (distance > _FARTHEST * max(height, width))] = 0
    # Stripes are like themselves wherever they are shifted along: a ridge, not a peak.
    peaks[cv2.dilate(peaks, _ring()) > _RIDGE * peaks] = 0
    first = int(peaks.argmax())
    one = (int(y.flat[first]), int(x.flat[first]))
    sine = np.abs(one[1] * y - one[0] * x) / np.maximum(1e-6, np.hypot(*one) * distance)
    peaks[sine < _APART] = 0
    second = int(peaks.argmax())
    other = (int(y.flat[second]), int(x.flat[second]))
    return max(0.0, min(float(peaks.flat[second]), _spread(fine, *one), _spread(fine, *other)))


def _ring() -> NDArray[np.uint8]:
    import numpy as np

    y, x = np.mgrid[-_AROUND : _AROUND + 1, -_AROUND : _AROUND + 1]
    return np.asarray(np.abs(np.hypot(x, y) - _AROUND) < 0.8, dtype=np.uint8)


def _spread(fine: NDArray[np.float32], down: int, across: int) -> float:
    """Return the correlation at one shift that all but two of the picture's ninths reach."""
    import numpy as np

    height, width = fine.shape
    kept = fine[: height - down, max(0, -across) : width - max(0, across)]
    moved = fine[down:, max(0, across) : width + min(0, across)]
    both, power = kept * moved, (kept * kept + moved * moved) / 2
    shares = [
        float(a.mean() / max(1e-3, float(b.mean())))
        for rows, more in zip(np.array_split(both, 3), np.array_split(power, 3), strict=True)
        for a, b in zip(np.array_split(rows, 3, axis=1), np.array_split(more, 3, axis=1), strict=True)
    ]
    return sorted(shares)[2]


def _autocorrelation(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the correlation at shifts of up to half the size: rows from 0, columns from minus to plus."""
    import cv2
    import numpy as np

    height, width = fine.shape
    shape = (cv2.getOptimalDFTSize(height + height // 2), cv2.getOptimalDFTSize(width + width // 2))
    power = np.abs(np.fft.rfft2(fine, shape)) ** 2
    raw = np.fft.irfft2(power, shape)
    down, across = height // 2, width // 2
    half = np.concatenate([raw[:down, -across:], raw[:down, :across]], axis=1)
    shared = np.outer(height - np.arange(down), width - np.abs(np.arange(-across, across)))
    out = (half / shared / max(1e-6, float((fine * fine).mean()))).astype(np.float32)
    # A pattern's peak is narrow; what is broad is the picture's own slow change.
    return np.asarray(cv2.GaussianBlur(out, (0, 0), 1.0) - cv2.GaussianBlur(out, (0, 0), 8.0), np.float32)


def _grey(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2
    import numpy as np

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = _SIDE / max(grey.shape)
    if scale < 1:
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.float32)
