"""The queue on a real ledger: sealed, one claim at a time, on record, gone when the person is erased."""

import json
import os
import sqlite3
import threading

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.reviews import Hold, ReviewQueue, ReviewRefused, ReviewRules, State, Trigger
from clearmark.core import Event
from clearmark.core.errors import LedgerTampered, LedgerUnavailable, Unavailable, UsageError

SIGNER, KEY = NoteSigner.generate("example.com/reviews"), os.urandom(32)
SECRET = b"the very picture that nobody may see"
MARK = "00112233445566ff"


def hold(number=0, **values):
    return Hold(
        **{
            "what": "picture",
            "request_id": f"r-{number}",
            "tenant": "default",
            "actor": "mallory",
            "subject": "default/mallory",
            "stage": "output",
            "categories": ("violence",),
            "rules": ("threshold/violence@output",),
            "triggers": (
                Trigger(category="violence", guard="look", guard_version="1", score=700_000),
                Trigger(category="violence", guard="read", guard_version="2", score=650_000),
            ),
            "decision_event": "d-1",
            "payload": SECRET,
            "sha256": "ab" * 32,
            **values,
        }
    )


def left(review):
    return [
        Event(
            kind="review.released",
            request_id=review.request_id,
            body={"review": review.review_id, "assets": ["cd" * 32]},
        )
    ]


class Clock:
    def __init__(self):
        self.us = 1_790_000_000_000_000

    def __call__(self):
        self.us += 1
        return self.us

    def pass_s(self, seconds):
        self.us += int(seconds * 1_000_000)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.db", signer=SIGNER, vault_key=KEY) as opened:
        yield opened


@pytest.fixture
def queue(tmp_path, ledger, clock):
    return ReviewQueue.open(tmp_path / "reviews.db", ledger=ledger, vault_key=KEY, clock=clock)


def approve(queue, review_id, *reviewers):
    for reviewer in reviewers:
        queue.claim(review_id, reviewer=reviewer)
        review = queue.decide(review_id, reviewer=reviewer, approve=True, mark_id=MARK)
    return review


def test_what_is_held_is_sealed_and_private(queue, tmp_path):
    (review_id,) = queue.hold([hold()])
    assert (tmp_path / "reviews.db").stat().st_mode & 0o777 == 0o600
    for path in tmp_path.iterdir():
        assert SECRET not in path.read_bytes()
        assert b"mallory" not in path.read_bytes()
    assert queue.payload(review_id) == SECRET
    shown = queue.show(review_id)
    assert shown.state is State.OPEN
    assert "mallory" not in json.dumps(shown.to_dict())


def test_approved_leaves_once_with_its_mark_and_everything_is_on_record(queue, ledger):
    (review_id,) = queue.hold([hold()])
    approve(queue, review_id, "ann")
    review = queue.show(review_id)
    assert (review.state, review.mark_id) == (State.APPROVED, MARK)
    assert ledger.find_mark(MARK)[0].event_id == review.final_event
    for _ in range(2):
        review, first = queue.release(review_id, events=left(review), sha256="cd" * 32, marked=b"marked")
        assert review.state is State.RELEASED
        assert queue.marked(review_id) == b"marked"
    assert not first
    with pytest.raises(ReviewRefused, match="nothing any more"):
        queue.payload(review_id)
    kinds = [event.kind for event in ledger.find_request("r-0")]
    assert kinds == ["review.opened", "review.claimed", "review.decided", "review.released"]
    decided = ledger.find_request("r-0")[2]
    assert [(row["guard"], row["violation"]) for row in decided.body["labels"]] == [
        ("look", False),
        ("read", False),
    ]
    assert b'"ann"' not in decided.envelope
    assert ledger.personal(decided.event_id)["person"] == b"ann"
    assert ledger.verify().ok


def test_two_persons_where_the_category_asks_for_it(queue):
    (review_id,) = queue.hold([hold(categories=("sexual",))])
    assert approve(queue, review_id, "ann").state is State.OPEN
    with pytest.raises(ReviewRefused):
        queue.claim(review_id, reviewer=" ANN ")
    with pytest.raises(ReviewRefused):
        queue.release(review_id, events=left(queue.show(review_id)), sha256="cd" * 32, marked=b"m")
    assert approve(queue, review_id, "bob").state is State.APPROVED


def test_no_self_review_however_the_name_is_written(queue):
    (review_id,) = queue.hold([hold()])
    for name in ("mallory", "Mallory", " mallory ", "ｍａｌｌｏｒｙ"):
        with pytest.raises(ReviewRefused, match="their own"):
            queue.claim(review_id, reviewer=name)
    for name in ("", "anonymous", "a\nb", "x" * 201):
        with pytest.raises(UsageError):
            queue.claim(review_id, reviewer=name)


def test_one_of_many_claims_wins(queue, tmp_path, ledger, clock):
    (review_id,) = queue.hold([hold()])
    won, lost, broken = [], [], []
    start = threading.Barrier(8)

    def try_to(name):
        mine = ReviewQueue.open(tmp_path / "reviews.db", ledger=ledger, vault_key=KEY, clock=clock)
        start.wait()
        try:
            mine.claim(review_id, reviewer=name)
            won.append(name)
        except ReviewRefused:
            lost.append(name)
        except BaseException as exc:  # noqa: BLE001
            broken.append(exc)

    threads = [threading.Thread(target=try_to, args=(f"person-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost), broken) == (1, 7, [])
    assert sum(event.kind == "review.claimed" for event in ledger.find_request("r-0")) == 1


def test_a_claim_expires_and_can_be_extended(queue, clock):
    (review_id,) = queue.hold([hold()])
    queue.claim(review_id, reviewer="ann")
    clock.pass_s(800)
    queue.claim(review_id, reviewer="ann")
    clock.pass_s(800)
    with pytest.raises(ReviewRefused):
        queue.claim(review_id, reviewer="bob")
    clock.pass_s(200)
    queue.claim(review_id, reviewer="bob")
    with pytest.raises(ReviewRefused):
        queue.decide(review_id, reviewer="ann", approve=True, mark_id=MARK)


def test_erasing_the_person_makes_what_is_held_unreadable_at_once(queue, ledger, tmp_path):
    (review_id,) = queue.hold([hold()])
    (other,) = queue.hold([hold(1, actor="zoe", subject="default/zoe")])
    before = ledger.receipt(queue.show(review_id).opened_event)
    ledger.erase("default/mallory")
    assert queue.show(review_id).state is State.ERASED
    with pytest.raises(ReviewRefused):
        queue.payload(review_id)
    with pytest.raises(ReviewRefused):
        queue.claim(review_id, reviewer="ann")
    db = sqlite3.connect(tmp_path / "reviews.db")
    assert db.execute("SELECT sealed FROM held WHERE review_id = ?", (review_id,)).fetchone()[0] is not None
    assert queue.sweep() == 1
    assert db.execute("SELECT sealed FROM held WHERE review_id = ?", (review_id,)).fetchone()[0] is None
    db.close()
    assert queue.payload(other) == SECRET
    assert before.verify(ledger.verifier_key)
    assert queue.sweep() == 0


def test_erasing_destroys_what_was_marked_too(queue, ledger):
    (review_id,) = queue.hold([hold()])
    review = approve(queue, review_id, "ann")
    queue.release(review_id, events=left(review), sha256="cd" * 32, marked=b"marked")
    ledger.erase("default/mallory")
    with pytest.raises(ReviewRefused):
        queue.marked(review_id)


def test_an_erased_reviewer_changes_no_state(queue, ledger):
    (review_id,) = queue.hold([hold(categories=("sexual",))])
    approve(queue, review_id, "ann")
    ledger.erase("default/ann")
    assert queue.show(review_id).approvals == 1
    assert approve(queue, review_id, "bob").state is State.APPROVED


def test_what_nobody_decided_expires_and_is_destroyed(queue, clock):
    (review_id,) = queue.hold([hold()])
    clock.pass_s(31 * 86_400)
    assert queue.show(review_id).state is State.EXPIRED
    assert queue.list() == []
    with pytest.raises(ReviewRefused):
        queue.claim(review_id, reviewer="ann")
    with pytest.raises(ReviewRefused):
        queue.payload(review_id)
    assert queue.sweep() == 1


def test_appeal_and_escalation_go_one_level_up(queue):
    (review_id,) = queue.hold([hold()])
    queue.claim(review_id, reviewer="ann")
    assert queue.escalate(review_id, reviewer="ann", note="a politician?").needed == 2
    queue.claim(review_id, reviewer="bob")
    assert queue.decide(review_id, reviewer="bob", approve=False).state is State.REJECTED
    appealed = queue.appeal(review_id, by="mallory", note="it is a painting")
    assert (appealed.state, appealed.level, appealed.appealed) == (State.OPEN, 2, True)
    for name in ("ann", "bob", "mallory"):
        with pytest.raises(ReviewRefused):
            queue.claim(review_id, reviewer=name)
    assert approve(queue, review_id, "cyd", "dan").state is State.APPROVED


def test_reveal_needs_the_claim_and_is_on_record(queue, ledger):
    (review_id,) = queue.hold([hold()])
    with pytest.raises(ReviewRefused):
        queue.reveal(review_id, reviewer="ann")
    queue.claim(review_id, reviewer="ann")
    assert queue.reveal(review_id, reviewer="ann") == SECRET
    queue.decide(review_id, reviewer="ann", approve=False, labels={"violence": True})
    kinds = [event.kind for event in ledger.find_request("r-0")]
    assert kinds == ["review.opened", "review.claimed", "review.revealed", "review.decided"]
    assert ledger.find_request("r-0")[-1].body["seen"] is True


def test_some_pictures_are_never_kept(queue, ledger):
    kept, never = queue.hold([hold(), hold(1, categories=("sexual", "sexual/minors"))])
    assert kept
    assert never == ""
    assert ledger.find_request("r-1") == []


def test_a_full_queue_and_bad_labels_are_refused(tmp_path, ledger):
    small = ReviewQueue.open(
        tmp_path / "small.db", ledger=ledger, vault_key=KEY, rules=ReviewRules(most_open=1)
    )
    (review_id,) = small.hold([hold()])
    with pytest.raises(Unavailable, match="wait for review already"):
        small.hold([hold(1)])
    small.claim(review_id, reviewer="ann")
    with pytest.raises(UsageError, match="nothing was triggered"):
        small.decide(review_id, reviewer="ann", approve=False, labels={"hate": True})
    with pytest.raises(UsageError, match="id of its mark"):
        small.decide(review_id, reviewer="ann", approve=True)
    assert small.show(review_id).state is State.CLAIMED


def test_the_file_alone_can_approve_nothing(queue, tmp_path):
    one, two = queue.hold([hold(), hold(1)])
    db = sqlite3.connect(tmp_path / "reviews.db")
    db.execute("UPDATE held SET state = 'approved' WHERE review_id = ?", (one,))
    db.commit()
    assert queue.show(one).state is State.OPEN
    with pytest.raises(ReviewRefused):
        queue.release(one, events=left(queue.show(one)), sha256="cd" * 32, marked=b"m")
    # The sealed bytes of one in the place of another do not open.
    db.execute(
        "UPDATE held SET sealed = (SELECT sealed FROM held WHERE review_id = ?) WHERE review_id = ?",
        (two, one),
    )
    db.commit()
    with pytest.raises(LedgerTampered):
        queue.payload(one)
    db.execute("UPDATE held SET request_id = 'r-1' WHERE review_id = ?", (one,))
    db.commit()
    with pytest.raises(LedgerTampered):
        queue.show(one)
    db.close()


def test_a_step_that_the_ledger_could_not_take_did_not_happen(queue, ledger, monkeypatch):
    (review_id,) = queue.hold([hold()])

    def refuse(events):
        raise LedgerUnavailable("the disk is full")

    monkeypatch.setattr(ledger, "append", refuse)
    for step in (
        lambda: queue.claim(review_id, reviewer="ann"),
        lambda: queue.hold([hold(1)]),
    ):
        with pytest.raises(LedgerUnavailable):
            step()
    monkeypatch.undo()
    assert queue.show(review_id).state is State.OPEN
    assert [review.review_id for review in queue.list()] == [review_id]


def test_a_step_recorded_before_a_crash_counts_afterwards(queue, ledger, tmp_path, clock):
    (review_id,) = queue.hold([hold()])
    real = ledger.append

    def record_and_die(events):
        real(events)
        raise KeyboardInterrupt

    ledger.append = record_and_die
    try:
        with pytest.raises(KeyboardInterrupt):
            queue.claim(review_id, reviewer="ann")
    finally:
        ledger.append = real
    again = ReviewQueue.open(tmp_path / "reviews.db", ledger=ledger, vault_key=KEY, clock=clock)
    assert again.show(review_id).state is State.CLAIMED
    assert again.decide(review_id, reviewer="ann", approve=False).state is State.REJECTED


def test_what_was_kept_and_never_recorded_is_swept(queue, ledger, clock, monkeypatch):
    monkeypatch.setattr(ledger, "append", lambda events: (_ for _ in ()).throw(LedgerUnavailable("no")))
    with pytest.raises(LedgerUnavailable):
        queue.hold([hold()])
    monkeypatch.undo()
    assert queue.sweep() == 0
    clock.pass_s(3601)
    assert queue.sweep() == 1


def test_lists_filter_and_page(queue):
    queue.hold([hold(number) for number in range(105)])
    queue.hold([hold(200, categories=("hate",), tenant="other", subject="other/x")])
    assert len(queue.list(limit=200)) == 106
    assert len(queue.list(limit=7)) == 7
    assert [review.request_id for review in queue.list(category="hate", tenant="other")] == ["r-200"]


def test_rules_are_read_strictly(tmp_path):
    path = tmp_path / "reviews.json"
    assert ReviewRules.load(path) == ReviewRules()
    path.write_text('{"two_persons": ["hate"], "claim_s": 60}')
    rules = ReviewRules.load(path)
    assert (rules.approvals(("hate",)), rules.approvals(("sexual",)), rules.claim_s) == (2, 1, 60)
    for text in (
        "[]",
        "{",
        '{"claims": 3}',
        '{"claim_s": 1}',
        '{"claim_s": true}',
        '{"two_persons": ["sex"]}',
        '{"two_persons": "hate"}',
        '{"claim_s": 60, "claim_s": 61}',
    ):
        path.write_text(text)
        with pytest.raises(UsageError):
            ReviewRules.load(path)


def test_a_legal_hold_keeps_what_is_due(queue, ledger, clock):
    (review_id,) = queue.hold([hold()])
    placed = ledger.hold("case 7", by="p-1", request_id="r-0")
    clock.pass_s(31 * 86_400)
    assert queue.sweep() == 0
    ledger.release_hold(placed.hold_id, by=("p-1", "p-2"), reason="closed")
    assert queue.sweep() == 1
    assert queue.show(review_id).state is State.EXPIRED


def test_what_lost_its_events_is_never_released(queue, ledger, clock):
    (review_id,) = queue.hold([hold()])
    approve(queue, review_id, "ann")
    ledger.prune(before=clock() + 1, kind="review.decided")
    for step in (
        lambda: queue.show(review_id),
        lambda: queue.payload(review_id),
        lambda: queue.claim(review_id, reviewer="bob"),
    ):
        with pytest.raises(ReviewRefused, match="pruned"):
            step()
    assert queue.list(states=tuple(State)) == []
    clock.pass_s(3601)
    assert queue.sweep() == 1
