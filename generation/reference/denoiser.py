"""The denoiser of the reference model: from noise and a caption to a latent of 8 channels of 16x16.

Velocity prediction (Salimans and Ho, "Progressive distillation", 2022) on a cosine schedule whose last step
is pure noise (Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024); steps weigh
by min-SNR (Hang et al., 2023), with one added to the ratio so that the pure-noise step is learnt as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

from clearmark.generation.reference.autoencoder import LATENT_CHANNELS
from clearmark.generation.reference.loop import StepFunction, shuffled
from clearmark.generation.reference.text import WIDTH

WIDTHS = (96, 144, 192)
LATENT_SIDE = 16
CAPTION_DROPOUT = 0.1
"""Share of training samples without a caption, for classifier-free guidance."""

MIN_SNR_GAMMA = 5.0


@dataclass(frozen=True, slots=True)
class Latents:
    """What the denoiser learns from: latents in half precision, their captions, how often they are drawn.

    `plain` and `mirrored` are (N, 8, 16, 16); `text` (U, 24, 384) holds every caption once, the empty one
    first; `captions` gives the rows of `text` that describe each picture.
    """

    plain: torch.Tensor
    mirrored: torch.Tensor
    may_mirror: torch.Tensor
    text: torch.Tensor
    captions: Sequence[Sequence[int]]
    weights: Sequence[float]


def new_denoiser(widths: tuple[int, int, int] = WIDTHS) -> UNet2DConditionModel:
    """Create an untrained denoiser."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=widths,
        # Without attention at 16x16, a step costs a fifth less; the words steer at 8x8 and 4x4.
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        # For historical reasons the library calls the number of heads so.
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_scheduler() -> DPMSolverMultistepScheduler:
    """Create the sampler, which also holds the noise schedule of the training."""
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
        # Spacing "trailing" takes no offset; 1 is what Stable Diffusion pipelines expect to read here.
        steps_offset=1,
    )


def denoiser_step(
    unet: UNet2DConditionModel, data: Latents, *, batch: int = 16, seed: int = 0
) -> StepFunction:
    """Return the training step of `unet`: `batch` pictures of `data`, each with one caption and one noise."""
    alphas = new_scheduler().alphas_cumprod.float()
    draw = shuffled(len(data.plain), batch, seed, data.weights)

    def step(number: int, _progress: float) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        chosen = draw(number)
        mirror = (torch.rand(batch, generator=generator) < 0.5) & data.may_mirror[chosen]
        clean = torch.where(mirror[:, None, None, None], data.mirrored[chosen], data.plain[chosen]).float()
        text = data.text[_captions(data, chosen, generator)].float()
        times = torch.randint(0, len(alphas), (batch,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return velocity_losses(unet, clean=clean, noise=noise, times=times, text=text, alphas=alphas)

    return step


def velocity_losses(
    unet: UNet2DConditionModel,
    *,
    clean: torch.Tensor,
    noise: torch.Tensor,
    times: torch.Tensor,
    text: torch.Tensor,
    alphas: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Return the weighted loss to minimise, and the plain squared error of the velocity for the record."""
    kept = alphas[times][:, None, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    wanted = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    # Processors with bfloat16 instructions take a step in about half the time; the errors stay in float32.
    with torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        made = unet(noisy, times, text, return_dict=False)[0].float()
    errors = (made - wanted).square().mean(dim=(1, 2, 3))
    ratio = alphas[times] / (1 - alphas[times]) + 1
    weighted = errors * ratio.clamp(max=MIN_SNR_GAMMA) / ratio
    return {"loss": weighted.mean(), "velocity": errors.mean()}


@torch.inference_mode()  # type: ignore[untyped-decorator]
def validation_loss(unet: UNet2DConditionModel, data: Latents, *, seed: int = 0, batch: int = 32) -> float:
    """Return the mean squared error of the velocity over `data`, at eight fixed noise levels each."""
    alphas = new_scheduler().alphas_cumprod.float()
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    for level in range(8):
        for start in range(0, len(data.plain), batch):
            clean = data.plain[start : start + batch].float()
            rows = [captions[0] for captions in data.captions[start : start + batch]]
            times = torch.full((len(clean),), len(alphas) * (2 * level + 1) // 16)
            noise = torch.randn(clean.shape, generator=generator)
            text = data.text[rows].float()
            losses = velocity_losses(unet, clean=clean, noise=noise, times=times, text=text, alphas=alphas)
            total += float(losses["velocity"]) * len(clean)
            count += len(clean)
    return total / count


def _captions(data: Latents, chosen: torch.Tensor, generator: torch.Generator) -> list[int]:
    which = torch.rand(len(chosen), generator=generator).tolist()
    dropped = torch.rand(len(chosen), generator=generator).tolist()
    rows = []
    for item, place, drop in zip(chosen.tolist(), which, dropped, strict=True):
        captions = data.captions[item]
        rows.append(0 if drop < CAPTION_DROPOUT else captions[int(place * len(captions))])
    return rows
