"""The tests that stand in a policy file, and running them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from clearmark.core import Action, Failure, Stage, Verdict, micro
from clearmark.policies.inputs import Inputs, Measurement, RequestFacts
from clearmark.policies.policy import Policy

__all__ = ["TestResult", "given_inputs", "run_tests"]

_GUARD = "given"
_DAY = "2026-01-01"


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What a test of a policy file came to. `message` says what was expected and what came, if it failed."""

    __test__ = False  # no test class, whatever pytest makes of its name

    name: str
    passed: bool
    verdict: Verdict
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "passed": self.passed,
            "message": self.message,
            "verdict": self.verdict.to_dict(),
        }


def run_tests(policy: Policy) -> list[TestResult]:
    """Run the tests of a policy's file, in order. No tests give an empty list."""
    return [_run(policy, test) for test in policy.tests]


def given_inputs(policy: Policy, given: Mapping[str, Any]) -> Inputs:
    """Return the inputs that a test's `given` describes.

    Required categories that it does not name as scored, missing or failed score 0.
    """
    stage = Stage(given["stage"])
    scores: dict[str, float] = dict(given.get("scores", {}))
    absent = {*given.get("missing", ()), *given.get("failed", ())}
    for category in policy.requires[stage]:
        if category not in absent:
            scores.setdefault(category, 0.0)
    request: dict[str, Any] = dict(given.get("request", {}))
    for name in ("guidance", "strength"):
        if name in request:
            request[name] = micro(request[name])
    failed = tuple(given.get("failed", ()))
    return Inputs(
        stage=stage,
        day=given.get("day", _DAY),
        request=replace(RequestFacts(), **request),
        measurements=tuple(
            Measurement(category=category, score=micro(score), guard=_GUARD, guard_version="1")
            for category, score in scores.items()
        ),
        facts=MappingProxyType(dict(given.get("facts", {}))),
        failures=(
            (Failure(guard=_GUARD, guard_version="1", categories=failed, error="Given", message="a test's"),)
            if failed
            else ()
        ),
    )


def _run(policy: Policy, test: Mapping[str, Any]) -> TestResult:
    verdict = policy.decide(given_inputs(policy, test["given"]))
    expect = test["expect"]
    faults = []
    if verdict.action is not Action.parse(expect["verdict"]):
        by = f" by {', '.join(verdict.rules)}" if verdict.rules else ""
        faults.append(f"expected {expect['verdict']}, got {verdict.action.word}{by}")
    if "rule" in expect and expect["rule"] not in verdict.rules:
        faults.append(f"expected rule {expect['rule']} to hold")
    shadows = {hit.rule for hit in verdict.trace if hit.held and hit.mode == "shadow"}
    if "shadow" in expect and expect["shadow"] not in shadows:
        faults.append(f"expected shadow rule {expect['shadow']} to hold")
    return TestResult(name=test["name"], passed=not faults, verdict=verdict, message="; ".join(faults))
