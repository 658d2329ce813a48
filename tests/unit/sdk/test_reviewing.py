"""From a withheld picture through people to a marked one: real ledger and marks, guards of our own."""

import json

import pytest

from clearmark.audits.reviews import ReviewRefused, State
from clearmark.core import Action, Finding, Stage
from clearmark.core.pixels import open_image
from clearmark.sdk import Studio

POLICY = """
schema: clearmark/policy/v1
name: reviewing
version: "1"
on_error: block
thresholds:
  prompt: {violence: {review: 0.5, block: 0.99}, sexual/minors: 0.3}
  output: {sexual: {review: 0.3}}
rules:
  - id: label-ads
    stage: output
    when: request.purpose == "advertising"
    action: label
    reason: {code: AD, public: Labelled.}
"""


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "reviewing.yaml"
    path.write_text(POLICY)
    return path


class Words:
    """Scores prompts by a word, so that the tests hang on no calibration."""

    name, version, stages = "words", "1", frozenset({Stage.PROMPT})
    categories = ("violence", "sexual/minors")

    def check(self, batch):
        return [
            [self.finding("violence", 0.7 if "fight" in item.request.prompt else 0.01),
             self.finding("sexual/minors", 0.0)]
            for item in batch
        ]  # fmt: skip

    def finding(self, category, score):
        return Finding(category=category, score=score, guard=self.name, guard_version=self.version)


class Apples(Words):
    """Scores pictures: whatever is no apple on white is doubtful."""

    name, stages, categories = "apples", frozenset({Stage.OUTPUT}), ("sexual",)

    def check(self, batch):
        return [
            [self.finding("sexual", 0.6 if self.corner(item) != (255, 255, 255) else 0.01)] for item in batch
        ]

    def corner(self, item):
        return open_image(item.asset.data).convert("RGB").getpixel((2, 2))


@pytest.fixture
def opened(home, policy, painter):
    with Studio.from_policy(str(policy), home=home, backend=painter, guards=[Words(), Apples()]) as studio:
        yield studio


def approve(reviews, review_id, *names):
    for name in names:
        reviews.queue.claim(review_id, reviewer=name)
        review = reviews.decide(review_id, reviewer=name, approve=True)
    return review


def test_a_doubtful_picture_waits_and_leaves_marked(opened, painter, home):
    painter._flagged = lambda call: call == 1
    studio = opened
    both = studio.generate_batch(["an apple", "an apple"])
    result = both[1]
    assert (both[0].verdict, both[0].reviews) == (Action.ALLOW, ())
    assert (result.verdict, result.assets) == (Action.REVIEW, ())
    (review_id,) = result.reviews
    assert result.withheld[0].review == review_id
    assert result.to_dict()["reviews"] == [review_id]
    reviews = studio.reviews
    shown = reviews.queue.show(review_id)
    assert shown.categories == ("sexual",)
    assert shown.triggers[0].category == "sexual"
    assert shown.needed == 2
    preview = reviews.preview(review_id)
    request, asset = None, None
    with pytest.raises(ReviewRefused):
        reviews.release(review_id)
    reviews.queue.claim(review_id, reviewer="ann")
    request, asset = reviews.reveal(review_id, reviewer="ann")
    assert request.prompt == "an apple"
    assert asset.sha256 == shown.sha256 != preview.sha256
    reviews.decide(review_id, reviewer="ann", approve=True)
    approve(reviews, review_id, "bob")
    released = reviews.release(review_id)
    again = reviews.release(review_id)
    assert again.asset == released.asset
    verified = studio.verify(released.asset)
    assert verified.ledger["found"]
    assert verified.ledger["event_id"] == released.review.final_event
    assert verified.ledger["inclusion"] == "verified"
    kinds = [event.kind for event in studio.ledger.find_request(result.request_id)]
    assert kinds[:6] == [
        "request.received",
        "prompt.decided",
        "generation.completed",
        "output.decided",
        "review.opened",
        "result.refused",
    ]
    assert kinds[-2:] == ["mark.written", "review.released"]
    assert studio.ledger.verify().ok
    assert studio.ledger.reconcile().ok
    assert b"an apple" not in (home.path / "reviews.db").read_bytes()


def test_the_label_that_another_rule_asked_for_is_still_drawn(opened, painter):
    painter._flagged = lambda call: True
    studio = opened
    result = studio.generate("an apple", purpose="advertising")
    approve(studio.reviews, result.reviews[0], "ann", "bob")
    assert studio.reviews.release(result.reviews[0]).mark["label"]["text"]


def test_an_approved_request_is_generated_once(opened, painter):
    prompt = "two men fight"
    studio = opened
    result = studio.generate(prompt, actor="user-1", seed=7)
    assert (result.verdict, painter.requests) == (Action.REVIEW, [])
    (review_id,) = result.reviews
    with pytest.raises(ReviewRefused):
        studio.reviews.queue.claim(review_id, reviewer="user-1")
    approve(studio.reviews, review_id, "ann")
    made = studio.generate_approved(review_id)
    assert made.assets
    assert made.request_id != result.request_id
    assert (painter.requests[0].prompt, painter.requests[0].seed) == (prompt, 7)
    with pytest.raises(ReviewRefused):
        studio.generate_approved(review_id)
    assert len(painter.requests) == 1
    assert studio.reviews.queue.show(review_id).generated_as == made.request_id
    kinds = [event.kind for event in studio.ledger.find_request(made.request_id)]
    assert kinds[:3] == ["review.admitted", "request.received", "prompt.decided"]
    assert kinds[-1] == "result.released"


def test_erasing_the_actor_destroys_the_held_request(opened, painter):
    studio = opened
    painter._flagged = lambda call: True
    result = studio.generate("an apple", actor="user-1")
    (review_id,) = result.reviews
    studio.ledger.erase("default/user-1")
    assert studio.reviews.queue.show(review_id).state is State.ERASED
    with pytest.raises(ReviewRefused):
        studio.reviews.preview(review_id)


def test_what_cannot_be_held_is_not_let_out(opened, painter, monkeypatch):
    from clearmark.core.errors import LedgerUnavailable

    painter._flagged = lambda call: True
    studio = opened

    def full(items):
        raise LedgerUnavailable("no space")

    monkeypatch.setattr(studio.reviews, "hold", full)
    with pytest.raises(LedgerUnavailable):
        studio.generate("an apple")
    last = list(studio.ledger.events())[-1]
    assert last.kind == "result.failed"
    assert json.loads(last.envelope)["body"]["error"] == "LedgerUnavailable"
