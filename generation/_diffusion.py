"""Run a request through a diffusers pipeline: the part that the local backends share.

Each picture has its own seed and, on a CPU, its own run, so that the same seed gives the same bytes whatever
else is in the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Origin, Request, Task
from clearmark.core.errors import GenerationFailed, InvalidRequest
from clearmark.core.pixels import encode_png, open_image
from clearmark.generation._backend import Defaults, ModelInfo, Noise, seeds_of
from clearmark.generation._quiet import quiet
from clearmark.generation.drift import try_drift
from clearmark.generation.guidance import GuidanceProbe

if TYPE_CHECKING:
    from PIL.Image import Image

    from clearmark.generation.steering import SoftenedText

__all__ = ["Limits", "PipelineRunner"]

_TASKS = (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT)
_INPAINT_CHANNELS = (4, 9)
_DEFAULT_STRENGTH = 0.7
SOFTEN = "soften"
"""Parameter of a request: the share of the words' pull that is kept, see `steering.soften`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes that a backend makes: multiples of `multiple`, from `smallest` to `largest` pixels a side."""

    multiple: int = 8
    smallest: int = 64
    largest: int = 2048
    most_steps: int = 250


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One request with every open value filled in."""

    request: Request
    width: int
    height: int
    steps: int
    guidance: float | None
    strength: float
    image: Image | None
    mask: Image | None


class PipelineRunner:
    """Make pictures with a text-to-image pipeline of diffusers. Not thread-safe: the owner locks."""

    def __init__(
        self,
        pipeline: Any,
        *,
        name: str,
        model: ModelInfo,
        defaults: Defaults,
        limits: Limits,
        batch: int = 1,
    ) -> None:
        self._pipelines = {Task.TEXT_TO_IMAGE: pipeline}
        self._name = name
        self._model = model
        self._defaults = defaults
        self._limits = limits
        self._batch = batch

    def generate(
        self, requests: Sequence[Request], noises: Sequence[Sequence[Noise]] = ()
    ) -> list[list[Asset]]:
        """Check every request first, then make the pictures of each, from `noises` where they are given."""
        jobs = [self._job(request) for request in requests]
        given = noises or [()] * len(jobs)
        return [self._run(job, noise) for job, noise in zip(jobs, given, strict=True)]

    @property
    def takes_noise(self) -> bool:
        """Whether the pipeline can be started from given noise and run backwards."""
        from clearmark.generation.inversion import takes_noise

        return takes_noise(self._pipelines[Task.TEXT_TO_IMAGE])

    def invert(self, pictures: Sequence[Image]) -> Any:
        """Return the estimated initial noise of pictures of one size."""
        from clearmark.generation.inversion import Inverter

        return Inverter(self._pipelines[Task.TEXT_TO_IMAGE]).invert(pictures)

    def _job(self, request: Request) -> _Job:
        if request.task not in _TASKS:
            raise InvalidRequest(
                f"{self._name}: {request.task.value} is not offered",
                hint="this backend offers " + ", ".join(task.value for task in _TASKS),
            )
        # A request may carry an input picture that its task does not use; only the task decides.
        edits = request.task is not Task.TEXT_TO_IMAGE
        image = _picture(request.init_image, "RGB") if edits else None
        mask = _picture(request.mask, "L") if request.task is Task.INPAINT else None
        width, height = self._size(request, image)
        steps = request.steps or self._defaults.steps
        if steps > self._limits.most_steps:
            raise InvalidRequest(f"{self._name}: at most {self._limits.most_steps} steps, not {steps}")
        guidance = self._defaults.guidance if request.guidance is None else request.guidance
        if guidance is not None and not 0 <= guidance <= 50:  # also refuses NaN
            raise InvalidRequest(f"{self._name}: guidance must be 0 to 50, not {guidance}")
        return _Job(
            request=request,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            strength=request.strength or _DEFAULT_STRENGTH,
            image=None if image is None else image.resize((width, height)),
            mask=None if mask is None else mask.resize((width, height), 0),
        )

    def _size(self, request: Request, image: Image | None) -> tuple[int, int]:
        limits, wanted = self._limits, (request.width, request.height)
        fallback = (self._defaults.width, self._defaults.height)
        if image is not None and wanted == (None, None):
            return _same_shape(image.size, fallback, limits)
        width, height = (given or usual for given, usual in zip(wanted, fallback, strict=True))
        for side in (width, height):
            if side % limits.multiple or not limits.smallest <= side <= limits.largest:
                raise InvalidRequest(
                    f"{self._name}: {width}x{height} is not offered",
                    hint=f"sides: multiples of {limits.multiple}, {limits.smallest} to {limits.largest}",
                )
        return width, height

    def _run(self, job: _Job, noises: Sequence[Noise]) -> list[Asset]:
        seeds = seeds_of(job.request)
        assets: list[Asset] = []
        for start in range(0, len(seeds), self._batch):
            part = seeds[start : start + self._batch]
            chosen = noises[start : start + self._batch]
            try:
                with quiet():
                    pictures, traces, drift = self._call(job, part, chosen)
            except Exception as exc:  # a model of any make can fail in any way
                # Messages of pipelines can quote the prompt, so only the kind of fault is told.
                raise GenerationFailed(
                    f"{self._name}: the pipeline failed with {type(exc).__name__}",
                    hint="does the model take this task, this size and these steps?",
                ) from exc
            assets += [
                self._asset(job, seed, made, trace, drift)
                for seed, made, trace in zip(part, pictures, traces, strict=True)
            ]
        return assets

    def _call(
        self, job: _Job, seeds: list[int], noises: Sequence[Noise]
    ) -> tuple[list[Image], list[dict[str, Any] | None], float | None]:
        import torch

        from clearmark.generation.inversion import initial_latents

        request, pipeline = job.request, self._pipeline(job.request.task)
        options: dict[str, Any] = {
            "prompt": [request.prompt] * len(seeds),
            "num_inference_steps": job.steps,
            "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
        }
        if request.negative_prompt:
            options["negative_prompt"] = [request.negative_prompt] * len(seeds)
        if job.guidance is not None:
            options["guidance_scale"] = job.guidance
        if request.task is Task.TEXT_TO_IMAGE:
            options |= {"width": job.width, "height": job.height}
            if noises:
                options["latents"] = initial_latents(pipeline, job.width, job.height, seeds, noises)
        else:
            options |= {"image": [job.image] * len(seeds), "strength": job.strength}
        if request.task is Task.INPAINT:
            if self._inpaints():
                options |= {"mask_image": [job.mask] * len(seeds), "width": job.width, "height": job.height}
            else:
                options["callback_on_step_end"] = _Blend(pipeline, job, seeds)
                options["callback_on_step_end_tensor_inputs"] = ["latents"]
        with (
            self._softened(job, seeds[0]) as softened,
            GuidanceProbe(pipeline, pictures=len(seeds)) as probe,
        ):
            pictures: list[Image] = pipeline(**options).images
        (drift,) = try_drift(
            self._pipelines[Task.TEXT_TO_IMAGE],
            [request.prompt],
            texts=None if softened is None else softened.states,
        )
        found = probe.traces()
        traces: list[dict[str, Any] | None] = [None] * len(pictures)
        if found:
            traces = [trace.to_dict() for trace in found]
        if job.image is not None and job.mask is not None:
            # The decoder redraws everything a little; what is outside the mask was not to change.
            pictures = [_composite(made, job.image, job.mask) for made in pictures]
        return pictures, traces, drift

    def _softened(self, job: _Job, seed: int) -> contextlib.AbstractContextManager[SoftenedText | None]:
        """Let the words pull less where the request asks so: what `regenerate` does to memorized prompts."""
        share = job.request.parameters.get(SOFTEN)
        if not isinstance(share, int | float) or not 0 < share < 1 or job.image is not None:
            return contextlib.nullcontext()
        from clearmark.generation.steering import soften

        try:
            pipeline = self._pipelines[Task.TEXT_TO_IMAGE]
            return soften(pipeline, job.request.prompt, seed=seed, share=float(share), steps=job.steps)
        except GenerationFailed:
            return (
                contextlib.nullcontext()
            )  # not a pipeline that this works for: the new seed is what is left

    def _inpaints(self) -> bool:
        """Whether the library's own inpainting takes this model: it knows two counts of channels only."""
        unet = getattr(self._pipelines[Task.TEXT_TO_IMAGE], "unet", None)
        return unet is None or unet.config.in_channels in _INPAINT_CHANNELS

    def _pipeline(self, task: Task) -> Any:
        if task is Task.INPAINT and not self._inpaints():
            task = Task.IMAGE_TO_IMAGE
        if task not in self._pipelines:
            import diffusers

            kind = (
                diffusers.AutoPipelineForInpainting
                if task is Task.INPAINT
                else diffusers.AutoPipelineForImage2Image
            )
            derived = kind.from_pipe(self._pipelines[Task.TEXT_TO_IMAGE])
            derived.set_progress_bar_config(disable=True)
            self._pipelines[task] = derived
        return self._pipelines[task]

    def _asset(
        self, job: _Job, seed: int, picture: Image, trace: dict[str, Any] | None, drift: float | None
    ) -> Asset:
        request = job.request
        parents = tuple(
            asset.sha256
            for asset, used in ((request.init_image, job.image), (request.mask, job.mask))
            if asset is not None and used is not None
        )
        parameters: dict[str, Any] = {"width": job.width, "height": job.height}
        if job.guidance is not None:
            parameters["guidance"] = job.guidance
        if job.image is not None:
            parameters["strength"] = job.strength
        if trace is not None:
            parameters["guidance_trace"] = trace
        if drift is not None:
            parameters["prompt_drift"] = round(drift, 5)
        if SOFTEN in request.parameters:
            parameters[SOFTEN] = request.parameters[SOFTEN]
        return Asset(
            data=encode_png(picture.convert("RGB")),
            media_type="image/png",
            width=picture.width,
            height=picture.height,
            origin=Origin(
                generator=self._name,
                model=self._model.id,
                model_version=self._model.version,
                model_digest=self._model.digest,
                task=request.task.value,
                seed=seed,
                steps=job.steps,
                parents=parents,
                parameters=parameters,
            ),
        )


class _Blend:
    """After each step, put the (noised) latents of the input back wherever the mask says "keep".

    Avrahami et al., "Blended latent diffusion", 2023: inpainting with any image-to-image pipeline.
    """

    def __init__(self, pipeline: Any, job: _Job, seeds: Sequence[int]) -> None:
        import numpy as np
        import torch

        assert job.mask is not None
        factor = pipeline.vae_scale_factor
        size = (job.width // factor, job.height // factor)
        change = torch.from_numpy(np.asarray(job.mask.resize(size, 0)) > 127)
        self._keep = ~change[None, None]
        pixels = pipeline.image_processor.preprocess(job.image).to(pipeline.vae.dtype)
        with torch.inference_mode():
            posterior = pipeline.vae.encode(pixels.to(pipeline.vae.device)).latent_dist
            self._clean = posterior.mode() * pipeline.vae.config.scaling_factor
        noises = [
            torch.randn(self._clean.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        self._noise = torch.cat(noises).to(self._clean)

    def __call__(self, pipeline: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        import torch

        latents, times = values["latents"], pipeline.scheduler.timesteps
        begin = len(times) - pipeline._num_timesteps + step + 1
        known = self._clean.expand_as(latents)
        if begin < len(times):
            level = times[begin : begin + 1].repeat(len(latents))
            known = pipeline.scheduler.add_noise(known, self._noise, level)
        return {"latents": torch.where(self._keep.to(latents.device), known.to(latents), latents)}


def _picture(asset: Asset | None, mode: str) -> Image | None:
    return None if asset is None else open_image(asset.data).convert(mode)


def _same_shape(size: tuple[int, int], usual: tuple[int, int], limits: Limits) -> tuple[int, int]:
    """Keep the shape of `size` at about the area of `usual`, within the limits."""
    scale = (usual[0] * usual[1] / (size[0] * size[1])) ** 0.5

    def fitted(side: int) -> int:
        rounded: int = round(side * scale / limits.multiple) * limits.multiple
        return min(max(rounded, limits.smallest), limits.largest)

    return fitted(size[0]), fitted(size[1])


def _composite(made: Image, kept: Image, mask: Image) -> Image:
    import PIL.Image

    return PIL.Image.composite(made, kept, mask)
