"""What a generator is, and how one is made from the words of a command line or a config file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from clearmark.core import Asset, Request
from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

__all__ = ["Defaults", "Generator", "LatentGenerator", "ModelInfo", "Noise", "create", "seeds_of"]

Noise: TypeAlias = "Callable[[tuple[int, ...], int], npt.NDArray[np.float32]]"
"""Gives the initial noise of one picture, of mean 0 and variance 1, for a shape and the picture's seed."""


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


@runtime_checkable
class LatentGenerator(Generator, Protocol):
    """A generator whose sampler is ours to start, and to run backwards: a local latent diffusion model."""

    @property
    def takes_noise(self) -> bool:
        """Whether this one's pipeline can be started from given noise and run backwards; loads it."""
        ...

    @property
    def spec(self) -> str:
        """What `create` makes the same generator from; empty where it cannot."""
        ...

    def generate_from(
        self, requests: Sequence[Request], noises: Sequence[Sequence[Noise]]
    ) -> list[list[Asset]]:
        """As `generate`, each picture of a text-to-image request from the noise given for it.

        Of other tasks, which start from a picture, the noise is not asked for. The same seed with another
        noise makes another picture.

        Raises:
            InvalidRequest: also where this pipeline takes no noise from outside; nothing was made.
        """
        ...

    def invert(self, pictures: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return the estimated initial noise of RGB pictures of one size; see `generation.inversion`.

        Raises:
            UsageError: a pipeline or a size that cannot be run backwards.
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
