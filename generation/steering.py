"""Which words pull a picture towards one that was memorized, and how to let go of it.

The first call of the denoiser is caught, with the embeddings of the text in it, and made again with
gradients: those of the distance between the two halves of guidance say how much each token pulls, and
following them down gives embeddings that pull less (Wen et al., ICLR 2024, section 5). Works for every
pipeline of diffusers whose denoiser takes `encoder_hidden_states` and both halves of guidance in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clearmark.core.errors import GenerationFailed

if TYPE_CHECKING:
    import torch

__all__ = ["SoftenedText", "TokenPull", "soften", "token_pulls"]

_RATE = 0.05
_MOST_STEPS = 12


@dataclass(frozen=True, slots=True)
class TokenPull:
    """A token of the prompt and its share of the pull; the shares of a prompt add up to 1."""

    token: str
    share: float


class SoftenedText:
    """Embeddings of a text that pull less, put in the place of its own while a pipeline runs.

    `before` and `after` are the distance of the two predictions in the first step, as in `GuidanceTrace`.

    >>> with soften(pipeline, "a prompt", seed=7, share=0.5):
    ...     pipeline("a prompt")
    """

    def __init__(self, denoiser: Any, states: torch.Tensor, *, before: float, after: float) -> None:
        self._denoiser, self._states = denoiser, states
        self.before, self.after = before, after
        self._hook: Any = None

    @property
    def states(self) -> torch.Tensor:
        """The embeddings, [1, tokens, width]."""
        return self._states

    def __enter__(self) -> Self:
        self._hook = self._denoiser.register_forward_pre_hook(self._replace, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def _replace(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        import torch

        given = kwargs.get("encoder_hidden_states")
        if given is None or len(given) % 2:
            return None
        half = len(given) // 2
        text = self._states.to(given).expand(half, -1, -1)
        return args, {**kwargs, "encoder_hidden_states": torch.cat([given[:half], text])}


def token_pulls(pipeline: Any, prompt: str, *, seed: int = 0, steps: int = 20) -> list[TokenPull]:
    """Return how much each token of `prompt` pulls in the first step, in the order of the prompt.

    Raises:
        GenerationFailed: the pipeline is not of the kind that this works for.
    """
    call = _FirstCall.of(pipeline, prompt, seed=seed, steps=steps)
    states = call.text.clone().requires_grad_(True)
    call.distance(states).backward()
    assert states.grad is not None
    pulls = (states.grad * states.detach()).abs().sum(dim=(0, 2))
    tokenizer = pipeline.tokenizer
    ids = tokenizer(prompt, truncation=True, max_length=states.shape[1]).input_ids
    special = set(tokenizer.all_special_ids)
    kept = [(place, number) for place, number in enumerate(ids) if number not in special]
    total = sum(float(pulls[place]) for place, _ in kept) or 1.0
    names = tokenizer.convert_ids_to_tokens([number for _, number in kept])
    return [
        TokenPull(name, float(pulls[place]) / total) for name, (place, _) in zip(names, kept, strict=True)
    ]


def soften(
    pipeline: Any, prompt: str, *, seed: int = 0, share: float, steps: int = 20, most: int = _MOST_STEPS
) -> SoftenedText:
    """Return embeddings for `prompt` that keep at most `share` of its pull in the first step.

    They may keep more where no way down is found; `after` says so.

    At most `most` steps of Adam, each one run of the text's half of the denoiser, forward and back.

    Raises:
        GenerationFailed: the pipeline is not of the kind that this works for.
    """
    import torch

    call = _FirstCall.of(pipeline, prompt, seed=seed, steps=steps)
    states = call.text.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([states], lr=_RATE)
    before = after = float("nan")
    for number in range(most + 1):
        optimizer.zero_grad(set_to_none=True)
        distance = call.distance(states)
        after = float(distance.detach())
        if number == 0:
            before = after
        if after <= share * before or number == most:
            break
        distance.backward()
        optimizer.step()
    return SoftenedText(call.denoiser, states.detach(), before=before, after=after)


class _Caught(Exception):
    """Carries what the denoiser was called with out of a pipeline."""


@dataclass
class _FirstCall:
    """What the denoiser of a pipeline is called with in the first step, cut down to the text's half."""

    denoiser: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    text: torch.Tensor
    without: torch.Tensor

    @classmethod
    def of(cls, pipeline: Any, prompt: str, *, seed: int, steps: int) -> _FirstCall:
        import torch

        denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        if denoiser is None:
            raise GenerationFailed(
                "this pipeline has no denoiser that is known", hint="a pipeline of diffusers"
            )
        caught: dict[str, Any] = {}

        def catch(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught["args"], caught["kwargs"] = args, kwargs
            raise _Caught

        hook = denoiser.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            generator = torch.Generator().manual_seed(seed)
            pipeline(prompt=prompt, generator=generator, num_inference_steps=steps, output_type="latent")
        except _Caught:
            pass
        finally:
            hook.remove()
        states = caught.get("kwargs", {}).get("encoder_hidden_states")
        if states is None or len(states) != 2:
            raise GenerationFailed(
                "this pipeline does not compute both halves of guidance in one call",
                hint="another seed is what is left",
            )
        with torch.no_grad():
            first = _half(caught["args"], 0), _half(caught["kwargs"], 0)
            without = _prediction(denoiser(*first[0], **first[1])).float()
        options = _half(caught["kwargs"], 1)
        text = options.pop("encoder_hidden_states")
        return cls(denoiser, _half(caught["args"], 1), options, text, without)

    def distance(self, states: torch.Tensor) -> torch.Tensor:
        """Return the root mean square between the predictions with `states` and without text."""
        import torch

        with torch.enable_grad():
            made = _prediction(self.denoiser(*self.arguments, encoder_hidden_states=states, **self.options))
            return (made.float() - self.without).square().mean().sqrt()


def _prediction(output: Any) -> torch.Tensor:
    made: torch.Tensor = output[0] if isinstance(output, tuple) else output.sample
    return made


def _half(value: Any, which: int) -> Any:
    """Return one half of every tensor whose batch is two, in tuples and dicts as well."""
    if isinstance(value, dict):
        return {name: _half(each, which) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_half(each, which) for each in value)
    if hasattr(value, "detach") and value.ndim > 0 and len(value) == 2:
        return value.detach()[which : which + 1].clone()
    return value
