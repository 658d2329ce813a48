"""Properties of every policy: the parser, determinism, and that more is never judged more mildly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import CATEGORIES, Action, Stage, canonical_json
from clearmark.core.errors import PolicyError
from clearmark.policies import Inputs, Measurement, Policy, RequestFacts, profiles
from clearmark.policies._sources import read_policy_text

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
