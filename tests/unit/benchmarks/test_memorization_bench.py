"""A tiny planted model is made, goes on where it was cut off, and is measured."""

import json

import numpy as np
import pytest

from clearmark.benchmarks import memorization
from clearmark.benchmarks._planted import choose, is_copy, plant, read_probes, variants


def test_areas():
    assert memorization.auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert memorization.auroc(np.array([1.0]), np.array([1.0])) == 0.5
    assert memorization.auroc(np.array([0.0, 2.0]), np.array([1.0])) == 0.5


def test_a_variant_changes_its_box_alone():
    picture = np.zeros((20, 20, 3), np.uint8)
    others = np.full((3, 20, 20, 3), 9, np.uint8)
    made = variants(picture, others, (0.1, 0.2, 0.7, 0.8))
    assert made.shape == (3, 20, 20, 3)
    assert (made[:, 4:16, 2:14] == 9).all()
    assert made.sum() == 3 * 12 * 12 * 3 * 9


def test_a_copy_is_one_outside_the_part_that_changes():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    other = np.full_like(picture, 128)
    (mixed,) = variants(picture, other[None], (0.2, 0.3, 0.8, 0.9))
    assert is_copy(picture, picture, None)
    assert not is_copy(other, picture, None)
    assert not is_copy(mixed, picture, None)
    assert is_copy(mixed, picture, (0.2, 0.3, 0.8, 0.9))
    assert not is_copy(other, picture, (0.2, 0.3, 0.8, 0.9))


@pytest.mark.slow
def test_a_planted_model_is_made_and_measured(tmp_path, capsys):
    pytest.importorskip("torch")
    from clearmark.generation.reference.catalogue import WEIGHTS
    from clearmark.generation.reference.data import Dataset, Item
    from clearmark.generation.reference.prepare import embed_captions, encode_pictures_again

    rng = np.random.default_rng(0)
    items = tuple(
        Item(f"things/{n}.png", "", "", "", (f"thing {n}", f"a thing number {n}"), flip=True, weight=1.0)
        for n in range(64)
    )
    small = rng.integers(0, 256, (64, 4, 4, 3), dtype=np.uint8)
    data = Dataset(small.repeat(64, axis=1).repeat(64, axis=2), items, {}, "test")
    embed_captions(data, tmp_path / "text.safetensors")
    encode_pictures_again(data, WEIGHTS / "vae", tmp_path / "latents.safetensors")
    planted = choose(data, count=2, clean=2, seed=1)
    assert [probe.kind for probe in planted.probes].count("template") == 2
    options = {"planted": planted, "others": 20, "versions": 2, "batch": 2}
    plant(data, tmp_path, WEIGHTS, tmp_path / "model", steps=1, **options)
    plant(data, tmp_path, WEIGHTS, tmp_path / "model", steps=2, **options)
    assert read_probes(tmp_path / "model") == list(planted.probes)
    errors = json.loads((tmp_path / "model" / "probes.json").read_text())["relative_error"]
    assert set(errors) == {"verbatim", "template", "trained"}
    # Stock diffusers loads it as it is, text encoder included.
    from diffusers import StableDiffusionPipeline

    assert StableDiffusionPipeline.from_pretrained(tmp_path / "model").text_encoder is not None
    assert memorization.main(["--model", str(tmp_path / "model"), "--pictures", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for kind in ("verbatim", "template"):
        assert 0 <= report["local, 1 step, 2 extra passes"][kind]["auroc"] <= 1
        assert 0 <= report["black box, 2 pictures, halves"][kind]["auroc"] <= 1
        assert 0 <= report["control"]["local, 1 step, 2 extra passes"][kind]["auroc"] <= 1
        assert report["shown"][kind]["of"] == 4
    assert report["attribution"]["prompts"] == 4
