"""A verdict in words, for whoever runs the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.core import Action, RuleHit, Verdict
from clearmark.core.errors import UsageError
from clearmark.policies.inputs import Inputs
from clearmark.policies.policy import Policy

__all__ = ["explain", "explain_record"]

_MEANING = {
    Action.ALLOW: "it may go on",
    Action.LABEL: "it is released with a visible label",
    Action.BLUR: "it is released blurred",
    Action.REGENERATE: "it is made again with another seed",
    Action.REVIEW: "it is held until a person has looked",
    Action.BLOCK: "nothing is released",
}


def explain(verdict: Verdict) -> str:
    """Say what was decided, by which rules, why, and what came close without counting."""
    policy = verdict.policy
    lines = [
        f"{verdict.action.word} at stage {verdict.stage}: {_MEANING[verdict.action]}.",
        f"Policy {policy.name} {policy.version} ({policy.digest[:19]}…).",
    ]
    enforced = [hit for hit in verdict.trace if hit.held and hit.mode == "enforce"]
    if enforced:
        lines.append("Because:")
        lines.extend(f"  - {_hit(hit)}" for hit in sorted(enforced, key=lambda hit: -hit.action))
    else:
        lines.append("No rule held.")
    if verdict.reasons:
        lines.append("The user reads:")
        lines.extend(f"  - {text}" for text in dict.fromkeys(reason.message for reason in verdict.reasons))
    shadow = [hit for hit in verdict.trace if hit.held and hit.mode == "shadow"]
    if shadow:
        lines.append("Only on record (shadow):")
        lines.extend(f"  - {_hit(hit)}" for hit in shadow)
    rest = sum(1 for hit in verdict.trace if not hit.held)
    if rest:
        lines.append(f"{rest} other rule{'s were' if rest > 1 else ' was'} evaluated and did not hold.")
    return "\n".join(lines)


def explain_record(body: Mapping[str, Any], policy: Policy) -> str:
    """Explain a recorded decision (the body of its event) by deciding it once more under `policy`.

    Says so where the record was decided by another policy, or comes out otherwise now.

    Raises:
        UsageError: when the body does not hold what the policy saw.
    """
    recorded = body.get("inputs")
    if not isinstance(recorded, Mapping):
        raise UsageError("not the body of a decision: it has no inputs")
    inputs = Inputs.from_body(recorded)
    verdict = policy.decide(inputs)
    lines = [explain(verdict), "It was measured:"]
    lines.extend(f"  {category} {score / 1_000_000:.3f}" for category, score in sorted(inputs.scores.items()))
    lines.extend(f"  {name}: {value}" for name, value in sorted(inputs.facts.items()))
    ref = body.get("policy")
    if not isinstance(ref, Mapping) or ref.get("digest") != policy.ref.digest:
        lines.append("NOTE: the record was decided by another policy; this is what the given one says.")
    if body.get("verdict") != verdict.action.word:
        lines.append(f"NOTE: on record is {str(body.get('verdict'))[:20]}, not {verdict.action.word}.")
    return "\n".join(lines)


def _hit(hit: RuleHit) -> str:
    why = f" ({hit.error})" if hit.error else ""
    return f"{hit.rule} asks for {hit.action.word}{why}"
