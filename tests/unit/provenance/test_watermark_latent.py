"""Gaussian Shading: the noise stays noise, the key reads it, and what inversion blurs is made up for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clearmark.core.errors import UsageError
from clearmark.provenance.watermark.latent import LatentWatermark, chance

ID = "0123456789abcdef"
SHAPE = (4, 64, 64)


@pytest.fixture(scope="module")
def mark():
    return LatentWatermark(SHAPE, b"key")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_noise_is_distributed_as_without_a_mark(mark):
    from scipy.stats import kstest

    noise = np.stack([mark.noise(f"{seed:016x}", rng(seed)) for seed in range(8)])
    assert noise.dtype == np.float32
    assert kstest(noise.ravel(), "norm").pvalue > 0.001
    along = np.corrcoef(noise[:, :, :, :-1].ravel(), noise[:, :, :, 1:].ravel())[0, 1]
    assert abs(along) < 0.01


def test_only_the_key_and_the_shape_read(mark):
    noise = mark.noise(ID, rng())
    found = mark.read(noise)
    assert (found.mark_id, found.confidence) == (ID, 1.0)
    assert LatentWatermark(SHAPE, b"other").read(noise) is None
    assert LatentWatermark(SHAPE).read(noise) is None
    with pytest.raises(UsageError):
        mark.read(noise[:2])


@pytest.mark.parametrize(("shape", "spread"), [(SHAPE, 4.0), ((4, 16, 16), 0.8), ((4, 32, 32), 1.8)])
def test_what_inversion_blurs_is_made_up_for(shape, spread):
    # Noise of `spread` standard deviations on top, as from an inversion that is mostly wrong.
    mark = LatentWatermark(shape, b"key")
    read = [
        mark.read(mark.noise(ID, rng(seed)) + spread * rng(99 + seed).standard_normal(shape))
        for seed in range(4)
    ]
    assert [found and found.mark_id for found in read] == [ID] * 4


def test_unmarked_noise_holds_nothing(mark):
    assert all(mark.read(rng(seed).standard_normal(SHAPE)) is None for seed in range(12))


@settings(max_examples=8, deadline=None)
@given(arrays.arrays(np.float32, (4, 12, 12), elements=st.floats(width=32)))
def test_any_array_gets_an_answer(noise):
    assert LatentWatermark((4, 12, 12), b"key").read(noise) is None


@pytest.mark.parametrize("shape", [(), (0, 9), (4, 8, 8), (1 << 13, 1 << 13)])
def test_shapes_that_hold_no_mark(shape):
    with pytest.raises(UsageError):
        LatentWatermark(shape)


def test_a_weak_trace_is_enough_to_identify_an_id_on_record(mark):
    marked = mark.noise(ID, rng(3))
    blurred = 0.06 * marked + rng(4).standard_normal(SHAPE)
    others = [f"{number:016x}" for number in range(500)]
    assert mark.read(blurred) is None
    found = mark.identify([rng(5).standard_normal(SHAPE), blurred], [*others, ID])
    assert (found.mark_id, found.score > 6) == (ID, True)
    assert mark.identify([blurred], others) is None
    assert LatentWatermark(SHAPE, b"other").identify([blurred], [ID]) is None
    assert mark.identify([], [ID]) is None
    assert mark.identify([np.zeros(SHAPE)], [ID]) is None


def test_the_bound_holds_where_it_can_be_counted():
    small = (8, 12, 12)
    noises = [rng(seed).standard_normal(small) for seed in range(2000)]
    scores = []
    for number in range(40):
        one = LatentWatermark(small, bytes([number]))
        found = (one.identify([noise], [ID], false_alarms=9.0) for noise in noises[50 * number :][:50])
        scores += [each.score for each in found]
    values = np.array(scores)
    assert len(values) == 2000
    for level in (1.0, 1.5, 2.0):
        assert 0 < (values > level).mean() < chance(level)
    assert chance(5.0) < 1e-6 < chance(4.9)
