"""Which prompts of a model are memorized: `clearmark memorization audit`, and the calibration of its sampler.

Each prompt is made with several seeds. Four things can be seen: how far guidance pulls in the first steps
and how little drifts of what the words show in pure noise (both where the backend drives the sampler and the
model was calibrated), whether the seeds give different pictures, and whether what comes out is a copy of an
item of the index. All are reported; only the last is proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Request
from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    from clearmark.generation import Generator
    from clearmark.guardrails.memorization import Check, CopyChecker
    from clearmark.guardrails.memorization.diversity import Diversity
    from clearmark.guardrails.memorization.generation import GuidanceCalibration

__all__ = ["Audit", "PromptAudit", "audit_prompts", "calibrate_guidance"]

_CLIQUE = 0.5
"""Share of the seeds that have to give one picture."""


@dataclass(frozen=True, kw_only=True)
class PromptAudit:
    """What was seen of one prompt; `checks` has one entry a picture, none without an index."""

    prompt: str
    assets: tuple[Asset, ...]
    diversity: Diversity
    magnitude: float | None
    p_value: float | None
    drift: float | None
    drift_p_value: float | None
    target: float | None
    checks: tuple[Check, ...]

    @property
    def extracted(self) -> bool:
        """Whether a picture is a copy of an item of the index: proof."""
        return any(check.memorized for check in self.checks)

    @property
    def signs(self) -> tuple[str, ...]:
        """What speaks for memorization: `copy`, `guidance`, `drift`, `seeds`."""
        out = ["copy"] if self.extracted else []
        for name, p in (("guidance", self.p_value), ("drift", self.drift_p_value)):
            if p is not None and self.target is not None and p <= self.target:
                out.append(name)
        if self.diversity.pictures > 2 and self.diversity.clique > _CLIQUE * self.diversity.pictures:
            out.append("seeds")
        return tuple(out)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        matches = [match.to_dict() for check in self.checks if check.memorized for match in check.matches[:1]]
        return {
            "prompt": self.prompt,
            "memorized": bool(self.signs),
            "extracted": self.extracted,
            "signs": list(self.signs),
            "guidance": {
                "magnitude": None if self.magnitude is None else round(self.magnitude, 5),
                "p_value": None if self.p_value is None else round(self.p_value, 6),
            },
            "drift": {
                "drift": None if self.drift is None else round(self.drift, 5),
                "p_value": None if self.drift_p_value is None else round(self.drift_p_value, 6),
            },
            "seeds": {
                "pictures": self.diversity.pictures,
                "clique": self.diversity.clique,
                "whole": round(self.diversity.whole, 4),
                "half": round(self.diversity.half, 4),
            },
            "copies": sum(check.memorized for check in self.checks),
            "matches": matches,
        }


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The prompts of an audit, and the rates that follow, with exact 95% intervals."""

    model: str
    rows: tuple[PromptAudit, ...]
    indexed: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of the summary."""
        from clearmark.guardrails.memorization.calibration import interval

        total = len(self.rows)
        pictures = sum(len(row.assets) for row in self.rows)
        copies = sum(check.memorized for row in self.rows for check in row.checks)
        out: dict[str, Any] = {"model": self.model, "prompts": total, "pictures": pictures}
        for name, hits, of in (
            ("memorized_prompts", sum(bool(row.signs) for row in self.rows), total),
            ("extracted_prompts", sum(row.extracted for row in self.rows) if self.indexed else None, total),
            ("copied_pictures", copies if self.indexed else None, pictures),
        ):
            if hits is None or not of:
                out[name] = None
                continue
            low, high = interval(hits, of)
            out[name] = {"count": hits, "share": hits / of, "low": round(low, 6), "high": round(high, 6)}
        return out


def audit_prompts(
    generator: Generator,
    prompts: Sequence[str],
    *,
    seeds: int = 4,
    seed: int = 0,
    checker: CopyChecker | None = None,
    calibration: GuidanceCalibration | None = None,
    advance: Callable[[int], None] = lambda _: None,
    **options: Any,
) -> Iterator[PromptAudit]:
    """Make every prompt with `seeds` seeds and yield what is seen; `options` go to the requests."""
    from clearmark.core.pixels import open_image
    from clearmark.guardrails.memorization._pictures import to_pixels
    from clearmark.guardrails.memorization.diversity import diversity

    if seeds < 1:
        raise UsageError("an audit needs at least one seed", hint="--seeds 4")
    for prompt in prompts:
        (assets,) = generator.generate([Request(prompt, n=seeds, seed=seed, **options)])
        value, drift = _mean(assets, _magnitude), _mean(assets, _drift)
        known = calibration if calibration is not None and calibration.supported else None
        yield PromptAudit(
            prompt=prompt,
            assets=tuple(assets),
            diversity=diversity([to_pixels(open_image(asset.data)) for asset in assets]),
            magnitude=value,
            p_value=known.p_value(value) if known is not None and known.clean and value is not None else None,
            drift=drift,
            drift_p_value=(
                known.drift_p_value(drift)
                if known is not None and known.drift and drift is not None
                else None
            ),
            target=calibration.target if calibration is not None else None,
            checks=tuple(checker.check(asset.data) for asset in assets) if checker is not None else (),
        )
        advance(1)


def calibrate_guidance(
    generator: Generator,
    prompts: Sequence[str],
    *,
    seeds: int = 1,
    seed: int = 0,
    target: float = 0.01,
    advance: Callable[[int], None] = lambda _: None,
    **options: Any,
) -> GuidanceCalibration:
    """Return the calibration of a model from prompts that are known to be clean.

    The mean over `seeds` seeds counts, so audit with as many. Drift is the same for all seeds.

    Raises:
        UsageError: the backend gives neither a trace of guidance nor a drift.
    """
    from clearmark.guardrails.memorization.generation import GuidanceCalibration

    values: list[float] = []
    drifts: list[float] = []
    for prompt in prompts:
        (assets,) = generator.generate([Request(prompt, n=seeds, seed=seed, **options)])
        value, drift = _mean(assets, _magnitude), _mean(assets, _drift)
        if value is None and drift is None:
            raise UsageError(
                f"{generator.name} shows nothing of its guidance",
                hint="only backends that drive the sampler do: reference, diffusers",
            )
        values += [] if value is None else [value]
        drifts += [] if drift is None else [drift]
        advance(1)
    for name, found in (("trace of guidance", values), ("drift", drifts)):
        if found and len(found) != len(prompts):
            raise UsageError(
                f"{generator.name} gave a {name} for {len(found)} of {len(prompts)} prompts",
                hint="calibrate with prompts that are all of one kind",
            )
    return GuidanceCalibration(tuple(sorted(values)), target=target, drift=tuple(sorted(drifts)))


def _mean(assets: Sequence[Asset], figure: Callable[[Asset], float | None]) -> float | None:
    """Return the mean of a figure over the pictures of a prompt, None where one of them has none."""
    values = [value for asset in assets if (value := figure(asset)) is not None]
    return sum(values) / len(values) if values and len(values) == len(assets) else None


def _drift(asset: Asset) -> float | None:
    from clearmark.guardrails.memorization.generation import drift_of

    return None if asset.origin is None else drift_of(asset.origin.parameters)


def _magnitude(asset: Asset) -> float | None:
    from clearmark.guardrails.memorization.generation import TRACE, magnitude

    trace = asset.origin.parameters.get(TRACE) if asset.origin is not None else None
    return None if trace is None else magnitude(trace)
