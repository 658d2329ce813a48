"""What a generator is, and how one is made from the words of a command line or a config file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from clearmark.core import Asset, Request
from clearmark.core.errors import UsageError

__all__ = ["Defaults", "Generator", "ModelInfo", "create", "seeds_of"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Which model makes the pictures. `digest`: `sha256:…` over its files, empty where they are remote."""

    id: str
    version: str = ""
    digest: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a request that leaves a value open gets: pixels, and sampling steps (0 where there are none)."""

    width: int
    height: int
    steps: int = 0
    guidance: float | None = None


@runtime_checkable
class Generator(Protocol):
    """Makes pictures; neither judges nor marks them. The batch is the primitive."""

    @property
    def name(self) -> str:
        """The kind of backend: `reference`, `diffusers`, `file`, `openai`."""
        ...

    @property
    def model(self) -> ModelInfo:
        """The model behind it."""
        ...

    @property
    def defaults(self) -> Defaults:
        """What requests that leave values open get."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Return one list of `request.n` PNG assets for each request, in order, each with its `origin`.

        Raises:
            InvalidRequest: a request that this backend cannot serve; nothing was made.
            BackendUnavailable: the model or server cannot be reached.
            ExtraMissing: a package is not installed.
            GenerationFailed: the model failed on a valid request.
        """
        ...


def create(spec: str) -> Generator:
    """Return the generator that `spec` names. Models are loaded when they are first used.

    `reference`, `diffusers:FOLDER`, `diffusers:HUB-ID[@REVISION]`, `file:PATH`, `openai:URL#MODEL`.

    Raises:
        UsageError: for any other word.
    """
    kind, _, rest = spec.partition(":")
    makers: dict[str, Callable[[str], Generator]] = {
        "reference": _reference,
        "diffusers": _diffusers,
        "file": _file,
        "openai": _openai,
    }
    if kind not in makers or bool(rest) == (kind == "reference"):
        raise UsageError(
            f"no such backend: {spec[:80]!r}",
            hint="reference, diffusers:PATH-or-id[@revision], file:PATH, openai:URL#model",
        )
    return makers[kind](rest)


def seeds_of(request: Request) -> list[int]:
    """Return one seed per picture: counted up from the request's, or from a random one."""
    first = secrets.randbits(48) if request.seed is None else request.seed
    return [(first + index) % 2**63 for index in range(request.n)]


def _reference(_rest: str) -> Generator:
    from clearmark.generation.reference.backend import ReferenceGenerator

    return ReferenceGenerator()


def _diffusers(rest: str) -> Generator:
    from clearmark.generation.diffusers_backend import DiffusersGenerator

    return DiffusersGenerator.of(rest)


def _file(rest: str) -> Generator:
    from clearmark.generation.file_backend import FileGenerator

    return FileGenerator(rest)


def _openai(rest: str) -> Generator:
    from clearmark.generation.openai_backend import OpenAIGenerator

    url, _, model = rest.partition("#")
    return OpenAIGenerator(url, model=model)
