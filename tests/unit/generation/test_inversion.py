"""Pictures run backwards: the noise comes back, from the pipelines that can and only from those."""

from __future__ import annotations

import numpy as np
import pytest

from clearmark.core import Request
from clearmark.core.errors import UsageError
from clearmark.core.pixels import open_image
from clearmark.generation import DiffusersGenerator, Inverter, ReferenceGenerator
from clearmark.provenance.watermark.latent import LatentWatermark

pytest.importorskip("diffusers")
KEY = b"a key"
IDS = ("0123456789abcdef", "fedcba9876543210")


def noise_of(mark_id):
    return lambda shape, seed: LatentWatermark(shape, KEY).noise(mark_id, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def marked():
    """Pictures by the reference model from marked noise, guidance 2: what keeps most of it."""
    generator = ReferenceGenerator()
    requests = [Request(prompt, seed=5, guidance=2.0) for prompt in ("a cat", "a house")]
    made = generator.generate_from(requests, [[noise_of(one)] for one in IDS])
    return [open_image(row[0].data) for row in made]


def test_each_picture_holds_its_own_mark_and_no_other(marked):
    for picture, own, other in zip(marked, IDS, reversed(IDS), strict=True):
        (noise,) = ReferenceGenerator().invert([picture])
        mark = LatentWatermark(noise.shape, KEY)
        found = mark.identify([noise], [other, own])
        assert found is not None
        assert found.mark_id == own
        assert mark.identify([noise], [other]) is None
        assert LatentWatermark(noise.shape, b"another key").identify([noise], [own]) is None


def test_a_picture_from_plain_noise_holds_none():
    (row,) = ReferenceGenerator().generate([Request("a cat", seed=5, guidance=2.0)])
    (noise,) = ReferenceGenerator().invert([open_image(row[0].data)])
    assert LatentWatermark(noise.shape, KEY).identify([noise], IDS) is None


def test_the_given_noise_is_where_the_picture_starts(marked):
    generator = ReferenceGenerator()
    again = generator.generate_from([Request("a cat", seed=5, guidance=2.0)], [[noise_of(IDS[0])]])
    assert np.array_equal(np.asarray(open_image(again[0][0].data)), np.asarray(marked[0]))


def test_any_diffusers_folder_is_started_and_inverted(tiny_pipeline):
    generator = DiffusersGenerator(tiny_pipeline, steps=4, device="cpu")
    assert generator.takes_noise
    assert generator.spec == f"diffusers:{tiny_pipeline}"
    shapes = []

    def noise(shape, seed):
        shapes.append(shape)
        return noise_of(IDS[0])(shape, seed)

    (row,) = generator.generate_from([Request("a cat", seed=1)], [[noise]])
    picture = open_image(row[0].data)
    assert generator.invert([picture, picture]).shape == (2, *shapes[0])
    with pytest.raises(UsageError, match="one size"):
        generator.invert([picture, picture.resize((48, 48))])
    with pytest.raises(UsageError, match="multiples"):
        generator.invert([picture.resize((31, 31))])


def test_a_pipeline_of_another_make_is_refused():
    with pytest.raises(UsageError, match="backwards"):
        Inverter(object())
