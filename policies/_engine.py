"""The decision: a pure function of a policy's plan and the inputs.

All that does not depend on the inputs (hits, reasons, compiled conditions, which names they read) is made
once, when a policy is loaded: a decision of a hundred rules then costs little more than its conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from clearmark.core import Action, PolicyRef, Reason, RuleHit, Stage, Verdict
from clearmark.policies._content import Content
from clearmark.policies._together import Together
from clearmark.policies.inputs import Inputs
from clearmark.policies.messages import UNAVAILABLE, UNCOVERED, ReasonText
from clearmark.policies.rules import MINORS, Rule, Threshold, error_action

__all__ = ["Plan", "decide", "make_plan"]

Outcome: TypeAlias = "tuple[RuleHit, Reason | None]"
"""A hit, and the reason it gives where it counts."""


@dataclass(frozen=True, slots=True)
class _Band:
    """A threshold: action and score from the strongest down, and what each leads to."""

    category: str
    bands: tuple[tuple[int, Outcome], ...]
    quiet: RuleHit


@dataclass(frozen=True, slots=True)
class _Check:
    """A rule; by mode, what it gives where its condition does not hold and where it does."""

    rule: Rule
    always: str
    """Its mode on every day; empty where a day comes on which that changes."""
    quiet: Mapping[str, RuleHit]
    loud: Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class _StagePlan:
    covered: Outcome | None
    requires: tuple[str, ...]
    thresholds: tuple[_Band, ...]
    checks: tuple[_Check, ...]
    together: Together
    steady: tuple[tuple[RuleHit, Outcome], ...] | None
    """What each rule gives on every day; None where one is off, or changes on some day."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What deciding needs of a policy."""

    ref: PolicyRef
    on_error: str
    stages: Mapping[Stage, _StagePlan]


def make_plan(ref: PolicyRef, content: Content) -> Plan:
    """Compile the conditions and prepare every hit and reason."""
    stages = {}
    for stage in Stage:
        own = [rule for rule in content.rules if rule.stage is stage]
        checks = tuple(_check(rule, content.reasons) for rule in own)
        stages[stage] = _StagePlan(
            covered=None
            if stage in content.covered
            else _loud(RuleHit(rule=f"covers@{stage.value}", held=True, action=Action.BLOCK), "", UNCOVERED),
            requires=content.requires[stage],
            thresholds=tuple(
                _band(item, content.reasons[item.category]) for item in content.thresholds[stage].values()
            ),
            checks=checks,
            together=Together.of([rule.when for rule in own]),
            steady=None
            if any(check.always in ("", "off") for check in checks)
            else tuple((check.quiet[check.always], check.loud[check.always]) for check in checks),
        )
    return Plan(ref, content.on_error, stages)


def decide(plan: Plan, inputs: Inputs) -> Verdict:
    """Return the verdict of `plan` on `inputs`."""
    stage = plan.stages[inputs.stage]
    hits: list[RuleHit] = []
    reasons: list[tuple[Action, Reason]] = []

    def add(outcome: Outcome) -> None:
        hit, reason = outcome
        hits.append(hit)
        if reason is not None:
            reasons.append((hit.action, reason))

    if stage.covered is not None:
        add(stage.covered)
    for outcome in _faults(plan.on_error, stage, inputs):
        add(outcome)
    scores = inputs.scores
    for band in stage.thresholds:
        score = scores.get(band.category, -1)
        for floor, outcome in band.bands:
            if score >= floor:
                add(outcome)
                break
        else:
            hits.append(band.quiet)
    if stage.checks:
        _rules(stage, inputs, hits, add)
    if len(reasons) > 1:
        reasons.sort(key=lambda item: -item[0])  # stable: equally strong ones stay in the order of the trace
    return Verdict(
        action=reasons[0][0] if reasons else Action.ALLOW,
        policy=plan.ref,
        stage=inputs.stage.value,
        reasons=tuple([reason for _, reason in reasons]),
        trace=tuple(hits),
    )


def _rules(stage: _StagePlan, inputs: Inputs, hits: list[RuleHit], add: Any) -> None:
    outcomes, faults = stage.together.outcomes(inputs)
    if stage.steady is not None and not faults:
        for holds, (quiet, loud) in zip(outcomes, stage.steady, strict=True):
            if holds:
                add(loud)
            else:
                hits.append(quiet)
        return
    for number, (check, holds) in enumerate(zip(stage.checks, outcomes, strict=True)):
        rule = check.rule
        mode = check.always or rule.mode_on(inputs.day)
        if mode == "off":
            continue
        error = faults.get(number, "")
        if error:
            hit = RuleHit(rule=rule.id, held=True, action=error_action(rule.on_error), mode=mode, error=error)
            add(_loud(hit, rule.category, UNAVAILABLE))
        elif holds:
            add(check.loud[mode])
        else:
            hits.append(check.quiet[mode])


def _faults(on_error: str, stage: _StagePlan, inputs: Inputs) -> list[Outcome]:
    """Guards that failed, then required scores that are missing although no failure says why."""
    out = []
    failed: set[str] = set()
    place = inputs.stage.value
    for failure in inputs.failures:
        failed.update(failure.categories)
        hit = RuleHit(
            rule=f"guard/{failure.guard}@{place}",
            held=True,
            action=_fault_action(on_error, failure.categories),
            error=failure.error,
        )
        words = _unavailable(f"The check {failure.guard} did not answer.")
        out.append(_loud(hit, failure.categories[0] if failure.categories else "", words))
    for category in stage.requires:
        if category in inputs.scores or category in failed:
            continue
        hit = RuleHit(
            rule=f"requires/{category}@{place}",
            held=True,
            action=_fault_action(on_error, (category,)),
            error="no guard measured it",
        )
        out.append(_loud(hit, category, _unavailable(f"Nothing measured {category}.")))
    return out


def _fault_action(on_error: str, categories: tuple[str, ...]) -> Action:
    """`on_error`, but block where `sexual/minors` may be among what was not measured."""
    return Action.BLOCK if not categories or MINORS in categories else error_action(on_error)


def _unavailable(detail: str) -> ReasonText:
    return ReasonText(code=UNAVAILABLE.code, public=f"{UNAVAILABLE.public} ({detail})")


def _loud(hit: RuleHit, category: str, words: ReasonText) -> Outcome:
    """Join a hit that holds with its reason, where it counts."""
    if hit.mode != "enforce" or hit.action is Action.ALLOW:
        return hit, None
    reason = Reason(
        rule=hit.rule,
        category=category,
        message=words.public,
        code=words.code,
        dsa=words.dsa,
        legal=words.legal,
    )
    return hit, reason


def _band(threshold: Threshold, words: ReasonText) -> _Band:
    return _Band(
        category=threshold.category,
        bands=tuple(
            (score, _loud(RuleHit(rule=threshold.id, held=True, action=action), threshold.category, words))
            for action, score in threshold.bands
        ),
        quiet=RuleHit(rule=threshold.id, held=False, action=threshold.bands[-1][0]),
    )


def _check(rule: Rule, reasons: Mapping[str, ReasonText]) -> _Check:
    # the rule's own words, then those of its category, then that the platform's policy says no
    base = reasons.get(rule.category, ReasonText(public="This is not allowed by the platform's policy."))
    words = ReasonText(
        code=rule.reason.code or base.code,
        public=rule.reason.public or base.public,
        dsa=rule.reason.dsa or base.dsa,
        legal=rule.reason.legal or base.legal,
    )
    modes = ("enforce", "shadow")
    hits = {mode: RuleHit(rule=rule.id, held=True, action=rule.action, mode=mode) for mode in modes}
    return _Check(
        rule=rule,
        always="" if rule.expires else rule.mode,
        quiet={mode: RuleHit(rule=rule.id, held=False, action=rule.action, mode=mode) for mode in modes},
        loud={mode: _loud(hit, rule.category, words) for mode, hit in hits.items()},
    )
