"""The queue: every step is checked against the ledger, recorded there, and only then true.

State is never stored, it follows from the events; so whoever changes the queue's file can hide or lose an
item, and cannot approve one. One writing transaction of the file is the lock under which a step is checked
and recorded, for all threads and processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.audits.reviews._cases import Move, ReviewRefused, State, Step
from clearmark.audits.reviews._events import Held, is_picture, opened, personal_of, read, step_event
from clearmark.audits.reviews._records import PICTURE, Hold, Review
from clearmark.audits.reviews._rules import ReviewRules
from clearmark.audits.reviews._sealing import SALT_SIZE, Sealer
from clearmark.audits.reviews._shelf import Place, Shelf
from clearmark.audits.reviews._words import ANONYMOUS, checked_name, labels_of
from clearmark.core.errors import LedgerTampered, Unavailable, UsageError
from clearmark.core.events import Event
from clearmark.core.ids import uuid7

if TYPE_CHECKING:
    from clearmark.audits.ledger import Ledger, StoredEvent

__all__ = ["ReviewQueue"]

_NEW = "new"
_GONE = (State.RELEASED, State.EXPIRED, State.ERASED)
_DAY_US = 86_400_000_000
_ORPHAN_US = 3_600_000_000
_PAGE = 100


class ReviewQueue:
    """The items that wait for people. Safe to use from many threads and processes.

    >>> queue = ReviewQueue.open(folder / "reviews.db", ledger=ledger, vault_key=key)
    >>> (review_id,) = queue.hold([hold])
    >>> queue.claim(review_id, reviewer="alice")
    >>> queue.decide(review_id, reviewer="alice", approve=False, note="shows a real person")
    """

    def __init__(
        self, shelf: Shelf, *, ledger: Ledger, sealer: Sealer, rules: ReviewRules, clock: Callable[[], int]
    ) -> None:
        self._shelf = shelf
        self._ledger = ledger
        self._sealer = sealer
        self._clock = clock
        self.rules = rules

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        ledger: Ledger,
        vault_key: bytes,
        rules: ReviewRules | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> ReviewQueue:
        """Open the queue in the SQLite file `path`, making it if absent. `clock` gives microseconds.

        Raises:
            LedgerError: when the file cannot be opened, is damaged, or of another format.
        """
        return cls(
            Shelf(Path(path)),
            ledger=ledger,
            sealer=Sealer(vault_key),
            rules=rules or ReviewRules(),
            clock=clock,
        )

    def hold(self, holds: Sequence[Hold]) -> list[str]:
        """Seal items, keep them, and record that they wait; return their ids, in order.

        The id is empty for a picture of a category that is never held.

        Raises:
            Unavailable: when too many wait already. LedgerError: when it could not be made durable. Then
            none waits.
        """
        keep = [hold for hold in holds if not self._never(hold)]
        if not keep:
            return [""] * len(holds)
        if self._shelf.count((_NEW, State.OPEN, State.CLAIMED)) + len(keep) > self.rules.most_open:
            raise Unavailable(
                f"{self.rules.most_open:,} items wait for review already", hint="decide some of them first"
            )
        now = self._clock()
        due = now + self.rules.hold_days * _DAY_US
        places, sealed, events = [], [], []
        for hold in keep:
            review_id, event_id, salt = uuid7(), uuid7(), os.urandom(SALT_SIZE)
            actor = "" if hold.actor == ANONYMOUS else self._person(hold.tenant, hold.actor, review_id)
            places.append(
                Place(
                    review_id=review_id,
                    opened_event=event_id,
                    request_id=hold.request_id,
                    tenant=hold.tenant,
                    created_us=now,
                    due_us=due,
                    state=_NEW,
                    category=hold.categories[0] if hold.categories else "",
                )
            )
            sealed.append(self._sealer.seal(hold.payload, salt=salt, review_id=review_id, part="held"))
            needed = self.rules.approvals(hold.categories)
            events.append(
                opened(
                    hold,
                    review_id=review_id,
                    event_id=event_id,
                    needed=needed,
                    ts_us=now,
                    due_us=due,
                    salt=salt,
                    actor=actor,
                )
            )
        # Kept first, recorded second: what is on record as held must be there. What is kept and never
        # recorded cannot be opened by anybody, since its salt went with it, and `sweep` removes it.
        self._shelf.put(places, sealed)
        self._ledger.append(events)
        with self._shelf.writing() as db:
            for place in places:
                self._shelf.note(db, place.review_id, State.OPEN)
        ids = iter(place.review_id for place in places)
        return ["" if self._never(hold) else next(ids) for hold in holds]

    def show(self, review_id: str) -> Review:
        """Return one item as it stands now.

        Raises:
            UsageError: when there is none of that id. LedgerTampered: when its events do not hold together.
        """
        place = self._place(review_id)
        return self._read(place).review(review_id, self._clock())

    def list(
        self,
        *,
        states: Sequence[State] = (State.OPEN, State.CLAIMED),
        tenant: str | None = None,
        category: str | None = None,
        limit: int = 100,
    ) -> list[Review]:
        """Return items in those states, oldest first.

        Raises:
            LedgerTampered: when the events of one of them do not hold together.
        """
        gone = [state.value for state in _GONE if state in states]
        noted = [_NEW, *(state.value for state in State if state not in _GONE), *gone]
        found: list[Review] = []
        for place in self._places(noted, tenant=tenant, category=category):
            held = self._find(place)
            if held is None:
                continue
            review = held.review(place.review_id, self._clock())
            if review.state in states:
                found.append(review)
                if len(found) >= limit:
                    break
        return found

    def claim(self, review_id: str, *, reviewer: str) -> Review:
        """Take an item to decide it; a second claim by the same person extends the first.

        Raises:
            ReviewRefused: it is taken or decided, it is the reviewer's own, or they acted on it before.
        """
        return self._act(review_id, Move.CLAIM, reviewer)

    def decide(
        self,
        review_id: str,
        *,
        reviewer: str,
        approve: bool,
        note: str = "",
        labels: Mapping[str, bool] | None = None,
        mark_id: str = "",
    ) -> Review:
        """Approve or reject a claimed item. `labels` says by category whether it is a violation.

        Without `labels`, approving says that no triggering category was violated and rejecting that all were.
        `mark_id` names the mark that a picture will carry if this approval is the last one needed.
        """
        move = Move.APPROVE if approve else Move.REJECT
        return self._act(review_id, move, reviewer, note=note, labels=labels, mark_id=mark_id)

    def escalate(self, review_id: str, *, reviewer: str, note: str = "") -> Review:
        """Hand a claimed item up: two other persons must approve it then."""
        return self._act(review_id, Move.ESCALATE, reviewer, note=note)

    def appeal(self, review_id: str, *, by: str, note: str = "") -> Review:
        """Have a rejected item looked at once more, by two persons who have not decided it."""
        return self._act(review_id, Move.APPEAL, by, note=note)

    def reveal(self, review_id: str, *, reviewer: str) -> bytes:
        """Return what is held, to the reviewer who has claimed it; that it was looked at is on record."""
        review = self._act(review_id, Move.REVEAL, reviewer)
        return self.payload(review.review_id)

    def payload(self, review_id: str) -> bytes:
        """Return what is held, without a record: for a blurred preview, or to release it.

        Raises:
            ReviewRefused: when it was destroyed. LedgerTampered: when it is not what was held.
        """
        held = self._read(self._place(review_id))
        sealed = self._shelf.sealed(review_id)
        if held.salt is None or sealed is None:
            raise ReviewRefused(f"review {review_id} holds nothing any more", hint="it cannot be released")
        if held.case.state(self._clock()) is State.EXPIRED:
            raise ReviewRefused(f"review {review_id} has expired", hint="it cannot be released")
        return self._sealer.open(sealed, salt=held.salt, review_id=review_id, part="held")

    def release(
        self, review_id: str, *, events: Sequence[Event], sha256: str = "", marked: bytes = b""
    ) -> tuple[Review, bool]:
        """Record that an approved item leaves, once; return it, and whether this call was the one.

        For a picture, `marked` with the digest `sha256` is what leaves: it is kept first, then `events`
        (`review.released` among them) are recorded together, and the original is destroyed. Whoever comes
        later gets the same bytes from `marked`. For a request, the events say as what it is generated.

        Raises:
            ReviewRefused: when it is not approved.
        """
        held = self._read(self._place(review_id))
        if marked and held.salt is not None:
            self._shelf.put_marked(
                review_id,
                sha256,
                self._sealer.seal(marked, salt=held.salt, review_id=review_id, part=f"marked {sha256}"),
            )
        with self._shelf.writing() as db:
            held, review = self._now(review_id)
            if review.state is State.RELEASED:
                return review, False
            self._refuse_gone(review)
            now = max(self._clock(), held.case.last_us)
            held.case.after(Step(move=Move.RELEASE, ts_us=now))
            if is_picture(review) and not marked:
                raise UsageError("a picture leaves marked or not at all")
            self._ledger.append([replace(event, ts_us=now) for event in events])
            held, review = self._now(review_id)
            if review.state is not State.RELEASED:
                raise LedgerTampered(f"review {review_id} was released and is not on record as such")
            self._shelf.note(db, review_id, State.RELEASED)
            if not self._on_hold(review.request_id, review.tenant):
                self._shelf.destroy(db, review_id, keep=review.released_sha256)
        return review, True

    def marked(self, review_id: str) -> bytes:
        """Return the marked picture of a released review, until it is due to be destroyed.

        Raises:
            ReviewRefused: when it is not released, or not there any more.
        """
        held = self._read(self._place(review_id))
        sha256 = held.released_sha256
        sealed = self._shelf.marked(review_id, sha256) if sha256 else None
        if sealed is None or held.salt is None:
            raise ReviewRefused(f"review {review_id} has no marked picture", hint="release it first")
        return self._sealer.open(sealed, salt=held.salt, review_id=review_id, part=f"marked {sha256}")

    def sweep(self) -> int:
        """Destroy what expired, was erased, or is due after its release; return how many items that were.

        Erased items are unreadable already, since the ledger destroyed the salt of their key; this frees
        their space. What was kept and never recorded goes too, after an hour, and what lost its events to
        pruning. A legal hold on the ledger stops all but the erased from going.
        """
        swept = 0
        now = self._clock()
        for place in self._places([_NEW, *(state.value for state in State)]):
            with self._shelf.writing() as db:
                held = self._find(place)
                if held is None:
                    if now > place.created_us + _ORPHAN_US:
                        swept += self._shelf.remove(db, place.review_id)
                    continue
                self._shelf.note(db, place.review_id, held.review(place.review_id, now).state)
                over = now >= held.case.due_us and not self._on_hold(place.request_id, place.tenant)
                if held.salt is None or over:
                    swept += self._shelf.destroy(db, place.review_id)
        return swept

    def _act(
        self,
        review_id: str,
        move: Move,
        name: str,
        *,
        note: str = "",
        labels: Mapping[str, bool] | None = None,
        mark_id: str = "",
    ) -> Review:
        name = checked_name(name, note)
        with self._shelf.writing() as db:
            held, review = self._now(review_id)
            self._refuse_gone(review)
            now = max(self._clock(), held.case.last_us)
            step = Step(
                move=move,
                ts_us=now,
                person=self._person(review.tenant, name, review_id),
                until_us=now + self.rules.claim_s * 1_000_000 if move is Move.CLAIM else 0,
            )
            after = held.case.after(step)
            more: dict[str, Any] = {}
            marks: tuple[str, ...] = ()
            if move in {Move.APPROVE, Move.REJECT}:
                final = after.outcome is not None
                more = {
                    "final": final,
                    "approvals": len(after.approvals),
                    "needed": after.needed,
                    "level": after.level,
                    "appealed": after.appealed,
                    "seen": step.person in after.seen,
                    "what": review.what,
                    "categories": list(review.categories),
                    "labels": labels_of(review, move is Move.REJECT, labels or {}),
                }
                if final and move is Move.APPROVE and is_picture(review):
                    if not mark_id:
                        raise UsageError("the last approval of a picture needs the id of its mark")
                    marks = (mark_id,)
            elif move in {Move.ESCALATE, Move.APPEAL}:
                more = {"level": after.level, "needed": after.needed}
            self._ledger.append(
                [
                    step_event(
                        review,
                        step,
                        number=after.steps,
                        name=name,
                        note=note,
                        more=more,
                        mark_ids=marks,
                    )
                ]
            )
            held, review = self._now(review_id)
            self._shelf.note(db, review_id, review.state)
        return review

    def _now(self, review_id: str) -> tuple[Held, Review]:
        held = self._read(self._place(review_id))
        return held, held.review(review_id, self._clock())

    def _refuse_gone(self, review: Review) -> None:
        if review.state in {State.ERASED, State.EXPIRED}:
            raise ReviewRefused(f"the review is {review.state.value}", hint="nothing of it can be released")
        if review.state is not State.RELEASED and self._shelf.sealed(review.review_id) is None:
            raise ReviewRefused("what the review held is gone", hint="nothing of it can be released")

    def _place(self, review_id: str) -> Place:
        place = self._shelf.find(review_id)
        if place is None:
            raise UsageError(f"there is no review {review_id[:100]}", hint="clearmark review list shows them")
        return place

    def _places(
        self, states: Sequence[str], *, tenant: str | None = None, category: str | None = None
    ) -> Iterator[Place]:
        after = (-1, "")
        while page := self._shelf.page(
            states=states, tenant=tenant, category=category, after=after, most=_PAGE
        ):
            yield from page
            after = (page[-1].created_us, page[-1].review_id)

    def _find(self, place: Place) -> Held | None:
        """Return a review, or None for one that is not, not yet, or no longer on record."""
        events = self._ledger.find_request(place.request_id)
        known = any(event.event_id == place.opened_event for event in events)
        if (place.state == _NEW and not known) or _pruned(events):
            return None
        return self._read(place)

    def _read(self, place: Place) -> Held:
        found = self._ledger.find_request(place.request_id)
        if _pruned(found):
            # Without all of its events nobody can tell any more whether it was approved, or left before.
            raise ReviewRefused(
                f"the events of review {place.review_id} were pruned", hint="it cannot be released"
            )
        events = [event for event in found if event.body.get("review") == place.review_id]
        salt, actor = personal_of(self._ledger.personal(place.opened_event)) if events else (None, "")
        if not events or events[0].event_id != place.opened_event:
            raise LedgerTampered(f"review {place.review_id} is not the one that the ledger knows")
        return read(place.review_id, events, salt=salt, actor=actor)

    def _on_hold(self, request_id: str, tenant: str) -> bool:
        """Tell whether a legal hold may cover an item. One that is bounded by anything else may."""
        return any(
            hold.scope.get("request_id", request_id) == request_id
            and hold.scope.get("tenant", tenant) == tenant
            for hold in self._ledger.holds()
        )

    def _person(self, tenant: str, name: str, review_id: str) -> str:
        return self._sealer.person(f"{tenant}/{name}", review_id=review_id)

    def _never(self, hold: Hold) -> bool:
        return hold.what == PICTURE and not self.rules.never_held.isdisjoint(hold.categories)


def _pruned(events: Sequence[StoredEvent]) -> bool:
    return any(event.pruned and event.kind.startswith("review.") for event in events)
