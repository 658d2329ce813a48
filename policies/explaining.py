"""A verdict in words, for whoever runs the platform."""

from __future__ import annotations

from clearmark.core import Action, RuleHit, Verdict

__all__ = ["explain"]

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


def _hit(hit: RuleHit) -> str:
    why = f" ({hit.error})" if hit.error else ""
    return f"{hit.rule} asks for {hit.action.word}{why}"
