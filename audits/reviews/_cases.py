"""The state of one review, as it follows from the steps on record. Pure: no clock, no disk.

    open ─claim─► claimed ─approve─► approved ─release─► released
      ▲             │  │  └─approve, one more person is needed─► open
      │             │  └────reject──► rejected ─appeal, once─► open, one level up
      └──the claim expires, or escalate, one level up

One level up means: two persons must approve, approvals so far do not count, and nobody who has acted before
acts again. After `due_us` nothing moves any more, so what was held can only be destroyed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from clearmark.core.errors import UsageError

__all__ = ["Case", "Move", "ReviewRefused", "State", "Step"]


class ReviewRefused(UsageError):
    """A step that a review does not allow: not claimed, decided already, one's own picture."""


class State(StrEnum):
    """Where a review stands."""

    OPEN = "open"
    CLAIMED = "claimed"
    APPROVED = "approved"
    REJECTED = "rejected"
    RELEASED = "released"
    EXPIRED = "expired"
    ERASED = "erased"

    @property
    def waits(self) -> bool:
        """Whether somebody still has to decide."""
        return self in {State.OPEN, State.CLAIMED}


class Move(StrEnum):
    """What a person, or in the end the system, does to a review."""

    CLAIM = "claim"
    REVEAL = "reveal"
    APPROVE = "approve"
    REJECT = "reject"
    ESCALATE = "escalate"
    APPEAL = "appeal"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: who (a keyed hash; empty for the system) did what, and when. `until_us` ends a claim."""

    move: Move
    ts_us: int
    person: str = ""
    until_us: int = 0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A review after some steps. Persons are keyed hashes; times are microseconds since 1970."""

    needed: int
    due_us: int
    actor: str = ""
    steps: int = 0
    last_us: int = 0
    level: int = 0
    approvals: tuple[str, ...] = ()
    acted: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    claimant: str = ""
    until_us: int = 0
    outcome: Move | None = None
    appealed: bool = False
    released: bool = False

    def state(self, now_us: int) -> State:
        """Return the state at `now_us`; a clock that runs backwards brings no claim back to life."""
        now = max(now_us, self.last_us)
        if self.released:
            return State.RELEASED
        if now >= self.due_us:
            return State.EXPIRED
        if self.outcome is not None:
            return State.APPROVED if self.outcome is Move.APPROVE else State.REJECTED
        return State.CLAIMED if self.claimant and now < self.until_us else State.OPEN

    def after(self, step: Step) -> Case:
        """Return the case after `step`.

        Raises:
            ReviewRefused: when it is not allowed now, or not to this person.
        """
        step = replace(step, ts_us=max(step.ts_us, self.last_us))
        changed = _MOVES[step.move](self, step)
        return replace(changed, steps=self.steps + 1, last_us=step.ts_us)

    def _must_be(self, state: State, step: Step) -> None:
        found = self.state(step.ts_us)
        if found is not state:
            raise ReviewRefused(f"the review is {found.value}, not {state.value}", hint=_HINTS.get(found, ""))

    def _claimed_by(self, step: Step) -> None:
        self._must_be(State.CLAIMED, step)
        if self.claimant != step.person:
            raise ReviewRefused("somebody else has claimed the review", hint="wait until the claim expires")

    def _up(self, step: Step) -> Case:
        return replace(
            self,
            level=self.level + 1,
            needed=max(2, self.needed),
            approvals=(),
            acted=self.acted | {step.person},
            claimant="",
            outcome=None,
        )


def _claim(case: Case, step: Step) -> Case:
    if not step.person or step.person == case.actor:
        raise ReviewRefused("nobody reviews their own request", hint="another person must")
    if case.state(step.ts_us) is State.CLAIMED and case.claimant == step.person:
        return replace(case, until_us=max(case.until_us, step.until_us))
    case._must_be(State.OPEN, step)
    if step.person in case.acted:
        raise ReviewRefused(
            "who has decided, escalated or appealed here before does not decide again",
            hint="another person must",
        )
    return replace(case, claimant=step.person, until_us=step.until_us)


def _reveal(case: Case, step: Step) -> Case:
    case._claimed_by(step)
    return replace(case, seen=case.seen | {step.person})


def _approve(case: Case, step: Step) -> Case:
    case._claimed_by(step)
    approvals = (*case.approvals, step.person)
    return replace(
        case,
        approvals=approvals,
        acted=case.acted | {step.person},
        claimant="",
        outcome=Move.APPROVE if len(approvals) >= case.needed else None,
    )


def _reject(case: Case, step: Step) -> Case:
    case._claimed_by(step)
    return replace(case, acted=case.acted | {step.person}, claimant="", outcome=Move.REJECT)


def _escalate(case: Case, step: Step) -> Case:
    case._claimed_by(step)
    return case._up(step)


def _appeal(case: Case, step: Step) -> Case:
    case._must_be(State.REJECTED, step)
    if case.appealed:
        raise ReviewRefused("the review has been appealed before", hint="the second decision stands")
    return replace(case._up(step), appealed=True)


def _release(case: Case, step: Step) -> Case:
    case._must_be(State.APPROVED, step)
    return replace(case, released=True)


_MOVES: dict[Move, Callable[[Case, Step], Case]] = {
    Move.CLAIM: _claim,
    Move.REVEAL: _reveal,
    Move.APPROVE: _approve,
    Move.REJECT: _reject,
    Move.ESCALATE: _escalate,
    Move.APPEAL: _appeal,
    Move.RELEASE: _release,
}

_HINTS = {
    State.OPEN: "claim it first",
    State.CLAIMED: "wait until the claim expires",
    State.APPROVED: "release it",
    State.REJECTED: "appeal, once",
    State.EXPIRED: "it waited too long and can only be destroyed",
}
