"""What guidance shows in the first steps, on a tiny pipeline: traces, tokens, softened text."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from clearmark.core.errors import GenerationFailed  # noqa: E402
from clearmark.generation.guidance import GuidanceProbe, smoothed, trace_prompts  # noqa: E402
from clearmark.generation.steering import soften, token_pulls  # noqa: E402


@pytest.fixture(scope="module")
def tiny_loaded(tiny_pipeline):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny_pipeline, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_probe_changes_nothing(tiny_loaded):
    def draw():
        generator = torch.Generator().manual_seed(3)
        return tiny_loaded("a red apple", generator=generator, num_inference_steps=4, output_type="np").images

    plain = draw()
    with GuidanceProbe(tiny_loaded, pictures=1) as probe:
        assert (draw() == plain).all()
    (trace,) = probe.traces()
    assert len(trace.times) == len(trace.whole) == len(trace.local) == 3
    assert all(local >= whole > 0 for whole, local in zip(trace.whole, trace.local, strict=True))
    assert trace.maps.shape[0] == 3
    assert not tiny_loaded.unet._forward_hooks


def test_traces_are_those_of_single_runs(tiny_loaded):
    both = trace_prompts(tiny_loaded, ["a cat", "a dog"], [1, 2], steps=2, of=4)
    assert [len(row) for row in both] == [2, 2]
    ((alone,),) = trace_prompts(tiny_loaded, ["a dog"], [2], steps=2, of=4)
    assert both[1][1].whole == pytest.approx(alone.whole, rel=1e-4)
    ((empty,),) = trace_prompts(tiny_loaded, [""], [2], steps=2, of=4)
    assert max(empty.whole) < min(alone.whole)  # without words, both predictions are the same
    assert tiny_loaded._interrupt is False


def test_without_guidance_there_is_no_trace(tiny_loaded):
    with GuidanceProbe(tiny_loaded, pictures=1) as probe:
        tiny_loaded("a cat", num_inference_steps=2, guidance_scale=1.0, output_type="latent")
    assert probe.traces() == []
    with pytest.raises(GenerationFailed):
        trace_prompts(tiny_loaded, ["a cat"], [1], steps=2, of=4, guidance=1.0)


def test_tokens_share_the_pull(tiny_loaded):
    pulls = token_pulls(tiny_loaded, "a red apple", seed=1, steps=4)
    assert len(pulls) >= 1
    assert sum(pull.share for pull in pulls) == pytest.approx(1.0)


def test_softened_text_pulls_less_while_it_is_in_force(tiny_loaded):
    text = soften(tiny_loaded, "a red apple", seed=1, share=0.7, steps=4)
    assert text.after <= 0.7 * text.before
    ((usual,),) = trace_prompts(tiny_loaded, ["a red apple"], [1], steps=1, of=4)
    assert usual.whole[0] == pytest.approx(text.before, rel=1e-3)
    with text:
        ((softer,),) = trace_prompts(tiny_loaded, ["a red apple"], [1], steps=1, of=4)
    assert softer.whole[0] == pytest.approx(text.after, rel=1e-3)
    ((again,),) = trace_prompts(tiny_loaded, ["a red apple"], [1], steps=1, of=4)
    assert again.whole == usual.whole


def test_smoothing_keeps_the_sum_of_a_flat_map():
    import numpy as np

    assert np.allclose(smoothed(np.ones((5, 7), np.float32)), 1.0)
    spot = np.zeros((5, 5), np.float32)
    spot[2, 2] = 9.0
    assert np.allclose(smoothed(spot)[1:4, 1:4], 1.0)
