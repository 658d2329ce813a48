"""The part of training that is the same for every network: budget, schedule, moving average, checkpoints."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

StepFunction = Callable[[int, float], dict[str, torch.Tensor]]
"""Takes the step number and the progress in [0, 1]; returns named losses, of which "loss" is minimised."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When training ends: after `steps`, or after `seconds` of training time, whichever comes first.

    The learning rate follows whichever of the two is further along, so that a slow or busy machine still
    ends with a small learning rate instead of being cut off in the middle.
    """

    steps: int
    seconds: float = math.inf
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        return min(1.0, max(step / self.steps, seconds / self.seconds))

    def rate(self, step: int, progress: float) -> float:
        """Learning rate: a linear warm-up, then a half cosine down to a hundredth."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(slots=True)
class History:
    """What a training run did: steps, seconds, and the mean of each loss per stretch of `every` steps."""

    step: int = 0
    seconds: float = 0.0
    losses: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Train one module, keep a moving average of its weights, and go on from the last checkpoint."""

    def __init__(self, module: nn.Module, budget: Budget, checkpoint: Path, *, every: int = 100) -> None:
        self.module = module
        self.budget = budget
        self.checkpoint = checkpoint
        self.every = every
        self.history = History()
        self.average = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=budget.learning_rate, betas=(0.9, 0.99), weight_decay=budget.weight_decay
        )
        if checkpoint.exists():
            self._resume()

    def run(
        self, step_function: StepFunction, *, report: Callable[[History, float], None] | None = None
    ) -> History:
        """Take steps until the budget is spent. An interrupt saves a checkpoint before it goes on."""
        sums: dict[str, float] = {}
        last_save = time.monotonic()
        try:
            while (progress := self.budget.progress(self.history.step, self.history.seconds)) < 1.0:
                begun = time.monotonic()
                losses = self._step(step_function, progress)
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value / self.every
                self.history.step += 1
                # The share of time spent is the same number in every process, or they would part company.
                self.history.seconds += _mean_of(time.monotonic() - begun)
                if self.history.step % self.every == 0:
                    self.history.losses.append({"step": self.history.step, **sums})
                    sums = {}
                    if report is not None and self.rank == 0:
                        report(self.history, progress)
                if time.monotonic() - last_save > 60:
                    self.save()
                    last_save = time.monotonic()
        finally:
            self.save()
        return self.history

    def _step(self, step_function: StepFunction, progress: float) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate(self.history.step, progress)
        losses = step_function(self.history.step, progress)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if dist.is_initialized():
            _average_gradients(self.module)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.budget.clip)
        self.optimizer.step()
        # A young average would hold on to the random start, so its memory grows with the steps taken.
        decay = min(self.budget.ema, (1 + self.history.step) / (10 + self.history.step))
        _blend(self.average, self.module.state_dict(), decay)
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; the first process does."""
        if self.rank != 0:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "module": self.module.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "history": asdict(self.history),
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.history = History(**state["history"])


def read_history(checkpoint: Path) -> History:
    """Return how the module of a checkpoint was trained."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True, mmap=True)
    return History(**state["history"])


def load_average(module: nn.Module, checkpoint: Path) -> History:
    """Put the moving average of a checkpoint into `module`, ready for use; return how it was trained."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(state["average"])
    module.eval()
    return History(**state["history"])


def _average_gradients(module: nn.Module) -> None:
    """Let every process step along the mean of what all of them found, in one exchange."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def _mean_of(number: float) -> float:
    if not dist.is_initialized():
        return number
    value = torch.tensor([number], dtype=torch.float64)
    dist.all_reduce(value)
    return float(value.item() / dist.get_world_size())


def in_processes(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run `work(*arguments)` in `count` processes that share their gradients.

    On a busy machine, processes of one thread beat one process of many threads by far: threads meet hundreds
    of times a step and wait for whichever of them does not run just then, processes meet once.
    """
    if count == 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_member, (count, f"{folder}/meet", work, arguments), nprocs=count)


def _member(
    rank: int, count: int, meeting: str, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    try:
        work(*arguments)
    finally:
        dist.destroy_process_group()


def _blend(average: dict[str, torch.Tensor], now: dict[str, torch.Tensor], decay: float) -> None:
    floats = [name for name in average if average[name].is_floating_point()]
    kept, fresh = [average[name] for name in floats], [now[name] for name in floats]
    with torch.no_grad():
        torch._foreach_lerp_(kept, fresh, 1 - decay)


def shuffled(
    count: int, batch: int, seed: int, weights: Iterable[float] | None = None
) -> Callable[[int], torch.Tensor]:
    """Return a function from step number to `batch` indices below `count`.

    Drawing depends on the seed and the step alone, so a resumed run meets the pictures it would have met.
    Without `weights` each pass visits all pictures once.
    """
    shares = None if weights is None else torch.tensor(list(weights), dtype=torch.float64)

    def draw(step: int) -> torch.Tensor:
        if shares is not None:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            return torch.multinomial(shares, batch, replacement=True, generator=generator)
        first = step * batch
        epochs = range(first // count, (first + batch - 1) // count + 1)
        orders = [
            torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + e))
            for e in epochs
        ]
        start = first - epochs[0] * count
        return torch.cat(orders)[start : start + batch]

    return draw
