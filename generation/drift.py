"""Does what a prompt shows in pure noise last? The sign of a memorized prompt that costs two passes.

From pure noise a model can only see what the words alone tell it: for most prompts a blurred mean, which
becomes something else as soon as there is a picture to go on from. Where a prompt was memorized, the picture
is there at once (Webster, "A reproducible extraction of training images from diffusion models", 2023). So
what is seen is noised again, less this time, and looked at again: the change, relative to how much there is
to see, is the drift. It is taken place by place, and that of the steadiest quarter of what is drawn counts,
so that a memorized layout is noticed beside the part of it that changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import GenerationFailed
from clearmark.generation._quiet import quiet

if TYPE_CHECKING:
    import torch

__all__ = ["AT", "prompt_drift", "try_drift"]

AT = 0.93
"""How far up the noise schedule it is looked again, of 1: picked on the probes of
`clearmark bench memorization`, like the two below."""

_WINDOW = 5
_QUARTER = 0.25


def prompt_drift(
    pipeline: Any,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    passes: int = 2,
    batch: int = 16,
    texts: torch.Tensor | None = None,
) -> list[float]:
    """Return the drift of each prompt: near 0 where it was memorized, towards 1 and above where not.

    Takes one look at pure noise (what sampling begins with) and `passes` more. For latent pipelines of
    diffusers whose schedule is discrete (`alphas_cumprod`) and whose denoiser predicts noise or velocity.
    `texts` [n, tokens, width] stand for the prompts where they were changed, as `steering.soften` does.

    Raises:
        GenerationFailed: the pipeline is not of that kind.
    """
    import torch

    denoiser = getattr(pipeline, "unet", None)
    schedule = getattr(getattr(pipeline, "scheduler", None), "alphas_cumprod", None)
    # A denoiser that also wants the size or a second text (Stable Diffusion XL) is called otherwise.
    wants_more = getattr(getattr(denoiser, "config", None), "addition_embed_type", None) is not None
    if denoiser is None or schedule is None or wants_more or not hasattr(pipeline, "encode_prompt"):
        raise GenerationFailed(
            "this pipeline has no discrete schedule of noise to look at twice",
            hint="the trace of guidance is there for others, and the index for all",
        )
    alphas = schedule.float()
    shape = (1, denoiser.config.in_channels, denoiser.config.sample_size, denoiser.config.sample_size)
    noises = [
        torch.randn(shape, generator=torch.Generator().manual_seed(seed + n)) for n in range(max(1, passes))
    ]
    last, again = len(alphas) - 1, round(AT * (len(alphas) - 1))
    out: list[float] = []
    with torch.inference_mode():
        nothing = _seen(pipeline, alphas, noises[0], last, _texts(pipeline, [""]))
        for first in range(0, len(prompts), batch):
            some = slice(first, first + batch)
            text = _texts(pipeline, prompts[some]) if texts is None else texts[some]
            start = _seen(pipeline, alphas, noises[0].expand(len(text), *shape[1:]), last, text)
            kept = alphas[again]
            looks = [
                _seen(pipeline, alphas, kept.sqrt() * start + (1 - kept).sqrt() * noise, again, text)
                for noise in noises
            ]
            out += _drift(start, looks, nothing).tolist()
    return out


def try_drift(
    pipeline: Any, prompts: Sequence[str], *, texts: torch.Tensor | None = None
) -> list[float | None]:
    """Return the drift of each prompt, None for empty ones and for a pipeline that it cannot be measured on.

    Costs four runs of one half of the denoiser a prompt: two steps of a sampler with guidance.
    """
    asked = [place for place, prompt in enumerate(prompts) if prompt.strip()]
    out: list[float | None] = [None] * len(prompts)
    if not asked:
        return out
    try:
        with quiet():
            found = prompt_drift(pipeline, [prompts[place] for place in asked], texts=texts)
    except (GenerationFailed, TypeError, ValueError, KeyError, AttributeError, RuntimeError):
        # A pipeline of any make can want to be called otherwise. Drift is one sign of several.
        return out
    for place, value in zip(asked, found, strict=True):
        out[place] = value if math.isfinite(value) else None
    return out


def _texts(pipeline: Any, prompts: Sequence[str]) -> torch.Tensor:
    found: torch.Tensor = pipeline.encode_prompt(list(prompts), pipeline.device, 1, False)[0]
    return found


def _seen(
    pipeline: Any, alphas: torch.Tensor, noisy: torch.Tensor, time: int, text: torch.Tensor
) -> torch.Tensor:
    """Return the clean latent that the denoiser sees in a noisy one."""
    import torch

    given = noisy.to(text)
    steps = torch.full((len(given),), time, device=given.device)
    made = pipeline.unet(given, steps, encoder_hidden_states=text, return_dict=False)[0].float()
    kept, kind = alphas[time], pipeline.scheduler.config.prediction_type
    if kind == "v_prediction":
        return kept.sqrt() * noisy - (1 - kept).sqrt() * made
    if kind == "epsilon":
        return (noisy - (1 - kept).sqrt() * made) / kept.sqrt().clamp(min=1e-3)
    if kind == "sample":
        return made
    raise GenerationFailed(f"a denoiser that predicts {kind!r} is not known")


def _drift(start: torch.Tensor, looks: Sequence[torch.Tensor], nothing: torch.Tensor) -> torch.Tensor:
    """Return [n]: squared change by energy (what differs from the picture of no words), place by place."""
    import torch

    smooth = torch.nn.AvgPool2d(_WINDOW, 1, _WINDOW // 2, count_include_pad=False)
    change = sum((look - start).square() for look in looks)
    energy = sum((look - nothing).square() + (start - nothing).square() for look in looks)
    assert isinstance(change, torch.Tensor)
    assert isinstance(energy, torch.Tensor)
    weight = smooth(energy.mean(dim=1, keepdim=True) / 2).flatten(1)
    ratio = smooth(change.mean(dim=1, keepdim=True)).flatten(1) / (weight + 1e-3 * len(looks))
    order = ratio.argsort(dim=1)
    total = weight.gather(1, order).cumsum(dim=1) / weight.sum(dim=1, keepdim=True).clamp(min=1e-9)
    place = (total >= _QUARTER).float().argmax(dim=1, keepdim=True)
    return ratio.gather(1, order).gather(1, place)[:, 0]
