"""The guard `memorization-guidance`: was the prompt memorized, by what the sampler showed in its first steps?

Backends that drive the sampler put a trace of guidance and the drift of the prompt into the origin of what
they make. How far apart the two predictions of a model lie, or how little of what is seen in pure noise
drifts, means nothing by itself, so each is held against that of prompts that are known to be clean, of the
same model: the score is 1 - p, where p is the share of clean prompts that reach as far (a conformal p-value:
whatever the distribution, at most a share `p` of clean prompts gets one that low). Of two signs the stronger
counts, at twice its p (Bonferroni), so that looking twice does not alarm twice as often.
"""

from __future__ import annotations

import bisect
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import GuardUnavailable, MediaError, UsageError
from clearmark.core.pixels import open_image

__all__ = [
    "DRIFT",
    "TRACE",
    "GuidanceCalibration",
    "GuidanceGuard",
    "drift_of",
    "magnitude",
    "read_calibrations",
    "write_calibration",
]

TRACE = "guidance_trace"
"""The name of the trace in the parameters of an `Origin`."""

DRIFT = "prompt_drift"
"""The name of the prompt's drift there."""

SCHEMA_VERSION = 1
_MOST_VALUES = 100_000


@dataclass(frozen=True, slots=True)
class GuidanceCalibration:
    """Figures of clean prompts of one model, ascending, and the share of them that may alarm.

    `clean` holds magnitudes of the trace (high: memorized), `drift` drifts (low: memorized); either may be
    empty, where the model shows only the other.
    """

    clean: tuple[float, ...]
    target: float = 0.01
    drift: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ascending = all(list(values) == sorted(values) for values in (self.clean, self.drift))
        if not ascending or not (self.clean or self.drift) or not 0 < self.target < 1:
            raise UsageError("a calibration has ascending values and a target between 0 and 1")

    def p_value(self, value: float) -> float:
        """Return the conformal p-value of a magnitude."""
        above = len(self.clean) - bisect.bisect_left(self.clean, value)
        return (1 + above) / (1 + len(self.clean))

    def drift_p_value(self, value: float) -> float:
        """Return the conformal p-value of a drift."""
        return (1 + bisect.bisect_right(self.drift, value)) / (1 + len(self.drift))

    def weigh(self, magnitude: float | None, drift: float | None) -> float | None:
        """Return one p-value of what was measured; None where nothing of it was calibrated.

        Each sign counts that has enough clean prompts to reach the target beside the others.
        """
        looked = [
            (len(values), p(value))
            for values, value, p in (
                (self.clean, magnitude, self.p_value),
                (self.drift, drift, self.drift_p_value),
            )
            if value is not None and self._enough(len(values), 1)
        ]
        if len(looked) == 2 and not all(self._enough(count, 2) for count, _ in looked):
            # Too few to look twice: drift, which tells more, counts alone.
            return looked[1][1]
        return min(1.0, len(looked) * min(p for _, p in looked)) if looked else None

    def _enough(self, clean: int, signs: int) -> bool:
        return signs / (1 + clean) <= self.target

    @property
    def supported(self) -> bool:
        """Whether there are enough clean prompts for any value to reach the target."""
        return any(self._enough(len(values), 1) for values in (self.clean, self.drift))

    @property
    def median(self) -> float:
        """The magnitude of an ordinary prompt: what mitigation aims at; 0 where none is known."""
        return self.clean[len(self.clean) // 2] if self.clean else 0.0


def drift_of(parameters: Mapping[str, Any]) -> float | None:
    """Return the drift among the parameters of an origin, None where there is none.

    Raises:
        GuardUnavailable: it is no figure.
    """
    value = parameters.get(DRIFT)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise GuardUnavailable("memorization-guidance: a drift that is no figure")
    return float(value)


def magnitude(trace: Mapping[str, Any]) -> float:
    """Return the one figure of a trace: `local` averaged over its steps.

    Raises:
        GuardUnavailable: this is no trace.
    """
    values: Any = dict(trace).get("local") if hasattr(trace, "keys") else None
    if not isinstance(values, Sequence) or not values or not all(isinstance(v, int | float) for v in values):
        raise GuardUnavailable("memorization-guidance: a trace without figures")
    return sum(float(value) for value in values) / len(values)


class GuidanceGuard:
    """Scores `memorization` by trace and drift, with the calibration of the picture's model.

    A picture without either (a remote model) or of a model that nobody calibrated is not measured: the score
    is 0 and the facts `guidance_traced`, `drift_measured` and `guidance_calibrated` say so.
    """

    name = "memorization-guidance"
    version = "2"
    stages = frozenset({Stage.OUTPUT})
    categories: tuple[str, ...] = ("memorization",)

    def __init__(self, calibrations: str | Path | Sequence[Path] | Mapping[str, GuidanceCalibration]) -> None:
        self._given = calibrations

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one `memorization` finding per picture.

        Raises:
            GuardUnavailable: the calibrations cannot be read, or a picture is missing.
        """
        if not batch:
            return []
        known = self._known()
        return [[self._finding(subject, known)] for subject in batch]

    def _known(self) -> Mapping[str, GuidanceCalibration]:
        """Read the calibrations: of several files, a later one's word about a model counts."""
        given = self._given
        if isinstance(given, Mapping):
            return given
        known: dict[str, GuidanceCalibration] = {}
        for path in [given] if isinstance(given, str | Path) else given:
            try:
                known |= read_calibrations(Path(path))
            except UsageError as exc:
                raise GuardUnavailable(f"memorization-guidance: {exc.message}", hint=exc.hint) from exc
        return known

    def _finding(self, subject: Subject, known: Mapping[str, GuidanceCalibration]) -> Finding:
        begun = time.perf_counter()
        if subject.asset is None:
            raise GuardUnavailable("memorization-guidance: no picture to look at")
        origin = subject.asset.origin
        parameters = origin.parameters if origin is not None else {}
        trace, drift = parameters.get(TRACE), drift_of(parameters)
        if trace is None and drift is None:
            # Not from a sampler that was listened to: then at least it has to be a picture.
            try:
                open_image(subject.asset.data)
            except MediaError as exc:
                raise GuardUnavailable(f"memorization-guidance: {exc.message}") from exc
        calibration = known.get(origin.model_digest) if origin is not None else None
        facts: dict[str, bool | int | float | str] = {
            "guidance_traced": trace is not None,
            "drift_measured": drift is not None,
            "guidance_calibrated": calibration is not None and calibration.supported,
            "guidance_memorized": False,
        }
        score, message, threshold = 0.0, "", None
        value = None if trace is None else magnitude(trace)
        if value is not None:
            facts["guidance_magnitude"] = round(value, 5)
        if drift is not None:
            facts["prompt_drift"] = round(drift, 5)
        p = None if calibration is None else calibration.weigh(value, drift)
        if calibration is not None and p is not None:
            score, threshold = 1.0 - p, 1.0 - calibration.target
            facts["guidance_memorized"] = p <= calibration.target
            facts["guidance_target"] = round(calibration.median, 5)
            if p <= calibration.target:
                message = "the words lead every noise to one picture, as memorized ones do"
        return Finding(
            category="memorization",
            score=score,
            guard=self.name,
            guard_version=self.version,
            model=f"{origin.model}@{origin.model_digest}"
            if origin is not None and origin.model_digest
            else "",
            threshold=threshold,
            message=message,
            facts=MappingProxyType(facts),
            ms=(time.perf_counter() - begun) * 1000,
        )


def read_calibrations(path: Path) -> dict[str, GuidanceCalibration]:
    """Read the calibrations of models, by the digest of their weights.

    Raises:
        UsageError: the file cannot be read or is none.
    """
    hint = "clearmark memorization calibrate writes it"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["schema_version"] != SCHEMA_VERSION:
            raise UsageError(f"{path}: of version {body['schema_version']}", hint="upgrade clearmark")
        return {
            str(digest): GuidanceCalibration(
                tuple(map(float, row["clean"][:_MOST_VALUES])),
                float(row["target"]),
                tuple(map(float, row.get("drift", ())[:_MOST_VALUES])),
            )
            for digest, row in body["models"].items()
        }
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}", hint=hint) from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise UsageError(f"{path} holds no calibrations", hint=hint) from exc


def write_calibration(path: Path, digest: str, calibration: GuidanceCalibration) -> None:
    """Add or replace the calibration of one model, whole or not at all."""
    known = read_calibrations(path) if path.exists() else {}
    known[digest] = calibration
    models = {
        name: {"target": row.target, "clean": list(row.clean), "drift": list(row.drift)}
        for name, row in sorted(known.items())
    }
    draft = path.with_suffix(".part")
    draft.write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "models": models}) + "\n", encoding="utf-8"
    )
    draft.replace(path)
