"""One call of a diffusers pipeline: what it asks for, as requests, and how to run what is allowed."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Origin, Request, Task
from clearmark.core.errors import GenerationFailed, InvalidRequest
from clearmark.core.pixels import encode_png
from clearmark.generation.drift import try_drift
from clearmark.generation.guidance import GuidanceProbe
from clearmark.sdk._models import describe_pipeline

if TYPE_CHECKING:
    from clearmark.generation import Noise

__all__ = ["Call", "PipelineGenerator"]

_PER_PROMPT = (
    "prompt", "prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3", "image",
    "mask_image", "control_image",
)  # fmt: skip
_TEXTS = ("prompt", "prompt_2", "prompt_3")
_NEGATIVES = ("negative_prompt", "negative_prompt_2", "negative_prompt_3")
_OUTPUT_TYPES = ("pil", "np", "pt")


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of a call, bound to the pipeline's own signature."""

    arguments: dict[str, Any]
    requests: tuple[Request, ...]
    per_prompt: int
    output_type: str
    return_dict: bool

    @classmethod
    def bind(cls, pipeline: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Bind the arguments and turn each prompt into a request.

        Raises:
            InvalidRequest: when the call does not fit the signature or cannot be guarded.
        """
        signature = inspect.signature(pipeline.__call__)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise InvalidRequest(f"{type(pipeline).__name__}: {exc}") from exc
        given = dict(bound.arguments)
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(name, {}))
        defaults = {name: p.default for name, p in signature.parameters.items()}
        output_type = given.get("output_type", defaults.get("output_type", "pil"))
        if output_type not in _OUTPUT_TYPES:
            raise InvalidRequest(
                f"output_type={output_type!r} cannot be guarded: there is no picture to look at",
                hint=f"one of {', '.join(_OUTPUT_TYPES)}",
            )
        count = given.get("num_images_per_prompt") or 1
        return cls(
            arguments=given,
            requests=_requests(given, count),
            per_prompt=count,
            output_type=output_type,
            return_dict=bool(given.get("return_dict", True)),
        )

    def converted(self, images: list[Any]) -> Any:
        """Return PIL pictures in the output type that was asked for."""
        if self.output_type == "pil":
            return images
        import numpy as np

        stack = np.stack([np.asarray(image) for image in images]).astype(np.float32) / 255
        if self.output_type == "np":
            return stack
        import torch

        return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


class PipelineGenerator:
    """Run a pipeline for those prompts of a call that were let through."""

    def __init__(self, pipeline: Any, call: Call) -> None:
        self._pipeline = pipeline
        self._call = call
        self._places = {request.request_id: place for place, request in enumerate(call.requests)}
        self._calls = 0
        self.name = f"diffusers/{type(pipeline).__name__}"
        self.model = describe_pipeline(pipeline)
        self.defaults: Any = _defaults(pipeline)
        self.output: Any = None
        self.spec = ""
        self._noises: list[Noise] = []

    @property
    def takes_noise(self) -> bool:
        """Whether the pipeline can be started from given noise; not where the caller gave some."""
        from clearmark.generation.inversion import takes_noise

        return self._call.arguments.get("latents") is None and takes_noise(self._pipeline)

    def invert(self, pictures: Sequence[Any]) -> Any:
        """Return the estimated initial noise of RGB pictures of one size."""
        from clearmark.generation import Inverter

        return Inverter(self._pipeline).invert(pictures)

    def generate_from(
        self, requests: Sequence[Request], noises: Sequence[Sequence[Noise]]
    ) -> list[list[Asset]]:
        """As `generate`, from the noises given where the prompts start from no picture."""
        self._noises = [noise for one in noises for noise in one]
        try:
            return self.generate(requests)
        finally:
            self._noises = []

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Return `request.n` pictures for each request, as PNG."""
        if {request.n for request in requests} != {requests[0].n}:
            raise GenerationFailed("the prompts of one call must ask for the same number of pictures")
        places = [self._places[request.request_id] for request in requests]
        arguments = self._arguments(places, requests)
        count = len(requests) * requests[0].n
        with GuidanceProbe(self._pipeline, pictures=count) as probe:
            output = self._pipeline(**arguments)
        found = probe.traces()
        traces = [trace.to_dict() for trace in found] if found else [None] * count
        images = getattr(output, "images", None)
        n = requests[0].n
        drifts = try_drift(self._pipeline, [request.prompt for request in requests])
        if images is None or len(images) != n * len(requests):
            raise GenerationFailed(
                f"{self.name} returned no list of {n * len(requests)} pictures",
                hint="guard() takes pipelines whose output has `images`",
            )
        if self.output is None:
            self.output = output
        self._calls += 1
        return [
            [
                self._asset(request, images[row * n + column], traces[row * n + column], drifts[row])
                for column in range(n)
            ]
            for row, request in enumerate(requests)
        ]

    def _arguments(self, places: list[int], requests: Sequence[Request]) -> dict[str, Any]:
        total = len(self._call.requests)
        arguments = dict(self._call.arguments)
        arguments.update(output_type="pil", return_dict=True)
        if total > 1 or isinstance(arguments.get("prompt"), list):
            for name in _PER_PROMPT:
                values = arguments.get(name)
                if isinstance(values, list | tuple) and len(values) == total:
                    arguments[name] = [values[place] for place in places]
        if "num_images_per_prompt" in arguments:
            arguments["num_images_per_prompt"] = requests[0].n
        if self._calls:  # a further attempt: another seed, and on record
            arguments["generator"] = _seeded(requests)
        elif isinstance(arguments.get("generator"), list | tuple):
            n = self._call.per_prompt
            all_ = arguments["generator"]
            if len(all_) == total * n:
                arguments["generator"] = [all_[place * n + i] for place in places for i in range(n)]
        if self._noises and all(request.init_image is None for request in requests):
            arguments["latents"] = self._latents(arguments, requests)
        return arguments

    def _latents(self, arguments: dict[str, Any], requests: Sequence[Request]) -> Any:
        from clearmark.generation.inversion import initial_latents, usual_size

        width, height = usual_size(self._pipeline)
        seeds = [(request.seed or 0) + index for request in requests for index in range(request.n)]
        return initial_latents(
            self._pipeline,
            arguments.get("width") or width,
            arguments.get("height") or height,
            seeds,
            self._noises,
        )

    def _asset(
        self, request: Request, image: Any, trace: dict[str, Any] | None, drift: float | None
    ) -> Asset:
        parameters: dict[str, Any] = {} if trace is None else {"guidance_trace": trace}
        if drift is not None:
            parameters["prompt_drift"] = round(drift, 5)
        steps = self._call.arguments.get("num_inference_steps")
        origin = Origin(
            generator=self.name,
            model=self.model.id,
            model_version=self.model.version,
            model_digest=self.model.digest,
            task=request.task.value,
            seed=request.seed if self._calls or self._call.arguments.get("generator") is not None else None,
            steps=steps if isinstance(steps, int) else None,
            parents=(request.init_image.sha256,) if request.init_image else (),
            parameters=parameters,
        )
        return Asset(
            data=encode_png(image),
            media_type="image/png",
            width=image.width,
            height=image.height,
            origin=origin,
        )


def _defaults(pipeline: Any) -> Any:
    from clearmark.generation import Defaults
    from clearmark.generation.inversion import usual_size

    width, height = usual_size(pipeline)
    return Defaults(width=width, height=height)


def _requests(given: dict[str, Any], count: int) -> tuple[Request, ...]:
    prompt = given.get("prompt")
    if prompt is None or any(name.endswith("_embeds") and given[name] is not None for name in given):
        raise InvalidRequest(
            "a call by embeddings cannot be guarded: there is no prompt to look at",
            hint="pass the prompt as text",
        )
    total = 1 if isinstance(prompt, str) else len(prompt)
    images = _pictures(given.get("image"), total)
    masks = _pictures(given.get("mask_image"), total)
    base = Request(
        "",
        n=count,
        width=_side(given.get("width")),
        height=_side(given.get("height")),
        steps=given["num_inference_steps"] if isinstance(given.get("num_inference_steps"), int) else None,
        seed=_seed_of(given.get("generator")),
    )
    requests = []
    for place in range(total):
        image, mask = images[place], masks[place]
        task = Task.TEXT_TO_IMAGE if image is None else Task.INPAINT if mask else Task.IMAGE_TO_IMAGE
        made = Request(
            _joined(given, _TEXTS, place),
            negative_prompt=_joined(given, _NEGATIVES, place),
            task=task,
            init_image=image,
            mask=mask,
            n=base.n,
            width=base.width,
            height=base.height,
            steps=base.steps,
            seed=base.seed,
        )
        requests.append(made if made.seed is None else replace(made, seed=(made.seed + place) % 2**63))
    return tuple(requests)


def _joined(given: dict[str, Any], names: Sequence[str], place: int) -> str:
    texts = []
    for name in names:
        value = given.get(name)
        text = value[place] if isinstance(value, list | tuple) else value
        if text and text not in texts:
            texts.append(text)
    return "\n".join(texts)


def _side(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _seed_of(generator: Any) -> int | None:
    first = generator[0] if isinstance(generator, list | tuple) and generator else generator
    return first.initial_seed() % 2**63 if hasattr(first, "initial_seed") else None


def _seeded(requests: Sequence[Request]) -> list[Any]:
    import torch

    return [
        torch.Generator("cpu").manual_seed((request.seed or 0) + i)
        for request in requests
        for i in range(request.n)
    ]


def _pictures(value: Any, total: int) -> list[Asset | None]:
    if value is None:
        return [None] * total
    many = list(value) if isinstance(value, list | tuple) else [value]
    if len(many) == 1:
        many *= total
    if len(many) != total:
        raise InvalidRequest(
            f"{len(many)} input pictures for {total} prompts", hint="pass one for each prompt"
        )
    return [_picture(image) for image in many]


def _picture(image: Any) -> Asset:
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise InvalidRequest(
            f"an input picture of type {type(image).__name__} cannot be guarded", hint="pass PIL pictures"
        )
    converted = image if image.mode in {"RGB", "RGBA", "L"} else image.convert("RGB")
    return Asset(data=encode_png(converted), media_type="image/png", width=image.width, height=image.height)
