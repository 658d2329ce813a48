"""How far a marked picture is from the one before it: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clearmark.provenance.watermark._front import activity
from clearmark.provenance.watermark.codec import Pixels

__all__ = ["FEW", "QUIET", "luma", "noise", "psnr", "quiet_areas", "ssim"]

_ROWS = 512
QUIET = 1.0
"""Where detail is weaker than this (grey levels, root mean square), noise would be seen."""

FEW = 0.02
"""A picture with less of such areas says nothing about them."""

PSNR_SAME = 100.0
"""What `psnr` returns for two equal pictures, so that JSON can carry it."""


def luma(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return BT.601 luma as float32, height x width."""
    import cv2

    weights = np.array([[0.299, 0.587, 0.114]], np.float32)
    out = np.empty(pixels.shape[:2], np.float32)
    # By bands: a float copy of an 8k picture's three channels would be 800 MB.
    for top in range(0, len(pixels), _ROWS):
        out[top : top + _ROWS] = cv2.transform(pixels[top : top + _ROWS].astype(np.float32), weights)
    return out


def psnr(before: Pixels, after: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB over all channels, at most `PSNR_SAME`."""
    total = 0.0
    for top in range(0, len(before), _ROWS):
        gap = before[top : top + _ROWS].astype(np.float32) - after[top : top + _ROWS]
        total += float(np.square(gap).sum(dtype=np.float64))
    mse = total / before.size
    return PSNR_SAME if mse == 0 else min(PSNR_SAME, 10 * math.log10(255**2 / mse))


def ssim(before: Pixels, after: Pixels) -> float:
    """Return the mean structural similarity of luma.

    Gaussian window of sigma 1.5, 11 x 11, K1 = 0.01, K2 = 0.03 (Wang et al. 2004, section III-C).
    """
    import cv2

    def blur(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        out: npt.NDArray[np.float32] = cv2.GaussianBlur(plane, (11, 11), 1.5)
        return out

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    total, weight = 0.0, 0
    for top in range(0, len(before), _ROWS):
        # Bands overlap by the window's radius, so that a seam changes nothing.
        low, high = max(0, top - 5), min(len(before), top + _ROWS + 5)
        x, y = luma(before[low:high]), luma(after[low:high])
        mx, my = blur(x), blur(y)
        cross, squares = mx * my, mx * mx + my * my
        # Only the sum of the two variances is asked for: one blur serves both.
        spread, cov = blur(x * x + y * y) - squares, blur(x * y) - cross
        score = ((2 * cross + c1) * (2 * cov + c2)) / ((squares + c1) * (spread + c2))
        part = score[top - low : top - low + _ROWS]
        total += float(part.sum(dtype=np.float64))
        weight += part.size
    return total / weight


def quiet_areas(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return where luma is flat: its detail within `QUIET` grey levels, root mean square."""
    return np.asarray(activity(plane)[1] < QUIET)


def noise(before: Pixels, after: Pixels, where: npt.NDArray[np.bool_]) -> float:
    """Return the standard deviation of what was added to luma in some places, in grey levels."""
    return float((luma(after) - luma(before))[where].std()) if where.mean() > FEW else 0.0
