"""What two policies judge differently: items with their direction, and inputs found at the boundaries."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import Stage, canonical_json
from clearmark.policies import Inputs, Measurement, Policy, changed_inputs, diff
from clearmark.policies.boundaries import idle_rules

HEAD = 'schema: clearmark/policy/v1\nname: t\nversion: "1"\n'
OLD = HEAD + (
    "thresholds: {output: {sexual: {review: 0.3, block: 0.5}}}\n"
    "rules:\n"
    "  - {id: edit, stage: output, when: request.has_init_image && scores.sexual >= 0.2, action: block}\n"
    '  - {id: ads, stage: output, when: request.purpose == "advertising" && request.n > 4, action: label}\n'
    "  - {id: crowd, stage: output, when: has(facts.faces) && facts.faces > 3, action: blur}\n"
)


def found(old: str, new: str) -> list[str]:
    witnesses = changed_inputs(Policy.parse(old), Policy.parse(new))
    for item in witnesses:
        assert item.before.action is not item.after.action
        assert canonical_json(item.to_dict())
    return [item.render() for item in witnesses]


def test_equal_policies_differ_nowhere() -> None:
    assert found(OLD, OLD) == []
    assert diff(Policy.parse(OLD), Policy.parse(OLD)) == []


def test_a_threshold_that_moved_is_found_at_its_edge() -> None:
    assert found(OLD, OLD.replace("block: 0.5", "block: 0.6")) == [
        "output, scores.sexual 0.5: block by threshold/sexual@output -> review by threshold/sexual@output"
    ]


def test_a_condition_that_changed_is_found_by_trying_its_parts_together() -> None:
    assert found(OLD, OLD.replace("scores.sexual >= 0.2", "scores.sexual >= 0.25")) == [
        "output, scores.sexual 0.2, request.has_init_image True: block by edit -> allow"
    ]
    assert found(OLD, OLD.replace("request.n > 4", "request.n > 6")) == [
        "output, request.n 5, request.purpose advertising: label by ads -> allow"
    ]
    assert found(OLD, OLD.replace("facts.faces > 3", "facts.faces > 2")) == [
        "output, facts.faces 3: allow -> blur by crowd"
    ]


def test_a_condition_that_only_reads_otherwise_is_no_difference() -> None:
    assert found(OLD, OLD.replace("request.n > 4", "request.n >= 5")) == []


def test_what_is_required_and_what_failure_means_is_found() -> None:
    assert found(OLD, OLD + "requires: {output: [hate]}\n") == [
        "output, sexual missing: block by requires/sexual@output -> allow",
        "output, hate missing: allow -> block by requires/hate@output",
    ]
    assert (
        "output, sexual missing: block by requires/sexual@output -> review by requires/sexual@output"
        in found(OLD, OLD + "on_error: review\n")
    )


def test_a_rule_that_expires_is_found_on_its_day() -> None:
    shadow = OLD.replace("action: blur}", "action: blur, mode: shadow, expires: 2026-12-01}")
    assert found(OLD, shadow) == ["output, facts.faces 4: blur by crowd -> allow"]


def test_directions() -> None:
    new = (
        OLD.replace("block: 0.5", "block: 0.6").replace("request.n > 4", "request.n > 6")
        + "regenerate: {attempts: 0}\nretention: {default: P1Y}\nmarking: {label: true}\non_error: review\n"
        + "reasons: {sexual: {public: No.}}\n"
    )
    directions = {change.path: change.direction for change in diff(Policy.parse(OLD), Policy.parse(new))}
    assert directions == {
        "on_error": "looser",
        "thresholds.output.sexual.block": "looser",
        "rules.ads.when": "unclear",
        "reasons.sexual.reason.public": "",
        "marking.label.show": "stricter",
        "retention.default": "stricter",
    }
    assert "on_error: block -> review (looser)" in [
        change.render() for change in diff(Policy.parse(OLD), Policy.parse(new))
    ]


def test_a_rule_that_changes_nothing_is_found() -> None:
    text = OLD + "  - {id: late, stage: output, when: scores.sexual >= 0.6, action: review}\n"
    assert idle_rules(Policy.parse(text)) == ["late"]
    assert idle_rules(Policy.parse(OLD)) == []


bands = st.dictionaries(
    st.sampled_from(["label", "blur", "regenerate", "review", "block"]), st.integers(1, 99), min_size=1
)


def text(rows: dict[str, dict[str, int]]) -> str | None:
    order = ["label", "blur", "regenerate", "review", "block"]
    lines = [HEAD + "thresholds:\n  output:"]
    for category, row in rows.items():
        scores = [row[word] for word in order if word in row]
        if scores != sorted(set(scores)):
            return None
        lines.append(
            f"    {category}: {{{', '.join(f'{word}: {score / 100}' for word, score in row.items())}}}"
        )
    return "\n".join(lines) + "\n"


@settings(max_examples=40, deadline=None)
@given(*[st.dictionaries(st.sampled_from(["sexual", "hate"]), bands, min_size=1)] * 2, st.lists(st.integers(0, 100), min_size=40, max_size=40))  # fmt: skip  # noqa: E501
def test_no_witness_means_no_difference(
    one: dict[str, dict[str, int]], two: dict[str, dict[str, int]], scores: list[int]
) -> None:
    texts = text(one), text(two)
    if texts[0] is None or texts[1] is None:
        return
    before, after = (Policy.parse(item) for item in texts if item is not None)
    witnesses = changed_inputs(before, after)
    changed = {(item.before.action, item.after.action) for item in witnesses}
    for pair in zip(scores[::2], scores[1::2], strict=True):
        inputs = Inputs(
            stage=Stage.OUTPUT,
            measurements=tuple(
                Measurement(category=category, score=score * 10_000, guard="g", guard_version="1")
                for category, score in zip(("sexual", "hate"), pair, strict=True)
            ),
        )
        sides = before.decide(inputs).action, after.decide(inputs).action
        if sides[0] is not sides[1]:
            assert changed
