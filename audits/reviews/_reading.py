"""Reading reviews: where an item stands, what the ledger says of it, and whether that holds together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from clearmark.audits.reviews._cases import ReviewRefused, State
from clearmark.audits.reviews._events import Held, personal_of, read
from clearmark.audits.reviews._records import PICTURE, Hold, Review
from clearmark.audits.reviews._rules import ReviewRules
from clearmark.audits.reviews._sealing import Sealer
from clearmark.audits.reviews._shelf import Place, Shelf
from clearmark.core.errors import LedgerTampered, UsageError

if TYPE_CHECKING:
    from clearmark.audits.ledger import Ledger, StoredEvent

__all__ = ["NEW", "Reading"]

NEW = "new"
"""The state of what is kept and not yet on record."""

_PAGE = 100


class Reading:
    """What all of the queue stands on: the shelf with what is held, and the ledger with what was done."""

    def __init__(
        self, shelf: Shelf, *, ledger: Ledger, sealer: Sealer, rules: ReviewRules, clock: Callable[[], int]
    ) -> None:
        self._shelf = shelf
        self._ledger = ledger
        self._sealer = sealer
        self._clock = clock
        self.rules = rules

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
        if (place.state == NEW and not known) or _pruned(events):
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
