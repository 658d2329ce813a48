"""Holding a policy: a new file takes over as a whole or not at all; and replay of what was recorded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clearmark.core import Finding, Observation, Request, canonical_json
from clearmark.core.errors import PolicyError, UsageError
from clearmark.policies import Inputs, Policy, PolicyHolder, Reload, explain_record, replay

TEXT = """\
schema: clearmark/policy/v1
name: held
version: "1"
thresholds: {output: {sexual: 0.5}}
tests:
  - {name: blocks, given: {stage: output, scores: {sexual: 0.7}}, expect: {verdict: block}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(TEXT)
    return path


def test_a_good_file_takes_over_and_says_what_it_loosens(path: Path) -> None:
    told: list[Reload] = []
    holder = PolicyHolder(path, on_reload=told.append)
    first = holder.current
    assert holder.refresh() is None
    assert holder.reload().outcome == "unchanged"
    path.write_text(TEXT.replace("sexual: 0.5}", "sexual: 0.65}"))
    report = holder.refresh()
    assert report is not None
    assert (report.outcome, report.kind, report.loosened) == (
        "loaded",
        "policy.loaded",
        ("thresholds.output.sexual",),
    )
    assert holder.current is report.current is not first
    assert report.previous is first
    assert canonical_json(report.to_body())
    assert holder.refresh() is None
    back = holder.rollback()
    assert (back.outcome, holder.current) == ("rolled-back", first)
    with pytest.raises(UsageError, match="no earlier policy"):
        holder.rollback()
    assert [report.outcome for report in told] == ["unchanged", "loaded", "rolled-back"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("\x00", "not YAML"),
        (TEXT.replace("0.5}", "0.5"), "not YAML"),
        (TEXT.replace("sexual: 0.5", "sexual: 2"), "4:31: thresholds.output.sexual: 2 is outside"),
        (TEXT.replace("sexual: 0.5}", "sexual: 0.8}"), "test 'blocks': expected block, got allow"),
    ],
)
def test_a_bad_file_keeps_the_old_policy_and_is_reported(path: Path, text: str, why: str) -> None:
    holder = PolicyHolder(path)
    first = holder.current
    path.write_text(text)
    report = holder.reload()
    assert (report.outcome, holder.current) == ("rejected", first)
    assert any(why in fault for fault in report.faults), report.faults
    assert canonical_json(report.to_body())
    path.unlink()
    assert holder.reload().outcome == "rejected"
    assert holder.current is first
    path.write_text(TEXT)
    assert holder.reload().outcome == "unchanged"


def test_a_change_that_cannot_be_recorded_does_not_happen(path: Path) -> None:
    def full(report: Reload) -> None:
        raise OSError("disk full")

    holder = PolicyHolder(path, on_reload=full)
    first = holder.current
    path.write_text(TEXT.replace("0.5", "0.4"))
    with pytest.raises(OSError, match="disk full"):
        holder.reload()
    assert holder.current is first


def test_a_teller_can_be_set_later(path: Path) -> None:
    told: list[str] = []
    holder = PolicyHolder(path)
    holder.on_reload(lambda report: told.append(report.outcome))
    holder.reload()
    assert told == ["unchanged"]


def test_the_first_load_must_succeed(path: Path) -> None:
    path.write_text(TEXT.replace("sexual: 0.5}", "sexual: 0.8}"))
    with pytest.raises(PolicyError, match="expected block"):
        PolicyHolder(path)


def test_deciders_never_see_half_a_policy(path: Path) -> None:
    holder = PolicyHolder(path)
    stop = threading.Event()
    wrong: list[str] = []
    finding = Finding(category="sexual", score=0.9, guard="g", guard_version="1")
    inputs = Inputs.of("output", Request("x"), Observation(findings=(finding,)))

    def decide() -> None:
        while not stop.is_set():
            policy = holder.current
            verdict = policy.decide(inputs)
            if verdict.policy != policy.ref or verdict.action.word != "block":
                wrong.append(verdict.policy.digest)

    threads = [threading.Thread(target=decide) for _ in range(2)]
    for thread in threads:
        thread.start()
    for score in ("0.4", "0.x", "0.3", "2", "0.5"):
        path.write_text(TEXT.replace("0.5}", f"{score}}}"))
        holder.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert holder.current.threshold("output", "sexual") == 0.5


def body(policy: Policy, score: float) -> dict:
    finding = Finding(category="sexual", score=score, guard="g", guard_version="1")
    inputs = Inputs.of("output", Request("x"), Observation(findings=(finding,)))
    verdict = policy.decide(inputs)
    return {
        "inputs": inputs.to_body(),
        "verdict": verdict.action.word,
        "policy": verdict.policy.to_dict(),
        "rules": list(verdict.rules),
    }


def test_replay_gives_coverage_first_and_then_what_changes() -> None:
    old, new = Policy.parse(TEXT), Policy.parse(TEXT.replace("sexual: 0.5}", "sexual: 0.6}"))
    good = [body(old, score / 100) for score in range(100)]
    bad: list = [{}, {"inputs": {"v": 9}, "verdict": "allow"}, {**good[0], "verdict": "perhaps"}, 7]
    result = replay(new, iter([*good, *bad]))
    assert (result.seen, result.replayed, result.unchanged, result.drifted) == (104, 100, 90, 0)
    assert sum(result.skipped.values()) == 4
    assert [(d.stage, d.before.word, d.after.word, d.count) for d in result.deltas] == [
        ("output", "block", "allow", 10)
    ]
    assert result.deltas[0].samples[0].position == 50
    assert result.deltas[0].samples[0].rules_before == ("threshold/sexual@output",)
    assert result.verdicts == {"allow": 60, "block": 40}
    assert result.render().startswith("coverage: 100 of 104 recorded decisions (96.2%)")
    assert canonical_json(result.to_dict())


def test_replay_counts_what_rules_in_shadow_would_do() -> None:
    policy = Policy.parse(
        TEXT.split("tests:", maxsplit=1)[0]
        + "rules:\n  - {id: soon, stage: output, when: scores.sexual >= 0.4, action: review, "
        "mode: shadow, expires: 2099-01-01}\n"
    )
    result = replay(policy, [body(policy, score / 100) for score in range(100)])
    assert [(item.rule, item.held, item.stronger) for item in result.shadow] == [("soon", 60, 10)]
    assert "shadow soon: held 60, would strengthen 10" in result.render()


def test_a_recorded_decision_is_explained() -> None:
    policy = Policy.parse(TEXT)
    record = body(policy, 0.7)
    text = explain_record(record, policy)
    assert "threshold/sexual@output asks for block" in text
    assert "sexual 0.700" in text
    assert "NOTE" not in text
    other = explain_record(record, Policy.parse(TEXT.replace("sexual: 0.5}", "sexual: 0.8}")))
    assert "decided by another policy" in other
    assert "on record is block, not allow" in other
    with pytest.raises(UsageError):
        explain_record({"inputs": {}}, policy)
    with pytest.raises(UsageError):
        explain_record({}, policy)


def test_replaying_the_same_policy_changes_nothing_and_finds_a_changed_record() -> None:
    policy = Policy.parse(TEXT)
    bodies = [body(policy, score / 100) for score in range(100)]
    assert replay(policy, bodies).deltas == ()
    bodies[99]["verdict"] = "allow"
    result = replay(policy, bodies)
    assert result.drifted == 1
    assert "DRIFT" in result.render()
    assert replay(policy, []).coverage == 0.0
