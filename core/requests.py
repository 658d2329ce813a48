"""The noun `Request`: what somebody asks a generator for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from clearmark.core.assets import Asset
from clearmark.core.errors import InvalidRequest
from clearmark.core.ids import uuid7

__all__ = ["MAX_IMAGES", "MAX_PROMPT_CHARS", "Request", "Stage", "Task"]

MAX_PROMPT_CHARS = 20_000
"""Longest prompt that is looked at; a longer one is refused before any guard runs."""

MAX_IMAGES = 64
"""Most pictures that one request may ask for."""


class Task(StrEnum):
    """What a generator is asked to do."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"
    OUTPAINT = "outpaint"
    UPSCALE = "upscale"
    TEXT_TO_VIDEO = "text-to-video"
    TEXT_TO_AUDIO = "text-to-audio"
    TEXT_TO_3D = "text-to-3d"


class Stage(StrEnum):
    """Where on the way of a request something is measured and decided."""

    PROMPT = "prompt"
    INPUT_MEDIA = "input-media"
    OUTPUT = "output"


@dataclass(frozen=True)
class Request:
    """One request. `n` pictures of `width` x `height` pixels; None leaves a value to the backend.

    Raises:
        InvalidRequest: for an over-long prompt, control values out of range, or media that the task lacks.
    """

    prompt: str
    negative_prompt: str = field(default="", kw_only=True)
    task: Task = field(default=Task.TEXT_TO_IMAGE, kw_only=True)
    init_image: Asset | None = field(default=None, kw_only=True)
    mask: Asset | None = field(default=None, kw_only=True)
    n: int = field(default=1, kw_only=True)
    width: int | None = field(default=None, kw_only=True)
    height: int | None = field(default=None, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)
    guidance: float | None = field(default=None, kw_only=True)
    strength: float | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    actor: str = field(default="anonymous", kw_only=True)
    tenant: str = field(default="default", kw_only=True)
    purpose: str = field(default="", kw_only=True)
    region: str = field(default="", kw_only=True)
    consent: tuple[str, ...] = field(default=(), kw_only=True)
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), kw_only=True)
    request_id: str = field(default_factory=uuid7, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("prompt", "negative_prompt"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise InvalidRequest(f"{name} must be text, not {type(text).__name__}")
            if len(text) > MAX_PROMPT_CHARS:
                raise InvalidRequest(
                    f"{name} has {len(text):,} characters; at most {MAX_PROMPT_CHARS:,} are read"
                )
        if not 1 <= self.n <= MAX_IMAGES:
            raise InvalidRequest(f"n must be 1 to {MAX_IMAGES}, not {self.n}")
        for name, low, high in (("width", 8, 8192), ("height", 8, 8192), ("steps", 1, 1000)):
            number = getattr(self, name)
            if number is not None and not low <= number <= high:
                raise InvalidRequest(f"{name} must be {low} to {high}, not {number}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InvalidRequest(f"seed must be 0 to 2**63 - 1, not {self.seed}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise InvalidRequest(f"strength must be above 0 and at most 1, not {self.strength}")
        if (
            self.task in {Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.OUTPAINT, Task.UPSCALE}
            and self.init_image is None
        ):
            raise InvalidRequest(f"{self.task.value} needs an input picture", hint="pass init_image")
        if self.task is Task.INPAINT and self.mask is None:
            raise InvalidRequest("inpaint needs a mask", hint="pass mask: white where the picture may change")
