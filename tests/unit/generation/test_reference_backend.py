"""The reference model as it ships: on record, stock diffusers reads it, edits keep what they must keep."""

import dataclasses
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from clearmark.core import Asset, Request, Task
from clearmark.core.errors import InvalidRequest, ModelCorrupt
from clearmark.core.pixels import encode_png, open_image
from clearmark.generation import ReferenceGenerator, catalogue
from clearmark.generation.reference import backend
from clearmark.generation.reference.catalogue import WEIGHTS

STEPS = 4


@pytest.fixture(scope="module")
def apple():
    [[made]] = ReferenceGenerator().generate([Request("a red apple", seed=1, steps=STEPS)])
    return made


def pixels(asset):
    return np.asarray(open_image(asset.data).convert("RGB")).astype(int)


def test_every_file_is_the_one_on_record_and_the_folder_is_small():
    ours, encoder = catalogue()
    assert set(ours.verify())
    assert set(encoder.verify())
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 40_000_000
    assert ReferenceGenerator().model.digest == ours.digest


def test_weights_that_are_not_on_record_are_never_loaded(monkeypatch):
    ours, encoder = catalogue()
    forged = dataclasses.replace(ours.files[-1], sha256="0" * 64)
    bad = dataclasses.replace(ours, files=(*ours.files[:-1], forged))
    monkeypatch.setattr(backend, "entries", lambda: (bad, encoder))
    monkeypatch.setattr(backend, "_pipeline", None)
    with pytest.raises(ModelCorrupt):
        ReferenceGenerator().generate([Request("a red apple")])
    assert backend._pipeline is None


def test_stock_diffusers_reads_the_folder_and_draws_the_same(apple):
    import torch
    from diffusers import StableDiffusionPipeline

    from clearmark.generation.reference.text import load_text_encoder, package_folder

    tokenizer, encoder = load_text_encoder(package_folder() / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = StableDiffusionPipeline.from_pretrained(
            WEIGHTS, tokenizer=tokenizer, text_encoder=encoder, safety_checker=None, local_files_only=True
        )
    made = pipeline(
        "a red apple",
        num_inference_steps=STEPS,
        guidance_scale=ReferenceGenerator.defaults.guidance,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    assert np.abs(np.asarray(made).astype(int) - pixels(apple)).max() <= 2


def test_the_picture_is_on_white_and_not_empty(apple):
    assert (apple.width, apple.height) == (256, 256)
    assert pixels(apple)[:4].mean() > 200
    assert pixels(apple).std() > 10


def test_image_to_image_starts_from_its_input(apple):
    request = Request(
        "a green apple", task=Task.IMAGE_TO_IMAGE, init_image=apple, strength=0.25, seed=2, steps=8
    )
    [[made]] = ReferenceGenerator().generate([request])
    assert made.origin.parents == (apple.sha256,)
    near = np.abs(pixels(made) - pixels(apple)).mean()
    assert 0 < near < 40


def test_inpainting_changes_only_what_the_mask_says(apple):
    mask = np.zeros((256, 256), np.uint8)
    mask[64:192, 64:192] = 255
    cover = Image.fromarray(mask)
    asset = Asset(data=encode_png(cover), media_type="image/png", width=256, height=256)
    request = Request(
        "a clock", task=Task.INPAINT, init_image=apple, mask=asset, strength=1.0, seed=3, steps=STEPS
    )
    [[made]] = ReferenceGenerator().generate([request])
    changed = (pixels(made) != pixels(apple)).any(axis=2)
    assert not changed[mask == 0].any()
    assert changed[mask == 255].mean() > 0.5
    assert made.origin.parents == (apple.sha256, asset.sha256)


@pytest.mark.parametrize("size", [(250, 256), (64, 64), (1024, 1024)])
def test_sizes_that_it_cannot_draw_are_refused(size):
    with pytest.raises(InvalidRequest):
        ReferenceGenerator().generate([Request("x", width=size[0], height=size[1])])


def test_threads_take_turns_with_one_copy_of_the_weights(apple):
    results = {}

    def work(number):
        results[number] = ReferenceGenerator().generate([Request("a red apple", seed=1, steps=STEPS)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {made[0][0].data for made in results.values()} == {apple.data}
