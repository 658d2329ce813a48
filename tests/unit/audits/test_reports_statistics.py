"""The statistics of reports against published values and against the plain way of counting."""

import math
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clearmark.audits.reports._statistics import floor3, percentile, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3, to four digits.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(hits, total, low, high):
    found = wilson(hits, total)
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_nothing_counted_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert percentile({}, 0.5) is None


@example(hits=0, more=69)
@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share_and_stays_in_bounds(hits, more):
    total = hits + more
    low, high = wilson(hits, total)
    assert 0 <= low <= hits / total <= high <= 1


@given(st.lists(st.integers(-10, 10**12), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_of_rounded_values_is_the_rounded_percentile(values, share):
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert percentile(Counter(map(floor3, values)), share) == floor3(exact)


@given(st.integers(0, 10**15))
def test_rounding_down_loses_less_than_one_percent(us):
    assert floor3(us) <= us
    assert us - floor3(us) <= us / 100
