"""Put a Studio around a diffusers pipeline: `guard` for any, `SafetyChecker` for those with the slot."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import Blocked, GenerationFailed, UsageError
from clearmark.sdk._calls import Call, PipelineGenerator
from clearmark.sdk._given import GivenPictures
from clearmark.sdk.studio import Studio

if TYPE_CHECKING:
    from clearmark.policies import Policy
    from clearmark.sdk.home import Home
    from clearmark.sdk.results import Result

__all__ = ["ON_BLOCK", "GuardedPipeline", "SafetyChecker", "guard"]

ON_BLOCK = ("none", "raise")
"""What takes a withheld picture's place: None in the list of images, or a `Blocked` exception."""


def guard(
    pipeline: Any,
    policy: str | Policy = "default",
    *,
    home: str | Path | Home | None = None,
    studio: Studio | None = None,
    on_block: str = "none",
) -> GuardedPipeline:
    """Wrap a diffusers image pipeline: same call, same output object, plus what was decided.

    The output has four more attributes: `verdicts` (one `Action` per image), `assets` (one `Released` or None
    per image: the bytes that carry the Content Credentials), `receipt` and `results`. Give `studio` to share
    one between pipelines; otherwise one is opened with `policy` and `home`.
    """
    if on_block not in ON_BLOCK:
        raise UsageError(f"unknown on_block {on_block!r}", hint=f"one of {', '.join(ON_BLOCK)}")
    return GuardedPipeline(pipeline, studio or Studio.from_policy(policy, home=home), on_block=on_block)


class GuardedPipeline:
    """A pipeline behind a Studio. Everything but the call itself is the wrapped pipeline's own."""

    def __init__(self, pipeline: Any, studio: Studio, *, on_block: str = "none") -> None:
        self.__signature__ = inspect.signature(pipeline.__call__)
        self.__wrapped__ = pipeline
        self._studio = studio
        self._on_block = on_block

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_studio":  # not there yet while unpickling or copying
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def to(self, *args: Any, **kwargs: Any) -> GuardedPipeline:
        """Move the wrapped pipeline and return this one, so that a chain of calls stays guarded."""
        self.__wrapped__.to(*args, **kwargs)
        return self

    @property
    def studio(self) -> Studio:
        """The Studio that decides and records."""
        return self._studio

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the pipeline as before. A withheld picture is None in `images` (see `ON_BLOCK`).

        Raises:
            InvalidRequest: what cannot be guarded: embeddings without their prompt, `output_type="latent"`.
            Blocked: with `on_block="raise"`, or where an array cannot hold a gap (`np`, `pt`).
        """
        call = Call.bind(self.__wrapped__, args, kwargs)
        generator = PipelineGenerator(self.__wrapped__, call)
        results = self._studio.generate_batch(call.requests, generator=generator)
        return self._output(call, results, generator.output)

    def _output(self, call: Call, results: Sequence[Result], template: Any) -> Any:
        assets = [asset for result in results for asset in _placed(result, call.per_prompt)]
        if self._on_block == "raise" or call.output_type != "pil":
            for result in results:
                _raise_if_any_withheld(result)
        images = call.converted([asset.image().convert("RGB") if asset else None for asset in assets])
        fields = {"images": images}
        flagged = [asset is None for asset in assets]
        if template is not None and getattr(template, "nsfw_content_detected", None) is not None:
            fields["nsfw_content_detected"] = flagged
        output = _filled(self.__wrapped__, template, fields, flagged)
        if not call.return_dict:
            return tuple(getattr(output, field.name) for field in dataclasses.fields(output))
        output.verdicts = [verdict for result in results for verdict in _verdicts(result, call.per_prompt)]
        output.assets = assets
        output.receipt = results[-1].receipt
        output.results = list(results)
        return output


class SafetyChecker:
    """The `safety_checker` component of the diffusers pipelines that have that slot.

    >>> pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=SafetyChecker())

    The slot passes pictures without their prompt, so only what can be seen is judged; what passes is
    watermarked in place, and what does not comes back black and flagged, as the slot's contract has it.
    `guard` does more. Pipelines that expect a third value (DeepFloyd IF, the x4 upscaler) need
    `watermark_output=True`.
    """

    def __init__(
        self,
        policy: str | Policy = "default",
        *,
        home: str | Path | Home | None = None,
        studio: Studio | None = None,
        watermark_output: bool = False,
    ) -> None:
        self._studio = studio or Studio.from_policy(policy, home=home)
        self._watermark_output = watermark_output

    def __call__(self, images: Any, clip_input: Any = None, **_: Any) -> tuple[Any, ...]:
        """Judge `images`: a tensor (N, 3, H, W) in about [-1, 1] or an array (N, H, W, 3) in [0, 1].

        Returns them with a list of flags (and of watermark flags), in order. `clip_input` is not looked at.
        """
        given = GivenPictures(images)
        results = self._studio.generate_batch(given.requests, generator=given)
        kept = [result.assets[0].image() if result.assets else None for result in results]
        flags = [picture is None for picture in kept]
        replaced = given.replaced(kept)
        return (replaced, flags, [False] * len(flags)) if self._watermark_output else (replaced, flags)


def _placed(result: Result, n: int) -> list[Any]:
    # Pictures keep their places: what was withheld leaves a gap.
    gaps = {picture.index for picture in result.withheld}
    left = iter(result.assets)
    return [None if index in gaps or not result.assets else next(left) for index in range(n)]


def _verdicts(result: Result, n: int) -> list[Any]:
    withheld = {picture.index: picture.verdict.action for picture in result.withheld}
    if not result.assets and not withheld:  # refused before anything was made
        return [result.verdict] * n
    left = iter(result.assets)
    return [withheld[index] if index in withheld else next(left).verdict.action for index in range(n)]


def _raise_if_any_withheld(result: Result) -> None:
    result.raise_for_verdict()
    if result.withheld:
        raise Blocked(
            f"{len(result.withheld)} of {len(result.withheld) + len(result.assets)} pictures were withheld",
            hint='use output_type="pil" to get the others, with None in the gaps',
        )


def _filled(pipeline: Any, template: Any, fields: dict[str, Any], flagged: list[bool]) -> Any:
    if template is not None:
        for name, value in fields.items():
            setattr(template, name, value)
        return template
    # Everything was refused before the pipeline ran, so its output class has to be found by its name.
    kind = _output_class(pipeline)
    values = {field.name: None for field in dataclasses.fields(kind)} | fields
    if "nsfw_content_detected" in values:
        values["nsfw_content_detected"] = flagged
    return kind(**values)


def _output_class(pipeline: Any) -> Any:
    module = inspect.getmodule(type(pipeline).__call__) or inspect.getmodule(type(pipeline))
    for scope in (inspect.unwrap(type(pipeline).__call__).__globals__, vars(module) if module else {}):
        for name, value in scope.items():
            if name.endswith("PipelineOutput") and dataclasses.is_dataclass(value):
                names = {field.name for field in dataclasses.fields(value)}
                if "images" in names:
                    return value
    raise GenerationFailed(
        f"{type(pipeline).__name__} returns no pictures that can be guarded",
        hint="guard() takes pipelines whose output has `images`",
    )
