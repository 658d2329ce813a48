"""The guard `memorization-guidance`: was the prompt memorized, by what the sampler showed in its first steps?

Backends that drive the sampler put a trace of guidance into the origin of what they make. How far apart the
two predictions of a model lie means nothing by itself, so a trace is held against those of prompts that are
known to be clean, of the same model: the score is 1 - p, where p is the share of clean prompts that reach as
far (a conformal p-value: whatever the distribution, at most a share `p` of clean prompts gets one that low).
"""

from __future__ import annotations

import bisect
import json
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
    "TRACE",
    "GuidanceCalibration",
    "GuidanceGuard",
    "magnitude",
    "read_calibrations",
    "write_calibration",
]

TRACE = "guidance_trace"
"""The name of the trace in the parameters of an `Origin`."""

SCHEMA_VERSION = 1
_MOST_VALUES = 100_000


@dataclass(frozen=True, slots=True)
class GuidanceCalibration:
    """Magnitudes of clean prompts of one model, ascending, and the share of them that may alarm."""

    clean: tuple[float, ...]
    target: float = 0.01

    def __post_init__(self) -> None:
        if list(self.clean) != sorted(self.clean) or not self.clean or not 0 < self.target < 1:
            raise UsageError("a calibration has ascending values and a target between 0 and 1")

    def p_value(self, value: float) -> float:
        """Return the conformal p-value of a magnitude."""
        above = len(self.clean) - bisect.bisect_left(self.clean, value)
        return (1 + above) / (1 + len(self.clean))

    @property
    def supported(self) -> bool:
        """Whether there are enough clean prompts for any value to reach the target."""
        return 1 / (1 + len(self.clean)) <= self.target

    @property
    def median(self) -> float:
        """The magnitude of an ordinary prompt: what mitigation aims at."""
        return self.clean[len(self.clean) // 2]


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
    """Scores `memorization` by the trace of guidance, with the calibration of the picture's model.

    A picture without a trace (a remote model, distilled guidance) or of a model that nobody calibrated is not
    measured: the score is 0 and the facts `guidance_traced` and `guidance_calibrated` say so.
    """

    name = "memorization-guidance"
    version = "1"
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
        trace = origin.parameters.get(TRACE) if origin is not None else None
        if trace is None:
            # Not from a sampler that was listened to: then at least it has to be a picture.
            try:
                open_image(subject.asset.data)
            except MediaError as exc:
                raise GuardUnavailable(f"memorization-guidance: {exc.message}") from exc
        calibration = known.get(origin.model_digest) if origin is not None else None
        facts: dict[str, bool | int | float | str] = {
            "guidance_traced": trace is not None,
            "guidance_calibrated": calibration is not None and calibration.supported,
            "guidance_memorized": False,
        }
        score, message, threshold = 0.0, "", None
        if trace is not None:
            value = magnitude(trace)
            facts["guidance_magnitude"] = round(value, 5)
            if calibration is not None and calibration.supported:
                p = calibration.p_value(value)
                score, threshold = 1.0 - p, 1.0 - calibration.target
                facts["guidance_memorized"] = p <= calibration.target
                facts["guidance_target"] = round(calibration.median, 5)
                if p <= calibration.target:
                    message = "the words pull every noise towards one picture, as memorized ones do"
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
                tuple(map(float, row["clean"][:_MOST_VALUES])), float(row["target"])
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
    models = {name: {"target": row.target, "clean": list(row.clean)} for name, row in sorted(known.items())}
    draft = path.with_suffix(".part")
    draft.write_text(
        json.dumps({"schema_version": SCHEMA_VERSION, "models": models}) + "\n", encoding="utf-8"
    )
    draft.replace(path)
