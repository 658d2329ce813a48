"""The states of a review: a machine against its model, and what it must never allow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clearmark.audits.reviews import Case, Move, ReviewRefused, State, Step

PEOPLE = ["ann", "bob", "cyd", "dan", "eve", "me"]
SECOND = 1_000_000
DUE = 10_000 * SECOND


def case(needed=1, **values):
    return Case(needed=needed, due_us=DUE, actor="me", **values)


def walk(start, *steps):
    for move, person, at in steps:
        start = start.after(Step(move=move, person=person, ts_us=at * SECOND, until_us=(at + 900) * SECOND))
    return start


def test_one_person_approves_and_it_leaves_once():
    done = walk(case(), (Move.CLAIM, "ann", 1), (Move.APPROVE, "ann", 2))
    assert done.state(3 * SECOND) is State.APPROVED
    gone = walk(done, (Move.RELEASE, "", 3))
    assert gone.state(DUE * 2) is State.RELEASED
    with pytest.raises(ReviewRefused):
        walk(gone, (Move.RELEASE, "", 4))


def test_two_persons_are_two_persons():
    one = walk(case(needed=2), (Move.CLAIM, "ann", 1), (Move.APPROVE, "ann", 2))
    assert one.state(3 * SECOND) is State.OPEN
    with pytest.raises(ReviewRefused, match="before does not decide again"):
        walk(one, (Move.CLAIM, "ann", 3))
    assert walk(one, (Move.CLAIM, "bob", 3), (Move.APPROVE, "bob", 4)).state(5 * SECOND) is State.APPROVED
    assert walk(one, (Move.CLAIM, "bob", 3), (Move.REJECT, "bob", 4)).state(5 * SECOND) is State.REJECTED


def test_nobody_reviews_their_own():
    with pytest.raises(ReviewRefused, match="their own"):
        walk(case(), (Move.CLAIM, "me", 1))


def test_a_claim_keeps_others_out_until_it_expires():
    taken = walk(case(), (Move.CLAIM, "ann", 1))
    with pytest.raises(ReviewRefused):
        walk(taken, (Move.CLAIM, "bob", 2))
    with pytest.raises(ReviewRefused, match="somebody else"):
        walk(taken, (Move.APPROVE, "bob", 2))
    late = walk(taken, (Move.CLAIM, "bob", 901))
    with pytest.raises(ReviewRefused):
        walk(late, (Move.APPROVE, "ann", 902))


def test_what_waited_too_long_never_moves_again():
    for steps in ([], [(Move.CLAIM, "ann", 1)], [(Move.CLAIM, "ann", 1), (Move.APPROVE, "ann", 2)]):
        late = walk(case(), *steps)
        assert late.state(DUE) is State.EXPIRED
        for move in Move:
            with pytest.raises(ReviewRefused):
                walk(late, (move, "bob", DUE // SECOND))


def test_an_appeal_needs_two_others_and_comes_once():
    no = walk(case(), (Move.CLAIM, "ann", 1), (Move.REJECT, "ann", 2), (Move.APPEAL, "me", 3))
    with pytest.raises(ReviewRefused):
        walk(no, (Move.CLAIM, "ann", 4))
    again = walk(no, (Move.CLAIM, "bob", 4), (Move.APPROVE, "bob", 5), (Move.CLAIM, "cyd", 6))
    assert again.state(7 * SECOND) is State.CLAIMED
    assert walk(again, (Move.APPROVE, "cyd", 7)).state(8 * SECOND) is State.APPROVED
    with pytest.raises(ReviewRefused, match="appealed before"):
        walk(again, (Move.REJECT, "cyd", 7), (Move.APPEAL, "me", 8))


def test_a_clock_that_runs_backwards_revives_no_claim():
    late = walk(case(), (Move.CLAIM, "ann", 1), (Move.CLAIM, "bob", 1000))
    assert late.claimant == "bob"
    back = walk(late, (Move.APPROVE, "bob", 2))
    assert back.last_us == 1000 * SECOND


class Reviewing(RuleBasedStateMachine):
    """Random people do random things at random times; a plain model of the rules keeps count beside it."""

    def __init__(self):
        super().__init__()
        self.case = case(needed=2)
        self.now = 0
        self.approvals: list[str] = []  # since the last change of level
        self.acted: set[str] = set()
        self.level = 0
        self.rejected = self.released = False
        self.history: list[Move] = []

    def attempt(self, move, person):
        step = Step(move=move, person=person, ts_us=self.now, until_us=self.now + 900 * SECOND)
        before = self.case
        try:
            self.case = before.after(step)
        except ReviewRefused:
            assert self.case is before
            return False
        self.history.append(move)
        return True

    @rule(seconds=st.sampled_from([0, 1, 600, 1000, 6000]))
    def pass_time(self, seconds):
        self.now += seconds * SECOND

    @rule(person=st.sampled_from(PEOPLE))
    def claim(self, person):
        if self.attempt(Move.CLAIM, person):
            assert person != "me"
            assert person not in self.acted

    @rule(person=st.sampled_from(PEOPLE), approve=st.booleans())
    def decide(self, person, approve):
        held = self.case.claimant
        if self.attempt(Move.APPROVE if approve else Move.REJECT, person):
            assert person == held
            assert person != "me"
            assert person not in self.acted
            self.acted.add(person)
            if approve:
                self.approvals.append(person)
            else:
                self.rejected = True

    @rule(person=st.sampled_from(PEOPLE))
    def escalate(self, person):
        if self.attempt(Move.ESCALATE, person):
            assert person not in self.acted
            self.acted.add(person)
            self.approvals, self.level = [], self.level + 1

    @rule(person=st.sampled_from(PEOPLE))
    def appeal(self, person):
        if self.attempt(Move.APPEAL, person):
            assert self.rejected
            assert self.history.count(Move.APPEAL) == 1
            self.acted.add(person)
            self.approvals, self.rejected, self.level = [], False, self.level + 1

    @rule()
    def release(self):
        if self.attempt(Move.RELEASE, ""):
            assert not self.released
            self.released = True

    @precondition(lambda self: self.released)
    @invariant()
    def what_left_was_approved_by_two_others(self):
        assert len(set(self.approvals)) >= 2
        assert "me" not in self.approvals
        assert not self.rejected
        assert self.now < DUE or self.case.state(self.now) is State.RELEASED

    @invariant()
    def model_and_machine_agree(self):
        assert self.case.level == self.level
        assert list(self.case.approvals) == self.approvals
        assert self.case.released == self.released
        if not self.released and self.now >= DUE:
            assert self.case.state(self.now) is State.EXPIRED


TestReviewing = Reviewing.TestCase
TestReviewing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Move)), st.sampled_from(PEOPLE), st.integers(0, 12_000)), max_size=20
    )
)
@settings(max_examples=100, deadline=None)
def test_no_order_of_steps_releases_without_two_distinct_approvals(steps):
    at = case(needed=2)
    approved: set[str] = set()
    for move, person, when in steps:
        try:
            at = walk(at, (move, person, when))
        except ReviewRefused:
            continue
        if move in {Move.ESCALATE, Move.APPEAL}:
            approved.clear()
        if move is Move.APPROVE:
            approved.add(person)
    if at.released:
        assert len(approved) == 2
