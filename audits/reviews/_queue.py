"""The queue: every step is checked against the ledger, recorded there, and only then true.

State is never stored, it follows from the events; so whoever changes the queue's file can hide or lose an
item, and cannot approve one. One writing transaction of the file is the lock under which a step is checked
and recorded, for all threads and processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.audits.reviews._cases import Move, ReviewRefused, State, Step
from clearmark.audits.reviews._events import is_picture, opened, step_event
from clearmark.audits.reviews._leaving import Leaving
from clearmark.audits.reviews._reading import NEW
from clearmark.audits.reviews._records import Hold, Review
from clearmark.audits.reviews._rules import ReviewRules
from clearmark.audits.reviews._sealing import SALT_SIZE, Sealer
from clearmark.audits.reviews._shelf import Place, Shelf
from clearmark.audits.reviews._words import ANONYMOUS, checked_name, labels_of
from clearmark.core.errors import Unavailable, UsageError
from clearmark.core.ids import uuid7

if TYPE_CHECKING:
    from clearmark.audits.ledger import Ledger

__all__ = ["ReviewQueue"]

_GONE = (State.RELEASED, State.EXPIRED, State.ERASED)
_DAY_US = 86_400_000_000


class ReviewQueue(Leaving):
    """The items that wait for people. Safe to use from many threads and processes.

    >>> queue = ReviewQueue.open(folder / "reviews.db", ledger=ledger, vault_key=key)
    >>> (review_id,) = queue.hold([hold])
    >>> queue.claim(review_id, reviewer="alice")
    >>> queue.decide(review_id, reviewer="alice", approve=False, note="shows a real person")
    """

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
        if self._shelf.count((NEW, State.OPEN, State.CLAIMED)) + len(keep) > self.rules.most_open:
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
                    state=NEW,
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
        noted = [NEW, *(state.value for state in State if state not in _GONE), *gone]
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
