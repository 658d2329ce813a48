"""Contrast as WCAG 2.2 defines it, for pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["AA", "contrast", "luminance"]

AA = 4.5
"""Least contrast of text against its background (WCAG 2.2, success criterion 1.4.3)."""

Floats = npt.NDArray[np.float64]


def luminance(rgb: npt.ArrayLike) -> Floats:
    """Return the relative luminance, in [0, 1], of sRGB values 0-255 along the last axis."""
    value = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    out: Floats = linear @ np.array([0.2126, 0.7152, 0.0722])
    return out


def contrast(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Return the contrast ratio of two colours or arrays of them: 1 (none) to 21 (black on white)."""
    first, second = luminance(one), luminance(other)
    out: Floats = (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)
    return out
