"""What another policy would have done: recorded decisions, decided again.

A decision event holds everything that its policy saw. Replay decides on that once more, says first how much
of the record could be used at all, and then what would have changed, with samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.core import Action, PolicyRef
from clearmark.core.errors import UsageError
from clearmark.policies.inputs import Inputs
from clearmark.policies.policy import Policy

__all__ = ["Delta", "Replay", "Sample", "ShadowCount", "replay"]

SAMPLES = 20
"""How many recorded decisions are kept per kind of change."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One recorded decision that would have come out otherwise. `position` counts the bodies from 0."""

    position: int
    inputs: Inputs
    rules_before: tuple[str, ...]
    rules_after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """All decisions of a stage that would have changed from one verdict to another."""

    stage: str
    before: Action
    after: Action
    count: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class ShadowCount:
    """How often a rule in shadow held, and how often it would have made the verdict stronger."""

    rule: str
    held: int
    stronger: int


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of it. `replayed` of `seen` records could be decided again; `skipped` says why not the rest.

    `drifted` counts records of this very policy (same digest) whose verdict now differs: it must be 0, or the
    engine has changed its mind.
    """

    policy: PolicyRef
    seen: int
    replayed: int
    skipped: Mapping[str, int]
    unchanged: int
    verdicts: Mapping[str, int]
    deltas: tuple[Delta, ...]
    drifted: int
    shadow: tuple[ShadowCount, ...] = ()

    @property
    def coverage(self) -> float:
        """The share of records that could be decided again; 0 where there were none."""
        return self.replayed / self.seen if self.seen else 0.0

    def render(self) -> str:
        """Return the result in words, coverage first."""
        lines = [f"coverage: {self.replayed:,} of {self.seen:,} recorded decisions ({self.coverage:.1%})"]
        lines.extend(f"  left out, {why}: {count:,}" for why, count in self.skipped.items())
        if self.drifted:
            lines.append(f"DRIFT: {self.drifted:,} records of this same policy come out otherwise")
        lines.append(f"unchanged: {self.unchanged:,}")
        lines.extend(
            f"shadow {item.rule}: held {item.held:,}, would strengthen {item.stronger:,}"
            for item in self.shadow
        )
        for delta in self.deltas:
            lines.append(f"{delta.stage}: {delta.before.word} -> {delta.after.word}: {delta.count:,}")
            for sample in delta.samples[:3]:
                rules = ", ".join(sample.rules_after or sample.rules_before)
                lines.append(f"  e.g. no. {sample.position}: {rules}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "policy": self.policy.to_dict(),
            "coverage": {"seen": self.seen, "replayed": self.replayed, "skipped": dict(self.skipped)},
            "unchanged": self.unchanged,
            "drifted": self.drifted,
            "verdicts": dict(self.verdicts),
            "shadow": [
                {"rule": item.rule, "held": item.held, "stronger": item.stronger} for item in self.shadow
            ],
            "deltas": [
                {
                    "stage": delta.stage,
                    "before": delta.before.word,
                    "after": delta.after.word,
                    "count": delta.count,
                    "samples": [
                        {
                            "position": sample.position,
                            "inputs": sample.inputs.to_body(),
                            "rules_before": list(sample.rules_before),
                            "rules_after": list(sample.rules_after),
                        }
                        for sample in delta.samples
                    ],
                }
                for delta in self.deltas
            ],
        }


def replay(policy: Policy, bodies: Iterable[Mapping[str, Any]]) -> Replay:
    """Decide again on the bodies of decision events: `inputs`, `verdict` (a word), `policy`, `rules`.

    The bodies are read one by one, so a generator over a whole ledger costs no memory. A body that does not
    hold what is needed is counted, never guessed at.
    """
    skipped: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    held: Counter[str] = Counter()
    stronger: Counter[str] = Counter()
    counts: Counter[tuple[str, Action, Action]] = Counter()
    samples: dict[tuple[str, Action, Action], list[Sample]] = {}
    seen = replayed = drifted = 0
    for position, body in enumerate(bodies):
        seen += 1
        read = _read(body)
        if isinstance(read, str):
            skipped[read] += 1
            continue
        inputs, before = read
        replayed += 1
        verdict = policy.decide(inputs)
        verdicts[verdict.action.word] += 1
        for hit in verdict.trace:
            if hit.mode == "shadow" and hit.held:
                held[hit.rule] += 1
                stronger[hit.rule] += hit.action > verdict.action
        if verdict.action is before:
            continue
        drifted += _digest(body) == policy.ref.digest
        key = (inputs.stage.value, before, verdict.action)
        counts[key] += 1
        kept = samples.setdefault(key, [])
        if len(kept) < SAMPLES:
            kept.append(
                Sample(position=position, inputs=inputs, rules_before=_rules(body), rules_after=verdict.rules)
            )
    return Replay(
        policy=policy.ref,
        seen=seen,
        replayed=replayed,
        skipped=dict(sorted(skipped.items())),
        unchanged=replayed - counts.total(),
        verdicts=dict(sorted(verdicts.items())),
        deltas=tuple(
            Delta(stage=key[0], before=key[1], after=key[2], count=count, samples=tuple(samples[key]))
            for key, count in sorted(counts.items())
        ),
        drifted=drifted,
        shadow=tuple(
            ShadowCount(rule=rule, held=count, stronger=stronger[rule])
            for rule, count in sorted(held.items())
        ),
    )


def _read(body: Any) -> tuple[Inputs, Action] | str:
    """Return inputs and recorded action, or why the body cannot be used."""
    if not isinstance(body, Mapping):
        return "no body"
    recorded = body.get("inputs")
    if not isinstance(recorded, Mapping):
        return "no inputs on record"
    try:
        inputs = Inputs.from_body(recorded)
    except UsageError as exc:
        return exc.message
    try:
        return inputs, Action.parse(body["verdict"])
    except (KeyError, AttributeError, TypeError):
        return "no verdict on record"


def _digest(body: Mapping[str, Any]) -> str:
    ref = body.get("policy")
    return str(ref.get("digest", "")) if isinstance(ref, Mapping) else ""


def _rules(body: Mapping[str, Any]) -> tuple[str, ...]:
    rules = body.get("rules")
    return tuple(str(rule)[:200] for rule in rules[:100]) if isinstance(rules, list | tuple) else ()
