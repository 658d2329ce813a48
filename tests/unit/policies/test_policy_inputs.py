"""Inputs: what is put on record of a decision, and that it reads back exactly."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import CATEGORIES, Failure, Finding, Observation, Request, canonical_json
from clearmark.core.errors import UsageError
from clearmark.policies import Inputs, Policy

DEFAULT, STRICT = Policy.load("default"), Policy.load("strict")

texts = st.text(max_size=12)
facts = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True) | texts,
    st.booleans() | st.integers() | st.floats() | texts,
    max_size=3,
)
findings = st.builds(
    Finding,
    category=st.sampled_from(CATEGORIES),
    score=st.floats(0, 1),
    guard=st.just("g"),
    guard_version=st.just("1"),
    model=st.sampled_from(["", "m@sha256:00"]),
    facts=facts,
)
failures = st.builds(
    Failure,
    guard=st.text(),
    guard_version=texts,
    categories=st.lists(st.sampled_from(CATEGORIES), max_size=3).map(tuple),
    error=texts,
    message=st.text(),
)
observations = st.builds(
    Observation,
    findings=st.lists(findings, max_size=4).map(tuple),
    failures=st.lists(failures, max_size=2).map(tuple),
)
requests = st.builds(
    Request,
    st.text(max_size=40),
    n=st.integers(1, 64),
    guidance=st.none() | st.floats(),
    strength=st.none() | st.floats(0.01, 1),
    region=st.sampled_from(["", "de", "US-CA", "nowhere at all", "\ud800"]),
    purpose=st.sampled_from(["", "advertising", "Call me on 555-1234"]),
    actor=st.just("actor-7"),
)
inputs = st.builds(Inputs.of, st.sampled_from(["prompt", "input-media", "output"]), requests, observations)


@settings(max_examples=60, deadline=None)
@given(inputs)
def test_what_is_recorded_reads_back_exactly_and_decides_alike(found: Inputs) -> None:
    body = found.to_body()
    raw = canonical_json(body)  # no floats, nothing that canonical JSON refuses
    again = Inputs.from_body(body)
    assert again == found
    assert canonical_json(again.to_body()) == raw
    for policy in (DEFAULT, STRICT):
        assert policy.decide(again).to_dict() == policy.decide(found).to_dict()


def test_nothing_personal_is_recorded() -> None:
    request = Request(
        "my secret prompt",
        negative_prompt="my secret fear",
        actor="actor-7",
        tenant="t-9",
        purpose="Call me on 555-1234",
        region="Baker Street 221b",
        consent=("consent-of-mr-smith",),
    )
    raw = canonical_json(Inputs.of("prompt", request, Observation()).to_body()).decode()
    for secret in ("secret", "actor-7", "t-9", "555", "Baker", "smith"):
        assert secret not in raw
    assert '"purpose":"other"' in raw
    assert '"region":"ZZ"' in raw


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**60, "x" * 1000, "\ud800", (1,)])
def test_a_fact_that_cannot_be_recorded_fails_its_guard(value: object) -> None:
    finding = Finding(category="hate", score=0.0, guard="g", guard_version="1", facts={"odd": value})  # type: ignore[dict-item]
    found = Inputs.of("output", Request("x"), Observation(findings=(finding,)))
    assert found.facts == {}
    assert [(item.guard, item.error) for item in found.failures] == [("g", "FactNotRecordable")]


def test_a_record_stays_bounded_and_readable_whatever_guards_return() -> None:
    many = tuple(
        Finding(category="hate", score=i / 5000, guard="g" * 999, guard_version="\ud800", facts={f"f{i}": i})
        for i in range(5000)
    )
    failed = tuple(
        Failure(guard=f"g{i}", guard_version="1", categories=("sexual",), error="E", message="m" * 9999)
        for i in range(500)
    )
    found = Inputs.of("output", Request("x"), Observation(findings=many, failures=failed))
    assert Inputs.from_body(found.to_body()) == found
    assert found.scores == {"hate": 999_800}
    assert (len(found.facts), len(found.failures), found.failures[-1].error) == (256, 256, "TooManyFailures")
    assert DEFAULT.decide(found).action.word == "block"


def body() -> dict:
    finding = Finding(category="hate", score=0.25, guard="g", guard_version="1", facts={"f": 0.1, "n": 3})
    failure = Failure(guard="h", guard_version="2", categories=("sexual",), error="E", message="m")
    return Inputs.of("prompt", Request("x"), Observation(findings=(finding,), failures=(failure,))).to_body()


@pytest.mark.parametrize(
    "path_value",
    [
        (("v",), 2),
        (("stage",), "exit"),
        (("day",), "today"),
        (("day",), 3),
        (("request",), None),
        (("request", "n"), True),
        (("request", "n"), 2**70),
        (("request", "region"), "Baker Street"),
        (("measurements",), "x"),
        (("measurements", 0, "score"), 0.5),
        (("measurements", 0, "score"), 1_000_001),
        (("measurements", 0, "category"), "cats"),
        (("measurements", 0, "extra"), 1),
        (("facts",), 3),
        (("facts", "f"), 0.1),
        (("facts", "f"), {"float": "nan"}),
        (("facts", "f"), {"float": "0.10"}),
        (("facts", "f"), {"float": "1" * 500}),
        (("facts", "f"), [1]),
        (("failures", 0, "categories"), "sexual"),
        (("failures", 0, "guard"), "\ud800"),
        (("failures",), {}),
        (("extra",), 1),
    ],
    ids=str,
)
def test_other_bodies_are_refused(path_value: tuple) -> None:
    path, value = path_value
    broken = body()
    spot = broken
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = value
    with pytest.raises(UsageError, match="not the inputs of a decision"):
        Inputs.from_body(broken)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*body(), "x"]), st.none() | st.integers() | st.text() | st.lists(st.integers())
    )
)
def test_any_other_mapping_is_a_usage_error(broken: dict) -> None:
    with pytest.raises(UsageError):
        Inputs.from_body(broken)
