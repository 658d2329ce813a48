"""Which inputs two policies judge differently, found by search over the policies' own boundaries.

A verdict can only change where a score crosses a threshold, or where something that a condition reads
crosses a number or equals a text that stands in it. So the values tried are those, one micro-unit to each
side; for a rule, they are tried together. What is found is then made as plain as it can be. The search is
complete for thresholds and for conditions that compare with literals; it is no proof for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from types import MappingProxyType
from typing import Any, TypeAlias

from clearmark.core import CATEGORIES, Failure, Stage, Task, Verdict
from clearmark.policies._conditions import REQUEST_FIELDS, Token, categories, reads, tokens
from clearmark.policies.inputs import Fact, Inputs, Measurement, RequestFacts
from clearmark.policies.policy import Policy
from clearmark.policies.rules import Rule

__all__ = ["Witness", "changed_inputs", "idle_rules"]

_MOST_TRIALS = 4000
_DAY = "2026-01-01"

Dim: TypeAlias = "tuple[str, str]"
"""A dimension of the search: kind (score, request, fact, day, fault) and name."""

Point: TypeAlias = "dict[Dim, Any]"
"""Where a trial differs from a subject in which nothing was found."""


@dataclass(frozen=True, kw_only=True)
class Witness:
    """Inputs that two policies judge differently; `about` says what in the policies it was found by."""

    about: str
    inputs: Inputs
    setting: Mapping[str, Any]
    before: Verdict
    after: Verdict

    def render(self) -> str:
        """Return the stage, what is special about the inputs, and both verdicts with their rules."""
        told = ", ".join(f"{name} {value}" for name, value in self.setting.items()) or "nothing found"
        sides = [
            f"{verdict.action.word}{f' by {verdict.rules[0]}' if verdict.rules else ''}"
            for verdict in (self.before, self.after)
        ]
        return f"{self.inputs.stage.value}, {told}: {sides[0]} -> {sides[1]}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "about": self.about,
            "stage": self.inputs.stage.value,
            "setting": {name: str(value) for name, value in self.setting.items()},
            "inputs": self.inputs.to_body(),
            "before": self.before.action.word,
            "after": self.after.action.word,
            "rules_before": list(self.before.rules),
            "rules_after": list(self.after.rules),
        }


def changed_inputs(before: Policy, after: Policy) -> list[Witness]:
    """Return one plain example for every way in which the policies were found to differ.

    Ways are told apart by stage, by what changed in the policy, and by both verdicts.
    """
    found: dict[tuple[Any, ...], Witness] = {}
    for stage in Stage:
        for about, axes in _foci(before, after, stage):
            for point in _trials(axes):
                pair = _decide(before, after, stage, point)
                if pair[0].action is pair[1].action:
                    continue
                key = (stage, about, pair[0].action, pair[1].action)
                if key not in found:
                    found[key] = _plain(before, after, stage, about, point)
    # the same example under two headings says nothing new
    return list({(item.inputs.stage, item.render()): item for item in found.values()}.values())


def idle_rules(policy: Policy) -> list[str]:
    """Return the ids of enforced rules without which no other verdict was found.

    Such a rule is usually overshadowed by a threshold or by a stronger rule.
    """
    out = []
    for rule in policy.rules:
        axes = _axes([rule])
        if rule.mode != "enforce" or any(names is None for names in reads([rule.when]).values()):
            continue  # what such a condition reads cannot be told, so nothing would be proved
        without = policy.without(rule.id)
        differs = any(
            one.action is not other.action
            for point in _trials(axes)
            for one, other in [_decide(policy, without, rule.stage, point)]
        )
        if not differs:
            out.append(rule.id)
    return out


def _trials(axes: Mapping[Dim, list[Any]]) -> Iterator[Point]:
    """Yield every combination, or evenly spread ones where there are too many."""
    total = prod(len(values) for values in axes.values())
    combos: Iterable[tuple[Any, ...]] = product(*axes.values())
    if total > _MOST_TRIALS:
        combos = islice(combos, 0, _MOST_TRIALS * 50, min(50, total // _MOST_TRIALS + 1))
    for combo in combos:
        yield {dim: value for dim, value in zip(axes, combo, strict=True) if value is not None}


def _decide(before: Policy, after: Policy, stage: Stage, point: Point) -> tuple[Verdict, Verdict]:
    inputs = _inputs(before, after, stage, point)
    return before.decide(inputs), after.decide(inputs)


def _inputs(before: Policy, after: Policy, stage: Stage, point: Point) -> Inputs:
    """Return the inputs at `point`: apart from it, every required category was measured as 0."""
    scores: dict[str, int | None] = dict.fromkeys(
        sorted({*before.requires[stage], *after.requires[stage]}), 0
    )
    request: dict[str, Any] = {}
    facts: dict[str, Fact] = {}
    failures = []
    day = _DAY
    for (kind, name), value in point.items():
        if kind == "score":
            scores[name] = value
        elif kind == "request":
            request[name] = value
        elif kind == "fact":
            facts[name] = value
        elif kind == "day":
            day = value
        else:
            scores[name] = None
            if value == "failed":
                failures.append(
                    Failure(
                        guard="a-guard", guard_version="1", categories=(name,), error="Failed", message=""
                    )
                )
    return Inputs(
        stage=stage,
        request=replace(RequestFacts(), **request),
        measurements=tuple(
            Measurement(category=category, score=score, guard="a-guard", guard_version="1")
            for category, score in scores.items()
            if score is not None
        ),
        facts=MappingProxyType(facts),
        failures=tuple(failures),
        day=day,
    )


def _plain(before: Policy, after: Policy, stage: Stage, about: str, point: Point) -> Witness:
    """Drop whatever the difference does not need."""
    actions = [verdict.action for verdict in _decide(before, after, stage, point)]
    for dim in list(point):
        less = {other: value for other, value in point.items() if other != dim}
        if [verdict.action for verdict in _decide(before, after, stage, less)] == actions:
            point = less
    pair = _decide(before, after, stage, point)
    return Witness(
        about=about,
        inputs=_inputs(before, after, stage, point),
        setting=MappingProxyType(dict(_told(point))),
        before=pair[0],
        after=pair[1],
    )


def _told(point: Point) -> Iterator[tuple[str, Any]]:
    for (kind, name), value in point.items():
        micro = kind == "score" or (kind == "request" and REQUEST_FIELDS[name] == "float")
        prefix = {"score": "scores.", "request": "request.", "fact": "facts."}.get(kind, "")
        yield f"{prefix}{name}", value / 1_000_000 if micro else value


def _foci(before: Policy, after: Policy, stage: Stage) -> Iterator[tuple[str, Mapping[Dim, list[Any]]]]:
    """Yield what differs, each with the values to try."""
    yield "stage", {}
    policies = (before, after)
    for category in CATEGORIES:
        bands = [policy.thresholds[stage].get(category) for policy in policies]
        if bands[0] != bands[1]:
            floors = {floor for band in bands if band is not None for _, floor in band.bands}
            yield f"thresholds.{stage.value}.{category}", {("score", category): _around(floors)}
        needed = [category in policy.requires[stage] for policy in policies]
        if any(needed) and (needed[0] != needed[1] or before.on_error != after.on_error):
            yield f"requires.{stage.value}", {("fault", category): ["missing", "failed"]}
    old = {rule.id: rule for rule in before.rules if rule.stage is stage}
    new = {rule.id: rule for rule in after.rules if rule.stage is stage}
    for name in dict.fromkeys([*old, *new]):
        pair = [rules[name] for rules in (old, new) if name in rules]
        if len(pair) == 1 or pair[0].to_dict() != pair[1].to_dict():
            yield f"rules.{name}", _axes(pair)


def _around(scores: Iterable[int]) -> list[Any]:
    near = {near for score in scores for near in (score - 1, score, score + 1)}
    return sorted(score for score in {0, *near, 1_000_000} if 0 <= score <= 1_000_000)


def _axes(rules: list[Rule]) -> Mapping[Dim, list[Any]]:
    """Return, for everything that the rules read, the values at which they might change their mind."""
    numbers: set[float] = set()
    words: set[str] = set()
    for rule in rules:
        for token in tokens(rule.when):
            if token.kind == "number":
                numbers.add(_number(token))
            elif token.kind == "string":
                words.add(token.plain)
    sources = [rule.when for rule in rules]
    read = reads(sources)
    floors = _around(round(number * 1_000_000) for number in numbers if 0 <= number <= 1)
    axes: dict[Dim, list[Any]] = {}
    for category in sorted({name for source in sources for name in categories(source)}):
        axes["score", category] = [None, *floors]
    for name in sorted(read["request"] or ()):
        axes["request", name] = [None, *_request_values(name, numbers, words)]
    for name in sorted(read["facts"] or ()):
        axes["fact", name] = [None, *_fact_values(name, sources)]
    days = sorted({rule.expires for rule in rules if rule.expires})
    if days:
        axes["day", "day"] = [None, *days]
    return axes


def _fact_values(name: str, sources: list[str]) -> list[Any]:
    """Return the values around the literals that a fact is compared with; true and false without any."""
    near: set[float] = set()
    words: set[str] = set()
    for source in sources:
        stream = list(tokens(source))
        for index in range(len(stream) - 2):
            if stream[index].text != "facts" or stream[index + 2].plain != name:
                continue
            end = index + (4 if stream[index + 1].text == "[" else 3)
            for token in (*stream[end + 1 : end + 2], *stream[max(0, index - 2) : max(0, index - 1)]):
                if token.kind == "number":
                    near |= {_number(token) + step for step in (-1, 0, 1)}
                elif token.kind == "string":
                    words.add(token.plain)
    values = [*sorted(map(_whole, near)), *sorted(words)]
    return values or [True, False]


def _number(token: Token) -> float:
    text = token.text.rstrip("uU")
    return float(int(text, 16) if text[:2] in ("0x", "0X") else text)


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number


def _request_values(name: str, numbers: set[float], words: set[str]) -> list[Any]:
    kind = REQUEST_FIELDS[name]
    if kind == "bool":
        return [True]
    if kind == "int":
        return sorted({int(number) + step for number in numbers for step in (-1, 0, 1) if number + step >= 0})
    if kind == "float":
        return _around(round(number * 1_000_000) for number in numbers)
    known = {task.value for task in Task}
    return sorted(words & known) if name == "task" else sorted(words - known)
