"""The diffusers backend with a real (random) pipeline: tasks, sizes, faults, what it says."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from clearmark.core import Asset, Request, Task
from clearmark.core.errors import GenerationFailed, InvalidRequest, ModelMissing, UsageError
from clearmark.core.pixels import encode_png, open_image
from clearmark.generation import DiffusersGenerator


@pytest.fixture(scope="module")
def generator(tiny_pipeline):
    return DiffusersGenerator(tiny_pipeline, steps=2)


def asset(picture):
    return Asset(data=encode_png(picture), media_type="image/png", width=picture.width, height=picture.height)


def pixels(made):
    return np.asarray(open_image(made.data).convert("RGB")).astype(int)


def test_the_config_tells_the_size_and_the_digest_covers_every_file(generator, tiny_pipeline, tmp_path):
    assert (generator.defaults.width, generator.defaults.height) == (32, 32)
    copy = shutil.copytree(tiny_pipeline, tmp_path / "pipeline")
    assert DiffusersGenerator(copy).model.digest == generator.model.digest
    config = copy / "unet" / "config.json"
    config.write_text(config.read_text().replace("16", "17", 1))
    assert DiffusersGenerator(copy).model.digest != generator.model.digest


def test_values_that_the_request_leaves_open_stand_in_the_origin(generator):
    [[made]] = generator.generate([Request("a house")])
    assert made.origin.steps == 2
    assert made.origin.seed is not None
    assert set(made.origin.parameters) == {"width", "height", "guidance_trace", "prompt_drift"}
    assert made.origin.parameters["prompt_drift"] > 0
    assert (made.origin.parameters["width"], made.origin.parameters["height"]) == (32, 32)
    assert len(made.origin.parameters["guidance_trace"]["local"]) == 2
    [[again]] = generator.generate([Request("a house", seed=made.origin.seed)])
    assert again.data == made.data


def test_other_sizes_steps_and_words_reach_the_model(generator):
    base = Request("a house", seed=3)
    [[plain]] = generator.generate([base])
    for other in (
        Request("b tree", seed=3),
        Request("a house", seed=3, negative_prompt="dark"),
        Request("a house", seed=3, steps=4),
        Request("a house", seed=3, guidance=1.5),
    ):
        [[made]] = generator.generate([other])
        assert made.data != plain.data
    [[wide]] = generator.generate([Request("a house", seed=3, width=64, height=48)])
    assert (wide.width, wide.height) == (64, 48)


def test_a_batch_of_several_is_as_many_pictures(tiny_pipeline):
    [assets] = DiffusersGenerator(tiny_pipeline, steps=1, batch=2).generate([Request("a", n=3, seed=0)])
    assert [made.origin.seed for made in assets] == [0, 1, 2]


def test_image_to_image_keeps_the_shape_of_its_input(generator):
    source = asset(Image.new("RGB", (300, 150), "red"))
    [[made]] = generator.generate(
        [Request("a house", task=Task.IMAGE_TO_IMAGE, init_image=source, strength=0.6, seed=1, steps=4)]
    )
    assert 1.9 < made.width / made.height < 2.2
    assert made.origin.parents == (source.sha256,)
    assert made.origin.parameters["strength"] == 0.6


def test_inpainting_leaves_what_is_outside_the_mask(generator):
    rng = np.random.default_rng(0)
    source = asset(Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)))
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    request = Request(
        "a house", task=Task.INPAINT, init_image=source, mask=asset(Image.fromarray(mask)), seed=1, steps=4
    )
    [[made]] = generator.generate([request])
    changed = (pixels(made) != pixels(source)).any(axis=2)
    assert not changed[mask == 0].any()
    assert changed[mask == 255].mean() > 0.5


@pytest.mark.parametrize(
    "request_",
    [
        Request("x", width=33),
        Request("x", width=8192),
        Request("x", steps=900),
        Request("x", guidance=-1.0),
        Request("x", guidance=float("nan")),
    ],
)
def test_values_out_of_bounds_are_refused(generator, request_):
    with pytest.raises(InvalidRequest):
        generator.generate([request_])


def test_one_bad_request_stops_the_batch_before_anything_is_made(generator, monkeypatch):
    monkeypatch.setattr(type(generator._runner), "_run", lambda *_: pytest.fail("made something"))
    with pytest.raises(InvalidRequest):
        generator.generate([Request("x"), Request("x", width=33)])


def test_a_fault_of_the_model_is_told_without_the_prompt(tiny_pipeline, monkeypatch):
    generator = DiffusersGenerator(tiny_pipeline, steps=1)
    pipeline = generator._runner._pipelines[Task.TEXT_TO_IMAGE]

    def fail(**options):
        raise RuntimeError(f"cannot draw {options['prompt']}")

    monkeypatch.setattr(pipeline, "encode_prompt", lambda *a, **k: fail(prompt=a[0]))
    with pytest.raises(GenerationFailed) as caught:
        generator.generate([Request("a private wish")])
    assert "private" not in caught.value.diagnostics()


def test_a_long_prompt_is_cut_without_a_word_of_it_in_the_log(generator, caplog, capsys):
    generator.generate([Request("a private wish " * 40, seed=1, steps=1)])
    said = caplog.text + "".join(capsys.readouterr())
    assert "private" not in said


def test_folders_that_hold_no_pipeline_are_told(tmp_path, tiny_pipeline):
    with pytest.raises(ModelMissing, match="model_index"):
        DiffusersGenerator(tmp_path).generate([Request("x")])
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "NoSuchPipeline"}))
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        DiffusersGenerator(tmp_path).generate([Request("x")])
    with pytest.raises(UsageError):
        DiffusersGenerator(tiny_pipeline, revision="main")


def test_weights_in_pickle_are_not_read(tmp_path, tiny_pipeline):
    import torch

    copy = shutil.copytree(tiny_pipeline, tmp_path / "pipeline")
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(ModelMissing):
        DiffusersGenerator(copy).generate([Request("x")])


def test_no_warning_of_a_checker_that_is_missing(generator, caplog):
    generator.generate([Request("x", seed=1)])
    assert caplog.text == ""
