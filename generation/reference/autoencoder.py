"""The autoencoder of the reference model: 256x256 pictures to 16x16 latents of 8 channels, and back.

`AutoencoderKL` is used because Stable Diffusion's own pipelines call `vae.decode(..., generator=...)`, which
the otherwise faster `AutoencoderDC` does not accept. Most of the training runs on 128x128 crops, which cost a
quarter; the network has no attention, so what it learns there holds for whole pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812  as everybody calls it
from diffusers import AutoencoderKL

from clearmark.generation.reference.loop import StepFunction, shuffled

WIDTHS = (8, 16, 32, 64, 128)
LATENT_CHANNELS = 8
FACTOR = 2 ** (len(WIDTHS) - 1)
"""Picture pixels per latent cell, along one side."""

PIXEL_WEIGHT = 2.0
COLOUR_WEIGHT = 1.0
EDGE_WEIGHT = 0.25
KL_WEIGHT = 1e-3
WHOLE_PICTURES_FROM = 0.8
"""Progress from which whole pictures are trained on instead of crops."""


def new_autoencoder(widths: tuple[int, ...] = WIDTHS, side: int = 256) -> AutoencoderKL:
    """Create an untrained autoencoder for `side` x `side` pictures in [-1, 1]."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        # One group: with few channels in a group, the norm would take away how much of a colour there is.
        norm_num_groups=1,
        sample_size=side,
        mid_block_add_attention=False,
    )
    _start_linear(vae)
    return vae


@torch.no_grad()  # type: ignore[untyped-decorator]
def _start_linear(vae: AutoencoderKL) -> None:
    """Silence the residual branches and let the paths around them keep the size of what they carry.

    Out of the library's own start, the branches drown the colours of the picture in their noise, and it took
    a thousand steps before any colour came back.
    """
    for name, module in vae.named_modules():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        if name.endswith(".conv2"):
            module.weight.zero_()
            module.bias.zero_()
        elif "upsamplers" in name:
            module.weight.mul_(0.1)
            torch.nn.init.dirac_(kernel := torch.empty_like(module.weight))
            module.weight.add_(kernel)
            module.bias.zero_()
        elif "downsamplers" in name or name.endswith(("conv_shortcut", "encoder.conv_in")):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            module.bias.zero_()


def reconstruction_losses(made: torch.Tensor, wanted: torch.Tensor) -> dict[str, torch.Tensor]:
    """Compare pictures (N, 3, H, W) in [-1, 1]: by pixel, by differences between the colours, by edges.

    Absolute errors ask for the median, and the median clip-art pixel is grey: with them alone the drawings
    stay grey for a long time. Squared errors ask for the mean and see colour from the first step on.
    """
    error = made - wanted
    hue = torch.stack((error[:, 0] - error[:, 1], error[:, 1] - error[:, 2]), dim=1)
    colour = hue.square().mean() + 2 * F.avg_pool2d(hue, 4).square().mean()
    edges = (_dx(made) - _dx(wanted)).abs().mean() + (_dy(made) - _dy(wanted)).abs().mean()
    return {"pixel": error.square().mean() + 0.2 * error.abs().mean(), "colour": colour, "edges": edges}


def _weighted(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """Add up what `reconstruction_losses` returned."""
    return PIXEL_WEIGHT * losses["pixel"] + COLOUR_WEIGHT * losses["colour"] + EDGE_WEIGHT * losses["edges"]


def autoencoder_step(
    vae: AutoencoderKL,
    pictures: npt.NDArray[np.uint8],
    weights: Sequence[float],
    *,
    batch: int = 8,
    crop: int = 128,
    seed: int = 0,
) -> StepFunction:
    """Return the training step of `vae` over `pictures` (N, side, side, 3), drawn by their `weights`."""
    side = pictures.shape[1]
    whole = max(1, batch * crop**2 // side**2)
    small = shuffled(len(pictures), batch, seed, weights)
    large = shuffled(len(pictures), whole, seed + 1, weights)

    def step(number: int, progress: float) -> dict[str, torch.Tensor]:
        draw = np.random.default_rng((seed, number))
        if progress < WHOLE_PICTURES_FROM:
            chosen = [_crop(pictures[i], crop, draw) for i in small(number).tolist()]
        else:
            chosen = [pictures[i] for i in large(number).tolist()]
        wanted = to_tensor(np.stack([_varied(picture, draw) for picture in chosen]))
        posterior = vae.encode(wanted).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed + number))
        made = vae.decode(posterior.mean + posterior.std * noise).sample
        losses = reconstruction_losses(made, wanted)
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        return {"loss": _weighted(losses) + KL_WEIGHT * kl, **losses, "kl": kl}

    return step


def decoder_step(
    vae: AutoencoderKL,
    pictures: npt.NDArray[np.uint8],
    latents: torch.Tensor,
    weights: Sequence[float],
    *,
    batch: int = 8,
    cells: int = 8,
    noise: float = 0.05,
    seed: int = 0,
) -> StepFunction:
    """Return the step that goes on with the decoder alone, from the `latents` (N, 8, 16, 16) of `pictures`.

    The latents that the denoiser learns stay as they are, so this can run after it. A little noise on them
    stands for what the denoiser gets wrong.
    """
    room, side = latents.shape[-1] - cells, cells * FACTOR
    draw = shuffled(len(pictures), batch, seed, weights)

    def step(number: int, _progress: float) -> dict[str, torch.Tensor]:
        places = np.random.default_rng((seed, number)).integers(0, room + 1, size=(batch, 2)).tolist()
        chosen = draw(number).tolist()
        given, wanted = [], []
        for item, (top, left) in zip(chosen, places, strict=True):
            given.append(latents[item, :, top : top + cells, left : left + cells])
            y, x = top * FACTOR, left * FACTOR
            wanted.append(pictures[item, y : y + side, x : x + side])
        latent = torch.stack(given).float()
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        latent = latent + noise * torch.randn(latent.shape, generator=generator)
        losses = reconstruction_losses(vae.decode(latent).sample, to_tensor(np.stack(wanted)))
        return {"loss": _weighted(losses), **losses}

    return step


def to_tensor(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Turn (N, H, W, 3) bytes into (N, 3, H, W) floats in [-1, 1], channels last for the CPU kernels."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_bytes(pictures: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Turn (N, 3, H, W) floats in [-1, 1] into (N, H, W, 3) bytes."""
    scaled = pictures.clamp(-1, 1).add(1).mul(127.5).round()
    result: npt.NDArray[np.uint8] = scaled.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return result


def _crop(picture: npt.NDArray[np.uint8], side: int, draw: np.random.Generator) -> npt.NDArray[np.uint8]:
    room = picture.shape[0] - side
    for _ in range(3):
        top, left = draw.integers(0, room + 1, size=2) if room > 0 else (0, 0)
        part = picture[top : top + side, left : left + side]
        # Much of clip art is white paper; look elsewhere when there is nothing to learn.
        if (part[::4, ::4] < 250).mean() > 0.05:
            break
    return part


def _varied(picture: npt.NDArray[np.uint8], draw: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Mirror half of the pictures and swap red, green and blue of half of them.

    The autoencoder does not know what a picture says, so both are safe here for text and flags as well; the
    swaps show it every colour as often, where the collection is mostly grey, red and blue.
    """
    if draw.random() < 0.5:
        picture = picture[:, ::-1]
    return picture[..., draw.permutation(3)] if draw.random() < 0.5 else picture


def _dx(x: torch.Tensor) -> torch.Tensor:
    return x[..., 1:] - x[..., :-1]


def _dy(x: torch.Tensor) -> torch.Tensor:
    return x[..., 1:, :] - x[..., :-1, :]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def encode_all(vae: AutoencoderKL, pictures: npt.NDArray[np.uint8], *, batch: int = 16) -> torch.Tensor:
    """Return the mean latents (N, 8, side/16, side/16) of `pictures` in half precision."""
    starts = range(0, len(pictures), batch)
    parts = (vae.encode(to_tensor(pictures[start : start + batch])).latent_dist.mean for start in starts)
    return torch.cat([part.half() for part in parts])


@torch.no_grad()  # type: ignore[untyped-decorator]
def normalise(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Make latents that had `mean` and `std` per channel come out with 0 and 1, and be decoded just the same.

    Stable Diffusion pipelines know one scale for all channels and no shift, so both go into the 1x1
    convolutions on either side of the latent.
    """
    before, after = vae.quant_conv, vae.post_quant_conv
    count = len(mean)
    before.bias[:count] = (before.bias[:count] - mean) / std
    before.weight[:count] /= std[:, None, None, None]
    before.bias[count:] -= 2 * std.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)
