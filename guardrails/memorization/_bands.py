"""A band of frequencies of a picture's luma: where it has detail, and how far two of them look the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["alike", "band", "detailed"]


def band(luma: NDArray[np.float32], fine: float, coarse: float) -> NDArray[np.float32]:
    """Return what lies between two blurs of luma [h, w], of `fine` and `coarse` pixels."""
    import cv2
    import numpy as np

    out = cv2.GaussianBlur(luma, (0, 0), fine) - cv2.GaussianBlur(luma, (0, 0), coarse)
    return np.asarray(out, dtype=np.float32)


def detailed(
    of: NDArray[np.float32], window: tuple[int, int], least: float, even: float
) -> NDArray[np.bool_]:
    """Return where a band varies in both directions (Harris and Stephens 1988).

    The lesser eigenvalue of the structure tensor over `window` is above `least`, and above the share `even`
    of the greater one: stripes, gradients and blank paper have none.
    """
    import cv2
    import numpy as np

    across, down = (
        cv2.Sobel(of, cv2.CV_32F, 1, 0, scale=0.25),
        cv2.Sobel(of, cv2.CV_32F, 0, 1, scale=0.25),
    )
    xx, yy, xy = (cv2.blur(part, window) for part in (across * across, down * down, across * down))
    middle, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    lesser, greater = middle - apart, middle + apart
    out: NDArray[np.bool_] = (lesser > least) & (lesser > even * greater)
    return out


def alike(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    where: NDArray[np.bool_],
    window: tuple[int, int],
    least: float,
) -> tuple[NDArray[np.bool_], float]:
    """Return at which places of `where` (some) the surroundings of two bands correlate by more than `least`,
    and the correlation over all of `where`."""
    import cv2
    import numpy as np

    aa, bb, ab = (cv2.blur(part, window) for part in (a * a, b * b, a * b))
    same: NDArray[np.bool_] = where & (ab / np.sqrt(np.maximum(aa * bb, 1e-6)) > least)
    both = float(ab[where].sum()) / max(float(np.sqrt(aa[where].sum() * bb[where].sum())), 1e-6)
    return same, both
