from __future__ import annotations

import copy
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmark.core import Action
from clearmark.core.errors import Blocked, InvalidRequest, UsageError
from clearmark.sdk import GuardedPipeline, SafetyChecker, Studio, guard

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))

torch = pytest.importorskip("torch")

SEXUAL = "explicit porn, naked woman having sex"
FAST = {"num_inference_steps": 2, "height": 256, "width": 256}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from make_tiny_pipeline import make_tiny_pipeline

    return make_tiny_pipeline(tmp_path_factory.mktemp("tiny"))


def load(folder: Path, **more):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, **{"safety_checker": None, **more})
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(folder):
    return load(folder)


@pytest.fixture
def studio(home):
    # The tiny model paints noise, which is no test of a guard for pictures; prompts are judged as always.
    with Studio.from_policy("default", home=home) as opened:
        yield opened


@pytest.fixture
def guarded(pipe, studio) -> GuardedPipeline:
    return guard(pipe, studio=studio)


def seeded(seed: int = 5):
    return torch.Generator("cpu").manual_seed(seed)


def test_the_call_keeps_its_signature_and_the_output_its_class(guarded, pipe) -> None:
    from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

    assert inspect.signature(guarded) == inspect.signature(pipe.__call__)
    output = guarded("a red apple", generator=seeded(), **FAST)
    assert type(output) is StableDiffusionPipelineOutput
    assert isinstance(output.images[0], Image.Image)
    assert output.verdicts == [Action.ALLOW]
    assert output.receipt.verify(guarded.studio.ledger.verifier_key)
    assert guarded.studio.verify(output.assets[0].asset).exit_code == 0


def test_the_picture_is_the_unguarded_one_but_for_its_watermark(guarded, pipe) -> None:
    plain = pipe("a red apple", generator=seeded(), **FAST).images[0]
    marked = guarded("a red apple", generator=seeded(), **FAST).images[0]
    difference = np.abs(np.asarray(plain, dtype=int) - np.asarray(marked, dtype=int))
    assert 0 < difference.mean() < 8


def test_attributes_are_the_pipelines_own(guarded, pipe) -> None:
    assert guarded.unet is pipe.unet
    assert guarded.to("cpu") is guarded
    assert copy.copy(guarded).unet is pipe.unet
    with pytest.raises(AttributeError):
        guarded.no_such_attribute  # noqa: B018


def test_a_blocked_prompt_leaves_a_gap_and_its_neighbours_in_place(guarded) -> None:
    output = guarded(["a red apple", SEXUAL, "a pear"], num_images_per_prompt=2, generator=seeded(), **FAST)
    assert [image is None for image in output.images] == [False, False, True, True, False, False]
    assert output.verdicts == [Action.ALLOW] * 2 + [Action.BLOCK] * 2 + [Action.ALLOW] * 2
    assert [asset is None for asset in output.assets] == [image is None for image in output.images]
    assert len(output.results) == 3


def test_when_everything_is_blocked_the_output_keeps_its_class(guarded) -> None:
    from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

    output = guarded(SEXUAL, **FAST)
    assert type(output) is StableDiffusionPipelineOutput
    assert output.images == [None]
    assert output.nsfw_content_detected == [True]
    images, flags = guarded(SEXUAL, return_dict=False, **FAST)
    assert images == [None]
    assert flags == [True]


def test_blocking_may_raise(pipe, studio) -> None:
    strict = guard(pipe, studio=studio, on_block="raise")
    assert strict("a red apple", **FAST).images[0] is not None
    with pytest.raises(Blocked, match="block"):
        strict(SEXUAL, **FAST)
    with pytest.raises(UsageError):
        guard(pipe, studio=studio, on_block="ignore")


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_arrays_come_out_in_shape_and_range(guarded, kind) -> None:
    images = guarded("a red apple", output_type=kind, **FAST).images
    assert tuple(images.shape) == ((1, 256, 256, 3) if kind == "np" else (1, 3, 256, 256))
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    with pytest.raises(Blocked):
        guarded(SEXUAL, output_type=kind, **FAST)


def test_what_cannot_be_looked_at_is_refused(guarded) -> None:
    with pytest.raises(InvalidRequest, match="latent"):
        guarded("a red apple", output_type="latent", **FAST)
    with pytest.raises(InvalidRequest, match="embeddings"):
        guarded(prompt_embeds=torch.zeros(1, 77, 32), **FAST)
    with pytest.raises(InvalidRequest, match="embeddings"):
        guarded(**FAST)
    with pytest.raises(InvalidRequest, match="multiple values"):
        guarded("a red apple", prompt="a pear")


def test_image_to_image_carries_its_parent(folder, studio) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    start = Image.effect_noise((256, 256), 40).convert("RGB")
    output = guard(pipe, studio=studio)(
        prompt="a red apple", image=start, strength=0.5, num_inference_steps=4, generator=seeded()
    )
    found = studio.verify(output.assets[0].asset).to_dict()
    assert found["credentials"]["ingredients"]
    assert "composite" in found["credentials"]["digital_source_type"]


def test_the_slot_passes_marked_pictures_and_blanks_the_others(folder, studio, monkeypatch) -> None:
    pipe = load(folder, safety_checker=SafetyChecker(studio=studio), feature_extractor=_Extractor())
    output = pipe("a red apple", generator=seeded(), **FAST)
    assert output.nsfw_content_detected == [False]
    assert studio.verify(_png(output.images[0])).verification.watermark is not None
    monkeypatch.setattr(studio, "_desk", _flagging(studio))
    output = pipe("a red apple", generator=seeded(), **FAST)
    assert output.nsfw_content_detected == [True]
    assert not np.asarray(output.images[0]).any()


def test_the_slot_by_itself(studio) -> None:
    from make_flagged_picture import flagged_picture

    checker = SafetyChecker(studio=studio)
    bad = torch.from_numpy(np.array(flagged_picture())).permute(2, 0, 1).float() / 127.5 - 1
    good = torch.rand(3, 256, 256, generator=seeded()) * 0.2 + 0.3
    images, flags = checker(images=torch.stack([good, bad * 1.3]), clip_input=None)
    assert flags == [False, True]
    assert images.dtype == good.dtype
    assert float((images[0] - good).abs().mean()) < 0.05
    assert not images[1].any()
    array = np.stack([good.permute(1, 2, 0).numpy() / 2 + 0.5] * 2)
    images, flags, marks = SafetyChecker(studio=studio, watermark_output=True)(images=array)
    assert images.shape == array.shape
    assert images.dtype == array.dtype
    assert flags == [False, False]
    assert marks == [False, False]


@pytest.mark.parametrize("wrong", [None, "x", np.zeros((4, 4, 3)), np.full((1, 64, 64, 3), np.nan)])
def test_the_slot_refuses_what_is_no_picture(studio, wrong) -> None:
    from clearmark.core.errors import MediaError

    with pytest.raises(MediaError):
        SafetyChecker(studio=studio)(images=wrong)


class _Extractor:
    """The slot needs a feature extractor; the checker does not look at what it makes."""

    def __call__(self, images, return_tensors=None):
        class Features:
            pixel_values = torch.zeros(1)

            def to(self, device):
                return self

        return Features()


def _flagging(studio):
    import dataclasses

    from clearmark.core import Finding, Stage

    class Flag:
        name, version = "flag", "1"
        stages = frozenset({Stage.OUTPUT})
        categories = ("sexual",)

        def check(self, batch):
            return [[Finding(category="sexual", score=1.0, guard="flag", guard_version="1")] for _ in batch]

    checker = dataclasses.replace(studio._desk.checker, guards=(*studio._desk.checker.guards, Flag()))
    return dataclasses.replace(studio._desk, checker=checker)


def _png(picture: Image.Image) -> bytes:
    import io

    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
