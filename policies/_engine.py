"""The decision: a pure function of a policy's plan and the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.core import Action, PolicyRef, Reason, RuleHit, Stage, Verdict
from clearmark.policies.inputs import Inputs
from clearmark.policies.messages import UNAVAILABLE, UNCOVERED, ReasonText
from clearmark.policies.rules import MINORS, Rule, Threshold, error_action

__all__ = ["Plan", "decide"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What deciding needs of a policy. `rules` are (rule, compiled condition) in file order."""

    ref: PolicyRef
    covered: frozenset[Stage]
    thresholds: Mapping[Stage, Mapping[str, Threshold]]
    requires: Mapping[Stage, tuple[str, ...]]
    reasons: Mapping[str, ReasonText]
    on_error: str
    rules: tuple[tuple[Rule, Any], ...]


class _Tally:
    """Hits and reasons as they come."""

    def __init__(self) -> None:
        self.hits: list[RuleHit] = []
        self.reasons: list[tuple[Action, Reason]] = []

    def add(self, hit: RuleHit, category: str, words: ReasonText) -> None:
        self.hits.append(hit)
        if hit.held and hit.mode == "enforce" and hit.action is not Action.ALLOW:
            reason = Reason(
                rule=hit.rule,
                category=category,
                message=words.public,
                code=words.code,
                dsa=words.dsa,
                legal=words.legal,
            )
            self.reasons.append((hit.action, reason))

    def verdict(self, ref: PolicyRef, stage: Stage) -> Verdict:
        # sorted() is stable: equally strong reasons stay in the order of the trace
        ordered = sorted(self.reasons, key=lambda item: -item[0])
        return Verdict(
            action=ordered[0][0] if ordered else Action.ALLOW,
            policy=ref,
            stage=stage.value,
            reasons=tuple(reason for _, reason in ordered),
            trace=tuple(self.hits),
        )


def decide(plan: Plan, inputs: Inputs) -> Verdict:
    """Return the verdict of `plan` on `inputs`."""
    stage = inputs.stage
    tally = _Tally()
    if stage not in plan.covered:
        tally.add(RuleHit(rule=f"covers@{stage.value}", held=True, action=Action.BLOCK), "", UNCOVERED)
    _failures(plan, inputs, tally)
    _missing(plan, inputs, tally)
    scores = inputs.scores
    for category, threshold in plan.thresholds[stage].items():
        score = scores.get(category)
        action = Action.ALLOW if score is None else threshold.action(score)
        held = action is not Action.ALLOW
        hit = RuleHit(rule=threshold.id, held=held, action=action if held else threshold.bands[-1][0])
        tally.add(hit, category, plan.reasons[category])
    _rules(plan, inputs, tally)
    return tally.verdict(plan.ref, stage)


def _fault_action(plan: Plan, categories: tuple[str, ...]) -> Action:
    """`on_error`, but block where `sexual/minors` may be among what was not measured."""
    return Action.BLOCK if not categories or MINORS in categories else error_action(plan.on_error)


def _failures(plan: Plan, inputs: Inputs, tally: _Tally) -> None:
    for failure in inputs.failures:
        hit = RuleHit(
            rule=f"guard/{failure.guard}@{inputs.stage.value}",
            held=True,
            action=_fault_action(plan, failure.categories),
            error=failure.error,
        )
        words = ReasonText(
            code=UNAVAILABLE.code, public=f"{UNAVAILABLE.public} (The check {failure.guard} did not answer.)"
        )
        tally.add(hit, failure.categories[0] if failure.categories else "", words)


def _missing(plan: Plan, inputs: Inputs, tally: _Tally) -> None:
    failed = {category for failure in inputs.failures for category in failure.categories}
    for category in plan.requires[inputs.stage]:
        if category in inputs.scores or category in failed:
            continue
        hit = RuleHit(
            rule=f"requires/{category}@{inputs.stage.value}",
            held=True,
            action=_fault_action(plan, (category,)),
            error="no guard measured it",
        )
        words = ReasonText(
            code=UNAVAILABLE.code, public=f"{UNAVAILABLE.public} (Nothing measured {category}.)"
        )
        tally.add(hit, category, words)


def _rules(plan: Plan, inputs: Inputs, tally: _Tally) -> None:
    due = [
        (rule, program, mode)
        for rule, program in plan.rules
        if rule.stage is inputs.stage and (mode := rule.mode_on(inputs.day)) != "off"
    ]
    if not due:
        return
    import cel

    # converted once for all rules: 10 us, against 0.3 us for a rule
    context = cel.Context(variables=inputs.variables())
    for rule, program, mode in due:
        outcome, error = _evaluate(program, context)
        action = error_action(rule.on_error) if error else rule.action
        hit = RuleHit(rule=rule.id, held=outcome, action=action, mode=mode, error=error)
        words = UNAVAILABLE if error else _words(plan, rule)
        tally.add(hit, rule.category, words)


def _evaluate(program: Any, context: Any) -> tuple[bool, str]:
    """Return whether the condition holds, and the name of its fault; a faulty condition holds."""
    try:
        outcome = program.execute(context)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # noqa: BLE001  CEL's faults are many builtin classes; a panic is no Exception
        return True, type(exc).__name__
    return (outcome, "") if isinstance(outcome, bool) else (True, "NotABoolean")


def _words(plan: Plan, rule: Rule) -> ReasonText:
    """The rule's own words, then those of its category, then that the platform's policy says no."""
    base = plan.reasons.get(rule.category, ReasonText(public="This is not allowed by the platform's policy."))
    return ReasonText(
        code=rule.reason.code or base.code,
        public=rule.reason.public or base.public,
        dsa=rule.reason.dsa or base.dsa,
        legal=rule.reason.legal or base.legal,
    )
