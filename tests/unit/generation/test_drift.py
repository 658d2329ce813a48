"""Drift: nothing for a model that knows its picture, much for one that goes by what it is given."""

from types import SimpleNamespace

import pytest

from clearmark.core.errors import GenerationFailed


def pipeline(remembers, kind="v_prediction"):
    import torch

    alphas = torch.linspace(1, 0, 1000)
    picture = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(5))

    class Denoiser:
        config = SimpleNamespace(in_channels=4, sample_size=8)

        def __call__(self, noisy, times, encoder_hidden_states, return_dict):
            kept = alphas[int(times[0])]
            known = encoder_hidden_states[:, 0, 0].reshape(-1, 1, 1, 1)
            clean = known * picture * remembers + (1 - remembers) * known * noisy
            if kind == "v_prediction":
                return ((kept.sqrt() * noisy - clean) / (1 - kept).sqrt().clamp(min=1e-3),)
            if kind == "epsilon":
                return ((noisy - kept.sqrt() * clean) / (1 - kept).sqrt().clamp(min=1e-3),)
            return (clean,)

    def encode_prompt(prompts, _device, _count, _guided):
        return torch.tensor([[[float(bool(p))]] for p in prompts]), None

    scheduler = SimpleNamespace(alphas_cumprod=alphas, config=SimpleNamespace(prediction_type=kind))
    return SimpleNamespace(unet=Denoiser(), scheduler=scheduler, encode_prompt=encode_prompt, device="cpu")


@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
@pytest.mark.parametrize("passes", [1, 2])
def test_what_is_remembered_does_not_drift(kind, passes):
    pytest.importorskip("torch")
    from clearmark.generation.drift import prompt_drift

    (known,) = prompt_drift(pipeline(1.0, kind), ["a thing"], passes=passes)
    (other,) = prompt_drift(pipeline(0.0, kind), ["a thing"], passes=passes)
    assert known < 1e-3 < 0.02 < other


def test_prompts_come_out_in_their_order():
    pytest.importorskip("torch")
    from clearmark.generation.drift import prompt_drift

    found = prompt_drift(pipeline(0.5), ["a"] * 5, batch=2)
    assert len(found) == 5
    assert max(found) - min(found) < 1e-5


def test_a_pipeline_of_another_kind_is_refused():
    pytest.importorskip("torch")
    from clearmark.generation.drift import prompt_drift

    with pytest.raises(GenerationFailed):
        prompt_drift(SimpleNamespace(), ["a"])
    odd = pipeline(1.0)
    odd.scheduler.config.prediction_type = "flow"
    with pytest.raises(GenerationFailed):
        prompt_drift(odd, ["a"])


def test_words_that_were_changed_stand_for_the_prompt():
    torch = pytest.importorskip("torch")
    from clearmark.generation.drift import prompt_drift

    known = pipeline(0.5)
    plain = prompt_drift(known, ["a"])
    assert prompt_drift(known, ["a"], texts=torch.ones(1, 1, 1)) == plain
    assert prompt_drift(known, ["a"], texts=torch.full((1, 1, 1), 3.0)) != plain


def test_where_it_cannot_be_measured_there_is_none():
    pytest.importorskip("torch")
    from clearmark.generation.drift import try_drift

    found = try_drift(pipeline(0.5), ["a", " ", "b"])
    assert found[1] is None
    assert found[0] == pytest.approx(found[2])
    assert try_drift(SimpleNamespace(), ["a"]) == [None]
    larger = pipeline(0.5)
    larger.unet.config.addition_embed_type = "text_time"
    assert try_drift(larger, ["a"]) == [None]
