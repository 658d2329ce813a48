from __future__ import annotations

import asyncio
import dataclasses
import io
import json

import pytest
from PIL import Image

from clearmark.core import Action, Finding, Request, Stage
from clearmark.core.errors import (
    Blocked,
    GenerationFailed,
    KeyUnavailable,
    LedgerUnavailable,
    MediaError,
    UsageError,
    WatermarkFailed,
)
from clearmark.policies import Policy
from clearmark.sdk import Studio
from clearmark.sdk.records import TERMINAL_KINDS

from .conftest import Painter, apple

SEXUAL = "explicit porn, naked woman having sex"


class Scorer:
    """A guard that reports a set score for every category that the default guards report."""

    version = "1"

    def __init__(
        self, name: str, stage: Stage, scores: dict[str, float], error: Exception | None = None
    ) -> None:
        self.name = name
        self.stages = frozenset({stage})
        self.categories = tuple(scores)
        self._scores = scores
        self._error = error

    def check(self, batch):
        if self._error:
            raise self._error
        return [
            [
                Finding(category=c, score=s, guard=self.name, guard_version="1")
                for c, s in self._scores.items()
            ]
            for _ in batch
        ]


def kinds(studio: Studio, request_id: str) -> list[str]:
    return [event.kind for event in studio.ledger.find_request(request_id)]


def test_a_picture_that_may_leave_is_marked_signed_and_on_record(studio) -> None:
    result = studio.generate("a red apple on a table", actor="ada", seed=7)
    assert result.verdict is Action.ALLOW
    (released,) = result.assets
    assert released.asset.origin.seed == 7
    assert released.mark.watermark is not None
    assert released.mark.manifest is not None
    assert kinds(studio, result.request_id) == [
        "request.received",
        "prompt.decided",
        "generation.completed",
        "output.decided",
        "mark.written",
        "result.released",
    ]
    assert released.receipt.verify(studio.ledger.verifier_key)
    assert result.receipt.verify(studio.ledger.verifier_key)
    assert set(result.timings_ms) >= {
        "prompt_guards",
        "generation",
        "output_guards",
        "marking",
        "ledger",
        "total",
    }
    json.dumps(result.to_dict())


def test_the_picture_leads_to_the_event_and_the_event_to_the_picture(studio) -> None:
    (released,) = studio.generate("a red apple").assets
    found = studio.verify(released.asset)
    assert found.exit_code == 0
    assert found.verification.credentials.state == "trusted"
    assert found.ledger["event_id"] == released.receipt.event_id
    assert found.ledger["inclusion"] == "verified"
    named = found.to_dict()["credentials"]["ledger"]
    assert named["event_id"] == released.receipt.event_id
    assert named["leaf_hash"] == studio.ledger.get(released.receipt.event_id).leaf_hash
    written = studio.ledger.find_mark(released.mark.id)[-1]
    assert written.body["asset"]["sha256"] == released.sha256


def test_without_its_metadata_the_watermark_still_leads_there(studio) -> None:
    (released,) = studio.generate("a red apple").assets
    copy = io.BytesIO()
    released.image().convert("RGB").save(copy, "JPEG", quality=90)
    found = studio.verify(copy.getvalue())
    assert found.verification.credentials.state == "absent"
    assert found.ledger["event_id"] == released.receipt.event_id
    assert found.exit_code == 0
    recovered = found.to_dict()["recovered"]
    assert recovered["via"] == "watermark"
    assert released.mark.manifest.label in str(recovered)


def test_a_refusal_is_a_result_with_reasons_and_on_record(studio, painter) -> None:
    result = studio.generate(SEXUAL, actor="ada")
    assert result.verdict is Action.BLOCK
    assert result.assets == ()
    assert "sexual" in {reason.category for reason in result.reasons}
    assert painter.requests == []
    assert kinds(studio, result.request_id) == ["request.received", "prompt.decided", "result.refused"]
    decision = studio.ledger.find_request(result.request_id)[1]
    assert decision.body["rules"]
    assert decision.body["policy"]["digest"] == studio.policy.ref.digest
    assert not result.blocked_by_failure
    with pytest.raises(Blocked):
        result.raise_for_verdict()


def test_what_people_wrote_never_stands_in_a_body(studio, home) -> None:
    studio.generate("a zebra named Melchior", actor="ada.lovelace@example.org")
    studio.generate(f"{SEXUAL} Melchior", actor="ada.lovelace@example.org")
    for event in studio.ledger.events():
        assert b"Melchior" not in event.envelope
        assert b"ada.lovelace" not in event.envelope
        assert b"porn" not in event.envelope
    received = next(iter(studio.ledger.events(kind="request.received")))
    assert studio.ledger.personal(received.event_id)["prompt"] == b"a zebra named Melchior"
    for path in home.path.rglob("*"):
        if path.is_file():
            assert b"Melchior" not in path.read_bytes()


def test_a_flagged_output_is_withheld(home) -> None:
    painter = Painter(flagged=lambda call: True)
    with Studio.from_policy("default", home=home, backend=painter) as studio:
        result = studio.generate("a red apple")
        assert result.verdict is Action.BLOCK
        assert result.assets == ()
        assert result.withheld[0].findings[0].category == "sexual"
        assert kinds(studio, result.request_id)[-2:] == ["output.decided", "result.refused"]


def test_some_of_several_may_leave(home) -> None:
    class Mixed(Painter):
        def generate(self, requests):
            (made,) = super().generate(requests)
            return [
                [made[0], Painter(lambda call: True).generate([dataclasses.replace(requests[0], n=1)])[0][0]]
            ]

    with Studio.from_policy("default", home=home, backend=Mixed()) as studio:
        result = studio.generate("a red apple", n=2)
        assert len(result.assets) == 1
        assert [picture.index for picture in result.withheld] == [1]
        assert result.verdict is Action.ALLOW
        closing = studio.ledger.find_request(result.request_id)[-1]
        assert closing.kind == "result.released"
        assert closing.body["withheld"] == 1


REGENERATE = """
schema: clearmark/policy/v1
name: again
version: "1"
description: Tries again.
owner: tests
thresholds:
  prompt: {sexual: 0.5, sexual/minors: 0.3}
  output:
    sexual: {regenerate: 0.5}
regenerate: {attempts: 2}
"""


STRICTER = """
rules:
  - id: nothing-at-all
    stage: prompt
    when: "true"
    action: block
    reason: {code: X-1, public: Nothing is made here.}
"""


@pytest.mark.parametrize(
    ("bad", "calls", "verdict"), [(1, 2, Action.ALLOW), (2, 3, Action.ALLOW), (9, 3, Action.REGENERATE)]
)
def test_regeneration_is_bounded_and_takes_other_seeds(home, bad, calls, verdict) -> None:
    painter = Painter(flagged=lambda call: call < bad)
    policy = Policy.parse(REGENERATE, "again.yaml")
    with Studio.from_policy(policy, home=home, backend=painter) as studio:
        result = studio.generate("a red apple", seed=1)
        assert result.verdict is verdict
        assert bool(result.assets) == (verdict is Action.ALLOW)
        assert len(painter.requests) == calls
        assert len({request.seed for request in painter.requests}) == calls
        assert kinds(studio, result.request_id).count("output.decided") == calls


def test_a_batch_keeps_its_order_and_its_members_apart(studio, painter) -> None:
    results = studio.generate_batch(["a red apple", SEXUAL, Request("a green pear", n=2)])
    assert [len(result.assets) for result in results] == [1, 0, 2]
    assert [request.prompt for request in painter.requests] == ["a red apple", "a green pear"]
    assert len({asset.mark.id for result in results for asset in result.assets}) == 3
    assert studio.generate_batch([]) == []
    assert studio.ledger.verify().ok


def test_a_guard_that_is_down_blocks_and_says_which(home, painter) -> None:
    guards = [
        Scorer("broken", Stage.PROMPT, {"sexual": 0.0, "sexual/minors": 0.0}, RuntimeError("secret prompt"))
    ]
    policy = Policy.parse(REGENERATE, "again.yaml")
    with Studio.from_policy(policy, home=home, backend=painter, guards=guards) as studio:
        result = studio.generate("a red apple")
        assert result.verdict is Action.BLOCK
        assert result.blocked_by_failure
        assert result.failures[0].guard == "broken"
        assert painter.requests == []
        decision = studio.ledger.find_request(result.request_id)[1]
        assert decision.body["failures"][0]["guard"] == "broken"
        assert b"secret prompt" not in decision.envelope


def test_no_guard_at_all_blocks(home, painter) -> None:
    with Studio.from_policy("default", home=home, backend=painter, guards=[]) as studio:
        assert studio.generate("a red apple").verdict is Action.BLOCK
        assert painter.requests == []


def test_a_generator_that_throws_ends_on_record(home) -> None:
    class Broken(Painter):
        def generate(self, requests):
            raise ValueError("cuda out of memory while drawing a red apple")

    with Studio.from_policy("default", home=home, backend=Broken()) as studio:
        with pytest.raises(GenerationFailed) as caught:
            studio.generate("a red apple")
        assert "apple" not in str(caught.value)
        last = list(studio.ledger.events())[-1]
        assert last.kind == "result.failed"
        assert last.body == {"error": "GenerationFailed"}


def test_a_picture_that_cannot_be_marked_does_not_leave(home) -> None:
    class Tiny(Painter):
        def generate(self, requests):
            from clearmark.core import Asset
            from clearmark.core.pixels import encode_png

            return [
                [
                    Asset(
                        data=encode_png(Image.new("RGB", (16, 16))),
                        media_type="image/png",
                        width=16,
                        height=16,
                    )
                ]
                for _ in requests
            ]

    with Studio.from_policy("default", home=home, backend=Tiny()) as studio:
        with pytest.raises(WatermarkFailed):
            studio.generate("a red apple")
        assert [event.kind for event in studio.ledger.events()][-1] == "result.failed"


def test_a_ledger_that_cannot_write_lets_nothing_out(studio, painter, monkeypatch) -> None:
    def full(events):
        raise LedgerUnavailable("disk full")

    monkeypatch.setattr(studio.ledger, "append", full)
    with pytest.raises(LedgerUnavailable):
        studio.generate("a red apple")
    assert painter.requests == []


def test_every_request_ends_exactly_once(studio) -> None:
    for prompt in ("a red apple", SEXUAL):
        result = studio.generate(prompt)
        assert sum(kind in TERMINAL_KINDS for kind in kinds(studio, result.request_id)) == 1


@pytest.mark.parametrize("name", ["ledger.pem", "vault.key", "watermark.key", "signer.pem"])
def test_a_key_that_is_gone_open_or_unreadable_stops_the_studio(home, name) -> None:
    path = home.keys / name
    for mode in (0o644, 0o000):
        path.chmod(mode)
        with pytest.raises(KeyUnavailable, match=name):
            Studio.from_policy("default", home=home, backend=Painter())
    path.unlink()
    with pytest.raises(KeyUnavailable, match=name):
        Studio.from_policy("default", home=home, backend=Painter())


def test_checks_are_not_recorded(studio) -> None:
    before = studio.ledger.size
    assert studio.check_prompt("a red apple").action is Action.ALLOW
    assert studio.check_prompt(SEXUAL).action is Action.BLOCK
    picture = io.BytesIO()
    apple().save(picture, "PNG")
    assert studio.check_image(picture.getvalue()).action is Action.ALLOW
    assert studio.ledger.size == before


def test_marking_a_picture_from_elsewhere(studio, tmp_path) -> None:
    apple().save(tmp_path / "a.jpg", quality=95)
    marked = studio.mark(tmp_path / "a.jpg", source="altered", actor="ada")
    found = studio.verify(marked.asset)
    assert found.exit_code == 0
    assert found.ledger["event_id"] == marked.receipt.event_id
    assert "composite" in found.to_dict()["credentials"]["digital_source_type"]
    with pytest.raises(UsageError):
        studio.mark(tmp_path / "a.jpg", source="painted")
    with pytest.raises(MediaError):
        studio.mark(tmp_path)


def test_a_blurred_picture_shows_no_more_than_shapes(home) -> None:
    policy = Policy.parse(REGENERATE.replace("{regenerate: 0.5}", "{blur: 0.5}"), "blur.yaml")
    with Studio.from_policy(policy, home=home, backend=Painter(flagged=lambda call: True)) as studio:
        result = studio.generate("a red apple")
        assert result.verdict is Action.BLUR
        picture = result.assets[0].image().convert("L")
        import numpy as np

        edges = np.abs(np.diff(np.asarray(picture, dtype=float), axis=0))
        assert np.percentile(edges, 99) < 12


def test_the_async_twins(studio) -> None:
    async def run():
        result = await studio.agenerate("a red apple")
        check = await studio.acheck_prompt("a red apple")
        found = await studio.averify(result.assets[0].asset)
        return result, check, found

    result, check, found = asyncio.run(run())
    assert result.assets
    assert check.action is Action.ALLOW
    assert found.exit_code == 0


def test_erasing_a_person_leaves_every_proof_valid(studio, home) -> None:
    result = studio.generate("a zebra named Melchior", actor="ada")
    studio.ledger.erase("default/ada")
    received = studio.ledger.find_request(result.request_id)[0]
    assert set(studio.ledger.personal(received.event_id).values()) == {None}
    assert result.receipt.verify(studio.ledger.verifier_key)
    assert studio.ledger.verify().ok


def test_a_changed_policy_file_takes_over_and_a_broken_one_does_not(home, painter, tmp_path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(REGENERATE)
    with Studio.from_policy(str(file), home=home, backend=painter) as studio:
        assert studio.reload_policy() is None
        first = studio.policy.ref
        file.write_text(REGENERATE + STRICTER)
        assert studio.reload_policy().outcome == "loaded"
        assert studio.policy.ref != first
        assert studio.generate("a red apple").verdict is Action.BLOCK
        for broken in ("", "schema: [", REGENERATE + "nonsense: 1\n"):
            file.write_text(broken)
            assert studio.reload_policy().outcome == "rejected"
            assert studio.policy.ref != first
        file.unlink()
        assert studio.reload_policy().outcome == "rejected"
        recorded = [event.kind for event in studio.ledger.events(kind="policy.*")]
        assert recorded == ["policy.loaded"] + ["policy.rejected"] * 4
        assert studio.ledger.verify().ok
    with Studio.from_policy(Policy.parse(REGENERATE, "x"), home=home, backend=painter) as studio:
        with pytest.raises(UsageError):
            studio.reload_policy()


def test_opting_out_of_a_layer_is_named_unsafe_and_is_an_event(home, painter) -> None:
    policy = Policy.parse(REGENERATE + "marking: {unsafe_no_watermark: true}\n", "x")
    with Studio.from_policy(policy, home=home, backend=painter) as studio:
        (event,) = studio.ledger.events(kind="policy.unsafe")
        assert event.body["unsafe"]
        (released,) = studio.generate("a red apple").assets
        assert released.mark.watermark is None
        assert released.mark.manifest is not None
