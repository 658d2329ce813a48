"""From a picture back to the noise that a latent diffusion model would have made it from.

The picture is encoded, and the probability flow of the model is followed backwards from the data to the noise
(DDIM inversion, Song et al. 2021, section 4.3), without a prompt and without guidance: whoever reads a
picture later knows neither. What comes out is therefore an estimate, and a poor one where a picture is flat,
because many noises lead to the same flat area.

Two departures from the plain method were measured on the reference model, with a Gaussian Shading mark as the
yardstick (`clearmark bench latent`). The encoder's error is as large as the noise that the model expects in
the last steps, and running the flow backwards blows it up: so the way begins no earlier than START, where the
error is the smaller part, and with no noise at all instead of the model's guess at it. And few steps do
better than many, for the same reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from clearmark.generation._backend import Noise

__all__ = ["Inverter", "initial_latents", "latent_shape", "takes_noise", "usual_size"]

STEPS = 10
START = 0.1
"""Where the way back begins, as a share of the training's time steps."""

_TWICE = 2
"""How often each step is solved for its own end (the step is implicit; more changes nothing)."""


class Inverter:
    """Invert pictures by `pipeline`: a diffusers pipeline with a UNet, an autoencoder and a text encoder.

    Stable Diffusion 1 and 2, Stable Diffusion XL and the reference model are such. Nothing in the pipeline is
    changed. Not thread-safe: whoever owns the pipeline locks.

    Raises:
        UsageError: a pipeline of another make, whose sampler is not known here.
    """

    def __init__(self, pipeline: Any, *, steps: int = STEPS, start: float = START) -> None:
        unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
        alphas = getattr(getattr(pipeline, "scheduler", None), "alphas_cumprod", None)
        channels = getattr(getattr(unet, "config", None), "in_channels", None)
        if vae is None or alphas is None or channels is None or not hasattr(pipeline, "encode_prompt"):
            raise UsageError(
                f"{type(pipeline).__name__} cannot be run backwards",
                hint="latent diffusion pipelines with a UNet can: Stable Diffusion 1, 2 and XL",
            )
        if channels != vae.config.latent_channels:
            raise UsageError("a model that takes more than latents cannot be run backwards")
        self._pipeline = pipeline
        self._alphas = alphas
        count = len(alphas)
        times = [round(count - 1 - index * count / steps) for index in reversed(range(steps))]
        self._times = [time for time in times if time >= start * count]

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the shape of the initial noise of a picture of `width` x `height` pixels."""
        return latent_shape(self._pipeline, width, height)

    def invert(self, pictures: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return the estimated initial noise of RGB pictures of one size: (N, channels, height, width).

        The size must be one that the model makes; scale a picture to it before.

        Raises:
            UsageError: pictures of several sizes, or of one that the autoencoder does not take.
        """
        import numpy as np
        import torch

        if not pictures:
            raise UsageError("no pictures to invert")
        sizes = {picture.size for picture in pictures}
        factor = _factor(self._pipeline)
        if len(sizes) != 1 or any(side % factor for side in next(iter(sizes))):
            raise UsageError(f"pictures of one size, sides multiples of {factor}, are inverted at once")
        with torch.inference_mode():
            clean = self._encoded(pictures)
            conditions = self._conditions(len(pictures), *next(iter(sizes)))
            noise = self._backwards(clean, conditions)
        out: npt.NDArray[np.float32] = noise.float().cpu().numpy().astype(np.float32)
        return out

    def _encoded(self, pictures: Sequence[Image]) -> Any:
        pipeline = self._pipeline
        vae = pipeline.vae
        pixels = pipeline.image_processor.preprocess([picture.convert("RGB") for picture in pictures])
        encoded = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return ((encoded - shift) * vae.config.scaling_factor).to(pipeline.unet.dtype)

    def _conditions(self, count: int, width: int, height: int) -> dict[str, Any]:
        """Return what the model is given for an empty prompt."""
        import torch

        pipeline = self._pipeline
        device = pipeline.unet.device
        found = pipeline.encode_prompt(
            prompt=[""], device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        out: dict[str, Any] = {"encoder_hidden_states": found[0].expand(count, -1, -1)}
        if len(found) >= 4:  # Stable Diffusion XL: pooled text, and the size that was asked for
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=found[0].dtype, device=device)
            out["added_cond_kwargs"] = {
                "text_embeds": found[2].expand(count, -1),
                "time_ids": sizes.expand(count, -1),
            }
        return out

    def _backwards(self, clean: Any, conditions: dict[str, Any]) -> Any:
        """Follow the flow from the clean latent to the noise; each step is solved for its own end."""
        held = clean
        before: tuple[float, float] | None = None
        for time in self._times:
            kept = float(self._alphas[time])
            alpha, sigma = kept**0.5, (1 - kept) ** 0.5
            if before is None:
                held = alpha * clean
            else:
                reached = held
                for _ in range(_TWICE):
                    wanted = self._clean_estimate(reached, time, alpha, sigma, conditions)
                    reached = alpha * wanted + sigma * (held - before[0] * wanted) / before[1]
                held = reached
            before = alpha, sigma
        return held

    def _clean_estimate(
        self, noisy: Any, time: int, alpha: float, sigma: float, given: dict[str, Any]
    ) -> Any:
        """Return what the model takes for the picture behind `noisy`, whichever thing it predicts."""
        said = self._pipeline.unet(noisy, time, return_dict=False, **given)[0]
        kind = getattr(self._pipeline.scheduler.config, "prediction_type", "epsilon")
        if kind == "v_prediction":
            return alpha * noisy - sigma * said
        return said if kind == "sample" else (noisy - sigma * said) / max(alpha, 1e-3)


def latent_shape(pipeline: Any, width: int, height: int) -> tuple[int, int, int]:
    """Return the shape of the latents of `pipeline` for a picture of `width` x `height` pixels."""
    factor = _factor(pipeline)
    return int(pipeline.unet.config.in_channels), height // factor, width // factor


def takes_noise(pipeline: Any) -> bool:
    """Say whether `pipeline` can be started from given latents and run backwards."""
    try:
        Inverter(pipeline)
    except UsageError:
        return False
    return "latents" in inspect.signature(pipeline.__call__).parameters


def initial_latents(
    pipeline: Any, width: int, height: int, seeds: Sequence[int], noises: Sequence[Noise]
) -> Any:
    """Return the given noises as the tensor that a pipeline takes as `latents`."""
    import numpy as np
    import torch

    shape = latent_shape(pipeline, width, height)
    stack = np.stack([noise(shape, seed) for noise, seed in zip(noises, seeds, strict=True)])
    return torch.from_numpy(stack).to(pipeline.unet.device, pipeline.unet.dtype)


def usual_size(pipeline: Any) -> tuple[int, int]:
    """Return the size that `pipeline` makes where none is asked for: width, height."""
    size = getattr(pipeline, "default_sample_size", None)
    if size is None:
        size = getattr(getattr(getattr(pipeline, "unet", None), "config", None), "sample_size", None) or 64
    sides = (size, size) if isinstance(size, int) else tuple(size)
    factor = _factor(pipeline)
    return int(sides[-1]) * factor, int(sides[0]) * factor


def _factor(pipeline: Any) -> int:
    return int(getattr(pipeline, "vae_scale_factor", 8))
