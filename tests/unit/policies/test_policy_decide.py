"""Deciding: the strongest action wins, faults block, and nothing loosens what protects minors."""

from __future__ import annotations

import datetime as dt

import cel
import pytest

from clearmark.benchmarks.policy import policy_of, subjects
from clearmark.core import Action, Asset, Failure, Finding, Observation, Request, Stage, Task
from clearmark.policies import Inputs, Policy, explain

HEAD = 'schema: clearmark/policy/v1\nname: t\nversion: "1"\n'


def policy(body: str) -> Policy:
    return Policy.parse(HEAD + body)


def finding(category: str, score: float, **facts: bool | float | str) -> Finding:
    return Finding(category=category, score=score, guard="g", guard_version="1", facts=facts)


def failure(*categories: str) -> Failure:
    return Failure(
        guard="lexicon", guard_version="1", categories=categories, error="GuardUnavailable", message="down"
    )


def inputs(
    stage: str,
    *findings: Finding,
    failures: tuple[Failure, ...] = (),
    day: str = "2026-11-24",
    request: Request | None = None,
) -> Inputs:
    if stage == "prompt" and not any(item.category == "sexual/minors" for item in findings):
        findings = (*findings, finding("sexual/minors", 0.0))
    return Inputs.of(
        stage,
        request or Request("a cat"),
        Observation(findings=findings, failures=failures),
        day=dt.date.fromisoformat(day),
    )


SIMPLE = policy(
    "thresholds:\n  prompt: {sexual: 0.5}\n  output: {sexual: {label: 0.2, blur: 0.4, block: 0.8}}\n"
)


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, "allow"),
        (0.199999, "allow"),
        (0.2, "label"),
        (0.4, "blur"),
        (0.799999, "blur"),
        (0.8, "block"),
        (1, "block"),
    ],
)
def test_the_strongest_band_that_is_reached_counts(score: float, action: str) -> None:
    verdict = SIMPLE.decide(inputs("output", finding("sexual", score)))
    assert verdict.action.word == action
    assert verdict.trace[0].rule == "threshold/sexual@output"
    assert verdict.trace[0].held is (action != "allow")


def test_the_highest_of_several_scores_counts() -> None:
    verdict = SIMPLE.decide(inputs("prompt", finding("sexual", 0.9), finding("sexual", 0.1)))
    assert verdict.action is Action.BLOCK
    assert [reason.rule for reason in verdict.reasons] == ["threshold/sexual@prompt"]
    assert verdict.reasons[0].message == "Sexual content is not made here."


def test_deny_overrides_and_reasons_come_strongest_first() -> None:
    many = policy(
        "rules:\n"
        "  - {id: a, stage: output, when: 'true', action: label}\n"
        "  - {id: b, stage: output, when: 'true', action: review, "
        "reason: {code: B-1, public: Held.}, legal: [X#1]}\n"
        "  - {id: c, stage: output, when: 'false', action: block}\n"
        "  - {id: d, stage: prompt, when: 'true', action: block}\n"
    )
    verdict = many.decide(inputs("output"))
    assert verdict.action is Action.REVIEW
    assert verdict.rules == ("a", "b")
    assert [hit.rule for hit in verdict.trace] == ["threshold/sexual/minors@output", "a", "b", "c"]
    assert [reason.rule for reason in verdict.reasons] == ["b", "a"]
    assert verdict.reasons[0].to_dict() == {
        "rule": "b",
        "category": "",
        "message": "Held.",
        "code": "B-1",
        "legal": ["X#1"],
    }


def test_a_required_score_that_is_missing_blocks_and_says_so() -> None:
    verdict = SIMPLE.decide(inputs("output"))
    assert verdict.action is Action.BLOCK
    assert verdict.reasons[0].rule == "requires/sexual@output"
    assert "sexual" in verdict.reasons[0].message
    assert verdict.reasons[0].code == "check-unavailable"


def test_requires_can_name_less_and_more_than_the_thresholds() -> None:
    loose = policy("requires: {output: [hate]}\nthresholds:\n  output: {sexual: 0.5, trademark: 0.5}\n")
    assert loose.decide(inputs("output", finding("hate", 1))).action is Action.ALLOW
    assert (
        loose.decide(inputs("output", finding("hate", 0), finding("trademark", 0.6))).action is Action.BLOCK
    )
    assert loose.decide(inputs("output", finding("sexual", 0))).rules == ("requires/hate@output",)


@pytest.mark.parametrize(
    ("word", "action"), [("block", "block"), ("review", "review"), ("unsafe_allow", "allow")]
)
def test_a_failed_guard_means_on_error(word: str, action: str) -> None:
    strict = policy(f"on_error: {word}\nthresholds:\n  prompt: {{hate: 0.5}}\n")
    verdict = strict.decide(inputs("prompt", failures=(failure("hate"),)))
    assert verdict.action.word == action
    assert [hit.rule for hit in verdict.trace if hit.held] == ["guard/lexicon@prompt"]
    if action != "allow":
        assert "lexicon" in verdict.reasons[0].message
        assert verdict.reasons[0].category == "hate"


def test_on_error_never_covers_minors() -> None:
    loose = policy("on_error: unsafe_allow\nthresholds:\n  prompt: {hate: 0.5}\n")
    for found in (
        inputs("prompt", finding("hate", 0), failures=(failure("sexual/minors"),)),
        inputs("prompt", finding("hate", 0), failures=(failure(),)),
        Inputs.of("prompt", Request("x"), Observation(findings=(finding("hate", 0),))),
    ):
        assert loose.decide(found).action is Action.BLOCK


def test_minors_are_blocked_at_the_ceiling_whatever_the_file_says() -> None:
    silent = policy(
        "rules:\n  - {id: a, stage: output, when: 'false', action: label}\n"
        "thresholds: {prompt: {hate: 0.9}}\n"
    )
    for stage in ("prompt", "input-media", "output"):
        verdict = silent.decide(inputs(stage, finding("hate", 0), finding("sexual/minors", 0.5)))
        assert verdict.action is Action.BLOCK
        assert f"threshold/sexual/minors@{stage}" in verdict.rules
        assert any(reason.dsa == "KEYWORD_CHILD_SEXUAL_ABUSE_MATERIAL_DEEPFAKE" for reason in verdict.reasons)


def test_a_stage_that_the_policy_does_not_cover_blocks() -> None:
    assert not SIMPLE.covers(Stage.INPUT_MEDIA)
    verdict = SIMPLE.decide(inputs("input-media", finding("sexual", 0)))
    assert verdict.action is Action.BLOCK
    assert verdict.rules == ("covers@input-media",)


@pytest.mark.parametrize(
    ("when", "error"),
    [
        ("facts.faces > 0", "KeyError"),
        ("scores.trademark > 0.1", "KeyError"),
        ("1 / request.n == 1 / (request.n - 1)", "ZeroDivisionError"),
        ("facts.text > 1", "TypeError"),
        ("facts.text", "NotABoolean"),
    ],
)
@pytest.mark.parametrize(
    ("on_error", "action"), [("block", "block"), ("review", "review"), ("unsafe_allow", "allow")]
)
def test_a_condition_that_cannot_be_evaluated_means_on_error(
    when: str, error: str, on_error: str, action: str
) -> None:
    faulty = policy(
        f"rules:\n  - {{id: r, stage: output, when: '{when}', action: label, on_error: {on_error}}}\n"
    )
    verdict = faulty.decide(inputs("output", finding("sexual", 0, text="a")))
    assert verdict.action.word == action
    hit = verdict.trace[-1]
    assert (hit.rule, hit.held, hit.error) == ("r", True, error)


def test_conditions_see_request_scores_facts_and_stage() -> None:
    when = (
        'stage == "output" && request.task == "image-to-image" && request.has_init_image && '
        'request.n == 2 && request.region == "US-CA" && request.purpose == "other" && '
        "request.width == 0 && request.prompt_chars == 5 && request.consents == 1 && "
        'scores["sexual/minors"] == 0.1 && !("hate" in scores) && has(facts.faces) && facts.faces == 2 && '
        'facts.photo && facts.sharp > 0.24 && facts.kind == "p"'
    )
    seen = policy(f"rules:\n  - {{id: r, stage: output, when: '{when}', action: label}}\n")
    request = Request(
        "a cat",
        task=Task.IMAGE_TO_IMAGE,
        init_image=Asset(data=b"x", media_type="image/png"),
        n=2,
        strength=0.3,
        region="us-ca",
        purpose="To annoy Mr Smith!",
        consent=("c-1",),
    )
    found = finding("sexual/minors", 0.1, faces=2, photo=True, sharp=0.25, kind="p")
    assert seen.decide(inputs("output", found, request=request)).rules == ("r",)


def test_shadow_is_on_record_until_it_expires_and_then_enforced() -> None:
    rule = (
        "rules:\n  - {id: r, stage: output, when: 'true', action: block, mode: MODE, expires: 2026-12-01}\n"
    )
    shadow, off = policy(rule.replace("MODE", "shadow")), policy(rule.replace("MODE", "off"))
    before, after = inputs("output", day="2026-11-30"), inputs("output", day="2026-12-01")
    assert shadow.decide(before).action is Action.ALLOW
    assert [(hit.rule, hit.mode) for hit in shadow.decide(before).trace if hit.held] == [("r", "shadow")]
    assert shadow.decide(before).rules == ()
    assert [hit.rule for hit in off.decide(before).trace] == ["threshold/sexual/minors@output"]
    assert shadow.decide(after).action is Action.BLOCK
    assert off.decide(after).action is Action.BLOCK


def test_explain_says_what_and_why() -> None:
    text = explain(SIMPLE.decide(inputs("prompt", finding("sexual", 0.7))))
    assert text.startswith("block at stage prompt: nothing is released.")
    assert "threshold/sexual@prompt asks for block" in text
    assert "Sexual content is not made here." in text
    assert "No rule held." in explain(SIMPLE.decide(inputs("prompt", finding("sexual", 0.1))))


def test_the_label_of_a_picture_follows_policy_and_verdict() -> None:
    default, strict = Policy.load("default").marking, Policy.load("strict").marking
    assert default.label is False
    assert default.label_for(Action.ALLOW) is False
    assert default.label_for(Action.LABEL) == default.label_when_asked
    assert strict.label
    assert strict.label.text == "AI-generated"
    assert strict.label_for(Action.ALLOW) == strict.label


def test_unmeasured_names_what_no_guard_measures() -> None:
    class Prompts:
        name, version, stages = "p", "1", frozenset({Stage.PROMPT})
        categories = ("sexual", "sexual/minors")

        def check(self, batch: object) -> list[list[Finding]]:
            return []

    assert SIMPLE.unmeasured([Prompts()]) == ((Stage.OUTPUT, "sexual"),)


def test_a_hundred_rules_come_out_as_each_alone() -> None:
    """Conditions are asked together; each must come out as it does alone."""
    hundred = policy_of(100)
    for subject in subjects(60):
        held = {hit.rule: hit.held for hit in hundred.decide(subject).trace}
        variables = subject.variables()
        for rule in hundred.rules:
            assert held[rule.id] == cel.evaluate(rule.when, variables), rule.when


def test_a_fault_of_one_rule_is_not_that_of_its_neighbours() -> None:
    """The fact is absent, so one condition cannot be evaluated; those beside it are judged all the same."""
    rules = """
rules:
  - {id: low, stage: output, when: "scores.hate >= 0.9", action: review}
  - {id: absent, stage: output, when: "facts.faces > 1 // no has()", action: label, on_error: review}
  - {id: high, stage: output, when: "scores.hate >= 0.1", action: block}
"""
    for facts, error, action in (({}, True, "review"), ({"faces": 2}, False, "label")):
        seen = Observation(findings=(finding("hate", 0.5, **facts),))
        verdict = policy(rules).decide(Inputs.of("output", Request("x"), seen))
        low, absent, high = (hit for hit in verdict.trace if hit.rule in ("low", "absent", "high"))
        assert (low.held, absent.held, high.held) == (False, True, True)
        assert (bool(absent.error), absent.action.word) == (error, action)
        assert not low.error
        assert not high.error
