"""The few statistics of a report: intervals of a share, and percentiles in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

__all__ = ["Z95", "floor3", "percentile", "wilson"]

Z95 = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""


def wilson(hits: int, total: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927); (0, 1) where nothing was counted.

    Unlike the interval of the normal approximation it stays within [0, 1] and holds for few counts.
    """
    if total <= 0:
        return 0.0, 1.0
    share = hits / total
    width = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    middle = share + z * z / (2 * total)
    # With no hits, or only hits, a bound is the share itself; rounding must not lay it on the wrong side.
    low, high = max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)
    return min(low, share), max(high, share)


def floor3(us: int) -> int:
    """Return a duration rounded down to three significant digits, and 0 for a negative one.

    There are 900 such values per power of ten, so counting them takes bounded memory, and since rounding
    down keeps order, a percentile of rounded values is the rounded percentile.
    """
    if us < 1000:
        return max(0, us)
    step: int = 10 ** (len(str(us)) - 3)
    return us // step * step


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """Return the nearest-rank percentile of counted values; None where there are none."""
    total = sum(counts.values())
    if not total:
        return None
    rank = max(1, math.ceil(share * total))
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    raise AssertionError("unreachable")


Durations = Counter[int]
"""Rounded durations and how often each was seen."""
