"""Everything that a policy sees of one request at one stage, and nothing more.

`Inputs` is what a decision is a function of. Its body stands in the decision event, so that any decision can
be made again later, by the same policy or by another one. It holds no prompt, no actor and no
picture; free text of the request (`purpose`, `region`) is let in only where it is a plain code.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

from clearmark.core import CATEGORIES, Failure, Finding, Observation, Request, Stage, micro
from clearmark.core.errors import UsageError
from clearmark.policies._conditions import Reads

__all__ = ["BODY_VERSION", "Fact", "Inputs", "Measurement", "RequestFacts"]

BODY_VERSION = 1
"""Version of the form that `Inputs.to_body` writes."""

Fact: TypeAlias = bool | int | float | str
"""What a guard may report beside scores."""

_MAX_INT = 2**53 - 1
_MAX_TEXT = 256
_MAX_FACTS = 256
_MAX_MEASUREMENTS = 4096
_MAX_FAILURES = 256
_FACT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z")
_REGION = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?\Z")
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """The request as a policy sees it. Numbers are 0 where the request leaves them open.

    `region` is an ISO 3166 code such as `DE` or `US-CA`: empty where none was given, `ZZ` for no code.
    `purpose` is a code such as `advertising`: empty where none was given, `other` for no code.
    `guidance` and `strength` are in micro-units.
    """

    task: str = "text-to-image"
    n: int = 1
    width: int = 0
    height: int = 0
    steps: int = 0
    guidance: int = 0
    strength: int = 0
    has_init_image: bool = False
    has_mask: bool = False
    has_seed: bool = False
    prompt_chars: int = 0
    negative_prompt_chars: int = 0
    region: str = ""
    purpose: str = ""
    consents: int = 0

    @classmethod
    def of(cls, request: Request) -> RequestFacts:
        """Return the facts of `request`."""
        region = request.region.strip().upper()
        purpose = request.purpose.strip().lower()
        return cls(
            task=request.task.value,
            n=request.n,
            width=request.width or 0,
            height=request.height or 0,
            steps=request.steps or 0,
            guidance=_bounded_micro(request.guidance),
            strength=_bounded_micro(request.strength),
            has_init_image=request.init_image is not None,
            has_mask=request.mask is not None,
            has_seed=request.seed is not None,
            prompt_chars=len(request.prompt),
            negative_prompt_chars=len(request.negative_prompt),
            region=region if not region or _REGION.match(region) else "ZZ",
            purpose=purpose if not purpose or _PURPOSE.match(purpose) else "other",
            consents=len(request.consent),
        )

    def variables(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """Return what conditions see as `request`: all fields, or those of `names`."""
        return {
            name: getattr(self, name) / 1_000_000 if name in _MICRO_FIELDS else getattr(self, name)
            for name in _REQUEST_FIELDS
            if names is None or name in names
        }


_MICRO_FIELDS = frozenset({"guidance", "strength"})
_REQUEST_FIELDS = tuple(item.name for item in fields(RequestFacts))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One score as a guard gave it, in micro-units, with what made it."""

    category: str
    score: int
    guard: str
    guard_version: str
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a policy decides on. `day` (UTC, `YYYY-MM-DD`) is there for rules that expire.

    Equal inputs give equal verdicts, on any machine and at any time.
    """

    stage: Stage
    request: RequestFacts = field(default_factory=RequestFacts)
    measurements: tuple[Measurement, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=lambda: MappingProxyType({}))
    failures: tuple[Failure, ...] = ()
    day: str = "1970-01-01"

    @classmethod
    def of(
        cls,
        stage: Stage | str,
        request: Request,
        observation: Observation,
        *,
        day: dt.date | None = None,
    ) -> Inputs:
        """Gather the inputs of one decision. `day` is today in UTC unless given.

        A fact that cannot be recorded exactly (not finite, too long, too large) becomes a failure of its
        guard: leaving it out silently could leave out what a rule looks for.
        """
        facts: dict[str, Fact] = {}
        unrecordable: dict[tuple[str, str], Failure] = {}
        for finding in observation.findings:
            for name, value in finding.facts.items():
                if len(facts) < _MAX_FACTS and _is_fact(name, value):
                    facts[name] = value
                else:
                    key = (finding.guard, finding.category)
                    unrecordable[key] = _clean_failure(
                        Failure(
                            guard=finding.guard,
                            guard_version=finding.guard_version,
                            categories=(finding.category,),
                            error="FactNotRecordable",
                            message="a fact that cannot be put on record",
                        )
                    )
        failures = [*map(_clean_failure, observation.failures), *unrecordable.values()]
        return cls(
            stage=Stage(stage),
            request=RequestFacts.of(request),
            measurements=_measurements(observation.findings),
            facts=MappingProxyType(facts),
            failures=tuple(_at_most(failures)),
            day=(day or dt.datetime.now(dt.UTC).date()).isoformat(),
        )

    @cached_property
    def scores(self) -> Mapping[str, int]:
        """The highest score of each category that was measured, in micro-units."""
        out: dict[str, int] = {}
        for item in self.measurements:
            if item.score >= out.get(item.category, 0):
                out[item.category] = item.score
        return MappingProxyType(out)

    def variables(self, reads: Reads | None = None) -> dict[str, Any]:
        """Return the names that a condition sees: `stage`, `request`, `scores`, `facts`.

        With `reads`, only what conditions with these reads can see: the rest need not be converted.
        """
        wanted = reads or {}
        scores, facts = wanted.get("scores"), wanted.get("facts")
        return {
            "stage": self.stage.value,
            "request": self.request.variables(wanted.get("request")),
            "scores": {
                category: score / 1_000_000
                for category, score in self.scores.items()
                if scores is None or category in scores
            },
            "facts": {name: value for name, value in self.facts.items() if facts is None or name in facts},
        }

    def to_body(self) -> dict[str, Any]:
        """Return the JSON form without floats, for the decision event. `from_body` reads it back exactly."""
        return {
            "v": BODY_VERSION,
            "stage": self.stage.value,
            "day": self.day,
            "request": {name: getattr(self.request, name) for name in _REQUEST_FIELDS},
            "measurements": [
                {
                    "category": item.category,
                    "score": item.score,
                    "guard": item.guard,
                    "guard_version": item.guard_version,
                    "model": item.model,
                }
                for item in self.measurements
            ],
            "facts": {
                name: {"float": repr(v)} if isinstance(v, float) else v for name, v in self.facts.items()
            },
            "failures": [
                {
                    "guard": item.guard,
                    "guard_version": item.guard_version,
                    "categories": list(item.categories),
                    "error": item.error,
                    "message": item.message,
                }
                for item in self.failures
            ],
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Inputs:
        """Read back what `to_body` wrote.

        Raises:
            UsageError: for anything else; the message says which part.
        """
        where = "body"
        try:
            version, where = body["v"], "v"
            _need(version == BODY_VERSION and len(body) == 7)
            where = "stage"
            stage = Stage(body["stage"])
            where = "day"
            _need(isinstance(body["day"], str) and _DAY.match(body["day"]) is not None)
            where = "request"
            request = _read_request(body["request"])
            where = "measurements"
            _need(
                isinstance(body["measurements"], list | tuple)
                and len(body["measurements"]) <= _MAX_MEASUREMENTS
            )
            measurements = tuple(_read_measurement(item) for item in body["measurements"])
            where = "facts"
            _need(len(body["facts"]) <= _MAX_FACTS)
            facts = {name: _read_fact(name, value) for name, value in body["facts"].items()}
            where = "failures"
            _need(isinstance(body["failures"], list | tuple) and len(body["failures"]) <= _MAX_FAILURES)
            failures = tuple(_read_failure(item) for item in body["failures"])
        except (KeyError, ValueError, TypeError, AttributeError) as exc:
            raise UsageError(f"not the inputs of a decision: {where}") from exc
        return cls(
            stage=stage,
            request=request,
            measurements=measurements,
            facts=MappingProxyType(facts),
            failures=failures,
            day=body["day"],
        )


def _bounded_micro(value: float | None) -> int:
    if value is None or not math.isfinite(value):
        return 0
    return micro(max(-1000.0, min(1000.0, value)))


def _is_fact(name: Any, value: Any) -> bool:
    if not isinstance(name, str) or not _FACT_NAME.match(name):
        return False
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= _MAX_INT
    if isinstance(value, float):
        return type(value) is float and math.isfinite(value)
    return isinstance(value, str) and len(value) <= _MAX_TEXT and _encodes(value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clean(text: str, longest: int = _MAX_TEXT) -> str:
    return text[:longest].encode("utf-8", "replace").decode()


def _clean_failure(failure: Failure) -> Failure:
    return Failure(
        guard=_clean(failure.guard),
        guard_version=_clean(failure.guard_version),
        categories=tuple(category for category in failure.categories if category in CATEGORIES),
        error=_clean(failure.error),
        message=_clean(failure.message),
    )


def _measurements(findings: Sequence[Finding]) -> tuple[Measurement, ...]:
    rows = [
        Measurement(
            category=finding.category,
            score=micro(finding.score),
            guard=_clean(finding.guard),
            guard_version=_clean(finding.guard_version),
            model=_clean(finding.model),
        )
        for finding in findings
    ]
    if len(rows) > _MAX_MEASUREMENTS:  # no guard of ours, but then the highest of each is what counts
        highest: dict[str, Measurement] = {}
        for row in rows:
            if row.category not in highest or row.score > highest[row.category].score:
                highest[row.category] = row
        rows = list(highest.values())
    return tuple(rows)


def _at_most(failures: list[Failure]) -> list[Failure]:
    """Keep the record bounded: of very many failures, the last stands for all that are left out."""
    if len(failures) <= _MAX_FAILURES:
        return failures
    rest = Failure(
        guard="others",
        guard_version="",
        categories=(),
        error="TooManyFailures",
        message="more than can be kept",
    )
    return [*failures[: _MAX_FAILURES - 1], rest]


def _need(condition: bool) -> None:
    if not condition:
        raise ValueError


def _text(value: Any, longest: int = _MAX_TEXT) -> str:
    _need(isinstance(value, str) and len(value) <= longest and _encodes(value))
    return str(value)


def _read_request(row: Any) -> RequestFacts:
    _need(isinstance(row, Mapping) and set(row) == set(_REQUEST_FIELDS))
    default = RequestFacts()
    for name in _REQUEST_FIELDS:
        _need(type(row[name]) is type(getattr(default, name)))
        _need(not isinstance(row[name], int) or abs(row[name]) <= _MAX_INT)
    facts = RequestFacts(**row)
    _need(not facts.region or _REGION.match(facts.region) is not None)
    _need(not facts.purpose or _PURPOSE.match(facts.purpose) is not None)
    _text(facts.task, 40)
    return facts


def _read_measurement(row: Any) -> Measurement:
    item = Measurement(**row)
    _need(item.category in CATEGORIES)
    _need(type(item.score) is int and 0 <= item.score <= 1_000_000)
    _read_names(item.guard, item.guard_version, item.model)
    return item


@functools.lru_cache(maxsize=1024)
def _read_names(*names: Any) -> None:
    """Check the names of a guard; kept, since the same few stand in every measurement of a record."""
    for name in names:
        _text(name)


def _read_fact(name: Any, value: Any) -> Fact:
    if isinstance(value, Mapping):
        _need(set(value) == {"float"})
        number = float(_text(value["float"], 40))
        _need(repr(number) == value["float"])
        value = number
    else:
        _need(not isinstance(value, float))
    _need(_is_fact(name, value))
    return value  # type: ignore[no-any-return]  # NOTE: _is_fact has checked its type


def _read_failure(row: Any) -> Failure:
    item = Failure(**row)
    _need(isinstance(row["categories"], list | tuple) and all(c in CATEGORIES for c in item.categories))
    for value in (item.guard, item.guard_version, item.error, item.message):
        _text(value)
    return Failure(**{**row, "categories": tuple(item.categories)})
