"""The reference model as a generator: small, on the CPU, checked against its record before it is loaded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Request
from clearmark.core.optional import import_optional
from clearmark.generation._backend import Defaults, ModelInfo, Noise
from clearmark.generation._diffusion import Limits, PipelineRunner
from clearmark.generation.reference.catalogue import WEIGHTS, entries

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

__all__ = ["ReferenceGenerator"]

_load_lock = threading.Lock()
_pipeline: Any = None


class ReferenceGenerator:
    """Makes clip art of 256x256 pixels. The weights are read once in a process, at the first use."""

    name = "reference"
    spec = "reference"
    takes_noise = True
    defaults = Defaults(width=256, height=256, steps=20, guidance=5.0)
    limits = Limits(multiple=16, smallest=128, largest=512, most_steps=200)
    _run_lock = threading.Lock()

    @cached_property
    def model(self) -> ModelInfo:
        """The entry of the catalogue."""
        ours = entries()[0]
        return ModelInfo(id=ours.id, version=ours.version, digest=ours.digest, licence=ours.licence)

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Make the pictures; calls from several threads take turns.

        Raises:
            ExtraMissing: without the extra `local`.
            ModelMissing: when a file of the model is absent.
            ModelCorrupt: when a file is not the one on record.
        """
        return self.generate_from(requests, ())

    def generate_from(
        self, requests: Sequence[Request], noises: Sequence[Sequence[Noise]]
    ) -> list[list[Asset]]:
        """Make the pictures from the noises given."""
        with self._runner() as runner:
            return runner.generate(requests, noises)

    def invert(self, pictures: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return the estimated initial noise of RGB pictures of one size, sides multiples of 16."""
        with self._runner() as runner:
            found: npt.NDArray[np.float32] = runner.invert(pictures)
        return found

    @contextlib.contextmanager
    def _runner(self) -> Iterator[PipelineRunner]:
        pipeline = _shared_pipeline()
        with self._run_lock, _one_torch_thread():
            yield PipelineRunner(
                pipeline, name=self.name, model=self.model, defaults=self.defaults, limits=self.limits
            )


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch work in one thread: a second one gains little on idle cores and loses much on busy ones.

    Threads meet hundreds of times a step, and each waits for the one that is not running just then. One
    thread also gives the same bytes on machines with any number of cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shared_pipeline() -> Any:
    global _pipeline  # noqa: PLW0603  one copy of the weights for all
    with _load_lock:
        if _pipeline is None:
            for package in ("torch", "diffusers", "transformers"):
                import_optional(package, extra="local")
            for entry in entries():
                found = entry.verify()
            from clearmark.generation.reference.pipeline import load_pipeline

            with _one_torch_thread():
                _pipeline = load_pipeline(WEIGHTS, next(iter(found.values())).parent)
    return _pipeline
