"""Properties of every policy: the parser, determinism, and that more is never judged more mildly."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import CATEGORIES, Action, Failure, Stage, canonical_json
from clearmark.core.errors import PolicyError
from clearmark.policies import Inputs, Measurement, Policy, RequestFacts, profiles
from clearmark.policies._sources import read_policy_text
from clearmark.policies._strictness import loosenings

POLICIES = [Policy.load(name) for name in profiles()]
TEXTS = [read_policy_text(name).text for name in profiles()]


@settings(max_examples=150, deadline=None)
@given(st.text() | st.text(alphabet="abc:{}[]-,#&*!|>'\"%@`? \n\t0123.", max_size=200))
def test_arbitrary_text_is_a_policy_error(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text)
    assert caught.value.diagnostics()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_profile_is_a_policy_error_or_still_a_policy(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    put = data.draw(st.text(alphabet="abc:{}[]-,#&*!|>'\"%?\n\t 01.", max_size=4))
    with contextlib.suppress(PolicyError):
        Policy.parse(text[:at] + put + text[at + cut :])


scores = st.dictionaries(st.sampled_from(CATEGORIES), st.integers(0, 1_000_000))
requests = st.builds(
    RequestFacts,
    n=st.integers(1, 64),
    has_init_image=st.booleans(),
    purpose=st.sampled_from(["", "advertising"]),
)


def subject(stage: Stage, found: dict[str, int], request: RequestFacts) -> Inputs:
    return Inputs(
        stage=stage,
        request=request,
        measurements=tuple(
            Measurement(category=category, score=score, guard="g", guard_version="1")
            for category, score in found.items()
        ),
    )


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.sampled_from(Stage),
    scores,
    requests,
    st.sampled_from(CATEGORIES),
    st.integers(0, 1_000_000),
)
def test_a_higher_score_is_never_judged_more_mildly(
    policy: Policy, stage: Stage, found: dict[str, int], request: RequestFacts, category: str, more: int
) -> None:
    before = policy.decide(subject(stage, found, request))
    raised = {**found, category: min(1_000_000, found.get(category, 0) + more)}
    # a score that was missing may have blocked: only raised scores are compared
    if category in found:
        assert policy.decide(subject(stage, raised, request)).action >= before.action


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(POLICIES), st.sampled_from(Stage), scores, requests)
def test_deciding_twice_gives_the_same_verdict(
    policy: Policy, stage: Stage, found: dict[str, int], request: RequestFacts
) -> None:
    first, second = (policy.decide(subject(stage, found, request)) for _ in range(2))
    assert canonical_json(first.to_dict()) == canonical_json(second.to_dict())
    held = [hit.action for hit in first.trace if hit.held and hit.mode == "enforce"]
    assert first.action == max(held, default=Action.ALLOW)
    if found.get("sexual/minors", 0) >= 500_000:
        assert first.action is Action.BLOCK


small = st.integers(1, 9).map(lambda tenth: tenth / 10)
bands = st.dictionaries(st.sampled_from(["label", "review", "block"]), small, min_size=1).filter(
    lambda row: [row[w] for w in ("label", "review", "block") if w in row] == sorted(set(row.values()))
)
rules = st.fixed_dictionaries(
    {
        "when": st.sampled_from(["scores.hate >= 0.3", "request.n > 4", "facts.faces > 1", "true"]),
        "action": st.sampled_from(["label", "review", "block"]),
        "on_error": st.sampled_from(["block", "review", "unsafe_allow"]),
        "mode": st.sampled_from(["enforce", "shadow", "off"]),
    }
)
forms = st.fixed_dictionaries(
    {
        "thresholds": st.dictionaries(st.sampled_from(["sexual", "hate"]), bands, min_size=1),
        "requires": st.none() | st.lists(st.sampled_from(["sexual", "hate"]), min_size=1, unique=True),
        "rules": st.dictionaries(st.sampled_from(["a", "b"]), rules),
        "on_error": st.sampled_from(["block", "review", "unsafe_allow"]),
    }
)


def written(form: dict) -> Policy:
    lines = ["schema: clearmark/policy/v1", "name: t", 'version: "1"', f"on_error: {form['on_error']}"]
    lines.append(f"thresholds: {{output: {json.dumps(form['thresholds'])}}}")
    if form["requires"]:
        lines.append(f"requires: {{output: {json.dumps(form['requires'])}}}")
    if form["rules"]:
        lines.append("rules:")
    for name, rule in form["rules"].items():
        expires = "" if rule["mode"] == "enforce" else ", expires: 2026-06-01"
        keys = ", ".join(f"{key}: {json.dumps(value)}" for key, value in rule.items())
        lines.append(f"  - {{id: {name}, stage: output, {keys}{expires}}}")
    return Policy.parse("\n".join(lines) + "\n")


observed = st.builds(
    Inputs,
    stage=st.just(Stage.OUTPUT),
    request=st.builds(RequestFacts, n=st.integers(1, 9)),
    measurements=st.dictionaries(st.sampled_from(["sexual", "hate"]), st.integers(0, 10)).map(
        lambda row: tuple(
            Measurement(category=category, score=tenth * 100_000, guard="g", guard_version="1")
            for category, tenth in row.items()
        )
    ),
    facts=st.dictionaries(st.just("faces"), st.integers(0, 3)),
    failures=st.lists(
        st.sampled_from(["sexual", "hate"]).map(
            lambda category: Failure(
                guard="g", guard_version="1", categories=(category,), error="E", message=""
            )
        ),
        max_size=1,
    ).map(tuple),
    day=st.sampled_from(["2026-01-01", "2026-06-01"]),
)


@settings(max_examples=40, deadline=None)
@given(forms, forms, st.lists(observed, min_size=5, max_size=5))
def test_a_policy_without_a_loosening_is_never_milder(one: dict, two: dict, subjects: list[Inputs]) -> None:
    before, mixed = written(one), {**one, **two}
    # a change of one part, as people make them, so that tightening is not too rare to be seen
    for part in ("thresholds", "rules", "on_error", "requires"):
        after = written({**one, part: mixed[part]})
        if not list(loosenings(before, after)):
            for inputs in subjects:
                assert after.decide(inputs).action >= before.decide(inputs).action
