from __future__ import annotations

import pytest

from clearmark.core import (
    CATEGORIES,
    Action,
    Asset,
    Event,
    Evidence,
    Finding,
    Mark,
    Observation,
    PolicyRef,
    Request,
    RuleHit,
    Span,
    Task,
    Verdict,
    WatermarkMark,
    canonical_json,
    uuid7,
)
from clearmark.core.errors import Error, InvalidRequest, UsageError


def finding(category: str = "sexual", score: float = 0.5, **more) -> Finding:
    return Finding(category=category, score=score, guard="g", guard_version="1", **more)


def test_ids_sort_by_time_and_carry_version_and_variant() -> None:
    early, late = uuid7(1_000), uuid7(2_000)
    assert early < late
    assert early[14] == "7"
    assert early[19] in "89ab"
    assert len({uuid7() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "x" * 20_001},
        {"prompt": "x", "negative_prompt": "x" * 20_001},
        {"prompt": 7},
        {"prompt": "x", "n": 0},
        {"prompt": "x", "n": 65},
        {"prompt": "x", "width": 100_000},
        {"prompt": "x", "steps": 0},
        {"prompt": "x", "seed": -1},
        {"prompt": "x", "seed": 2**63},
        {"prompt": "x", "strength": 0.0},
        {"prompt": "x", "task": Task.IMAGE_TO_IMAGE},
    ],
)
def test_a_request_out_of_bounds_is_refused(wrong) -> None:
    with pytest.raises(InvalidRequest):
        Request(**wrong)


def test_inpaint_needs_a_mask() -> None:
    picture = Asset(data=b"x", media_type="image/png")
    with pytest.raises(InvalidRequest, match="mask"):
        Request("x", task=Task.INPAINT, init_image=picture)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_is_a_probability(score) -> None:
    with pytest.raises(UsageError):
        finding(score=score)


def test_a_category_is_on_the_list() -> None:
    assert len(set(CATEGORIES)) == len(CATEGORIES)
    with pytest.raises(UsageError, match="unknown category"):
        finding(category="nonsense")


def test_a_finding_as_json() -> None:
    seen = finding(evidence=Evidence(span=Span(2, 5)), threshold=0.4, facts={"faces": 2})
    document = seen.to_dict()
    assert document["evidence"] == {"span": {"start": 2, "end": 5, "field": "prompt"}}
    assert document["threshold"] == 0.4
    assert document["facts"] == {"faces": 2}


def test_an_observation_keeps_the_highest_score_of_each_category() -> None:
    seen = Observation(
        findings=(finding(score=0.2), finding(score=0.7), finding("hate", 0.1, facts={"a": 1}))
    )
    assert seen.scores == {"sexual": 0.7, "hate": 0.1}
    assert seen.facts == {"a": 1}


def test_actions_are_ordered_and_only_the_mild_ones_release() -> None:
    words = ["allow", "label", "blur", "regenerate", "review", "block"]
    assert [action.word for action in sorted(Action)] == words
    assert [str(action) for action in sorted(Action)] == words
    assert [Action.parse(word).releases for word in words] == [True, True, True, False, False, False]


def test_a_verdict_names_the_enforced_rules_that_held() -> None:
    trace = (
        RuleHit(rule="a", held=True, action=Action.BLOCK),
        RuleHit(rule="b", held=True, action=Action.BLOCK, mode="shadow"),
        RuleHit(rule="c", held=False, action=Action.BLOCK),
    )
    verdict = Verdict(
        action=Action.BLOCK,
        policy=PolicyRef(name="p", version="1", digest="sha256:00"),
        stage="prompt",
        trace=trace,
    )
    assert verdict.rules == ("a",)
    assert not verdict.releases


def test_a_mark_shows_absent_layers_as_null() -> None:
    mark = Mark(
        id="00" * 8,
        watermark=WatermarkMark(codec="c", codec_version="1", mark_id="00" * 8, psnr_db=41.239, ssim=0.98765),
    )
    document = mark.to_dict()
    assert document["manifest"] is None
    assert document["watermark"]["psnr_db"] == 41.24


def test_an_event_is_canonical_and_hides_personal_data_from_repr() -> None:
    event = Event(
        kind="request.received",
        request_id="r",
        personal={"prompt": b"secret"},
        subject="ada",
        event_id="e",
        ts_us=1,
    )
    assert "secret" not in repr(event)
    assert "ada" not in repr(event)
    assert event.envelope({"b": 1, "a": 2}) == canonical_json(
        {
            "schema_version": 1,
            "tenant": "default",
            "ts_us": 1,
            "event_id": "e",
            "kind": "request.received",
            "request_id": "r",
            "body": {"a": 2, "b": 1},
        }
    )


def test_every_error_is_ours_and_has_an_exit_code() -> None:
    from clearmark import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, Error)
        assert kind.exit_code in {1, 2, 3, 4, 6}
    shown = errors.KeyUnavailable("gone", hint="restore it")
    assert shown.diagnostics() == "gone\nrestore it"


def test_saving_an_asset_keeps_its_bytes(tmp_path) -> None:
    asset = Asset(data=b"\x89PNG", media_type="image/png")
    assert asset.save(tmp_path / "a.png").read_bytes() == asset.data
    assert asset.extension == ".png"
    assert "PNG" not in repr(asset)
