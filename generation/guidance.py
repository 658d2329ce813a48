"""What the words change in the first steps: the sign of a memorized prompt, read while a picture is made.

Classifier-free guidance computes two predictions in every step, with and without the text. Where a prompt
was memorized, the text pulls every noise towards one picture, so the two lie far apart from the first step on
(Wen et al., "Detecting, explaining, and mitigating memorization in diffusion models", ICLR 2024). Both are
computed anyway; what is added is a subtraction. A memorized layout pulls in some places only, so the distance
is also taken place by place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clearmark.core.errors import GenerationFailed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = ["GuidanceProbe", "GuidanceTrace", "trace_prompts"]

STEPS = 3
"""Steps that are looked at."""

_SHARE = 4
"""The strongest quarter of the places counts as what a memorized layout holds fixed."""


@dataclass(frozen=True, slots=True)
class GuidanceTrace:
    """The distance between the two predictions of one picture in its first steps, in units of the latent.

    `whole` is the root mean square over all places of each step, `local` that over the strongest quarter of
    the places (after smoothing), `times` are the steps of the noise schedule, and `maps` [steps, h, w] the
    mean squares place by place (h is 1 where the model has tokens instead of a grid).
    """

    times: tuple[float, ...]
    whole: tuple[float, ...]
    local: tuple[float, ...]
    maps: NDArray[np.float32] = field(repr=False)

    def to_dict(self) -> dict[str, list[float]]:
        """Return the figures, without the maps."""
        return {
            "times": [round(value, 1) for value in self.times],
            "whole": [round(value, 5) for value in self.whole],
            "local": [round(value, 5) for value in self.local],
        }


class GuidanceProbe:
    """Listens to the denoiser of a diffusers pipeline while it makes `pictures` pictures.

    Understands guidance as one batch of two halves (without, with text) and as two calls at one time (with,
    then without). A model whose guidance is distilled computes one prediction alone: then `traces` is empty.

    >>> with GuidanceProbe(pipeline, pictures=1) as probe:
    ...     pipeline("a red apple")
    >>> probe.traces()[0].whole
    (0.41, 0.40, 0.38)
    """

    def __init__(self, pipeline: Any, *, pictures: int, steps: int = STEPS) -> None:
        self._denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        self._pictures, self._steps = pictures, steps
        self._single: tuple[float, torch.Tensor] | None = None
        self._differences: list[tuple[float, torch.Tensor]] = []
        self._hook: Any = None

    def __enter__(self) -> Self:
        if self._denoiser is not None:
            self._hook = self._denoiser.register_forward_hook(self._listen, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _listen(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        import torch

        if len(self._differences) >= self._steps:
            return
        made = output[0] if isinstance(output, tuple) else getattr(output, "sample", None)
        if not isinstance(made, torch.Tensor) or made.ndim not in {3, 4}:
            return
        time = _time(args, kwargs)
        with torch.no_grad():
            if len(made) == 2 * self._pictures:
                without, with_text = made.detach().chunk(2)
                self._differences.append((time, (with_text - without).float()))
            elif len(made) == self._pictures:
                before, self._single = self._single, (time, made.detach().float())
                if before is not None and before[0] == time:
                    self._differences.append((time, before[1] - made.detach().float()))
                    self._single = None

    def traces(self) -> list[GuidanceTrace]:
        """Return one trace a picture, in order; none where the model showed no two predictions."""
        if not self._differences:
            return []
        maps = [_energy(difference) for _, difference in self._differences]
        times = tuple(time for time, _ in self._differences)
        return [_trace(times, [step[place] for step in maps]) for place in range(self._pictures)]


def trace_prompts(
    pipeline: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int = STEPS,
    of: int = 20,
    guidance: float | None = None,
    batch: int = 8,
) -> list[list[GuidanceTrace]]:
    """Run the first `steps` of `of` steps for every prompt and seed and stop; return the traces by prompt.

    Raises:
        GenerationFailed: the model computes no two predictions, so there is nothing to compare.
    """
    import torch

    jobs = [(prompt, seed) for prompt in prompts for seed in seeds]
    found: list[GuidanceTrace] = []
    for first in range(0, len(jobs), batch):
        some = jobs[first : first + batch]
        options: dict[str, Any] = {} if guidance is None else {"guidance_scale": guidance}
        with GuidanceProbe(pipeline, pictures=len(some), steps=steps) as probe, _stopping(pipeline):
            pipeline(
                prompt=[prompt for prompt, _ in some],
                generator=[torch.Generator().manual_seed(seed) for _, seed in some],
                num_inference_steps=of,
                output_type="latent",
                callback_on_step_end=_Stop(steps),
                **options,
            )
        traces = probe.traces()
        if len(traces) != len(some):
            raise GenerationFailed(
                "this model computes no prediction without the text, so guidance cannot be traced",
                hint="a model with distilled guidance: hold its pictures against an index instead",
            )
        found += traces
    return [found[place : place + len(seeds)] for place in range(0, len(found), len(seeds))]


class _Stop:
    """Tells a pipeline to compute nothing more after so many steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __call__(self, pipeline: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        if step + 1 >= self._steps:
            pipeline._interrupt = True
        return values


@contextlib.contextmanager
def _stopping(pipeline: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if hasattr(pipeline, "_interrupt"):
            pipeline._interrupt = False


def _time(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    given = kwargs.get("timestep", args[1] if len(args) > 1 else 0.0)
    return float(given.reshape(-1)[0]) if hasattr(given, "reshape") else float(given)


def _energy(difference: torch.Tensor) -> NDArray[np.float32]:
    """Return mean squares over the channels: [n, c, h, w] to [n, h, w], tokens [n, t, c] to [n, 1, t]."""
    axis = 1 if difference.ndim == 4 else 2
    out: NDArray[np.float32] = difference.square().mean(dim=axis).cpu().numpy()
    return out if out.ndim == 3 else out[:, None, :]


def _trace(times: tuple[float, ...], maps: list[NDArray[np.float32]]) -> GuidanceTrace:
    import numpy as np

    stack = np.stack(maps)
    return GuidanceTrace(
        times=times,
        whole=tuple(float(np.sqrt(step.mean())) for step in stack),
        local=tuple(_local(step) for step in stack),
        maps=stack,
    )


def _local(energy: NDArray[np.float32]) -> float:
    """Return the root mean square over the strongest quarter of the smoothed places."""
    import numpy as np

    smooth = smoothed(energy).ravel()
    count = max(1, smooth.size // _SHARE)
    return float(np.sqrt(np.partition(smooth, smooth.size - count)[-count:].mean()))


def smoothed(energy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average a map [h, w] over windows of three by three places."""
    import numpy as np

    for axis in (0, 1):
        if energy.shape[axis] < 3:
            continue
        edge = np.take(energy, [0], axis), np.take(energy, [-1], axis)
        wide = np.concatenate([edge[0], energy, edge[1]], axis)
        low, mid, high = (np.take(wide, range(n, n + energy.shape[axis]), axis) for n in range(3))
        energy = (low + mid + high) / 3
    return energy
