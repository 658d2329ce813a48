"""The end of reviews: what was approved leaves once, and what is over is destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clearmark.audits.reviews._cases import Move, ReviewRefused, State, Step
from clearmark.audits.reviews._events import is_picture
from clearmark.audits.reviews._reading import NEW, Reading
from clearmark.audits.reviews._records import Review
from clearmark.core.errors import LedgerTampered, UsageError
from clearmark.core.events import Event

__all__ = ["Leaving"]

_ORPHAN_US = 3_600_000_000


class Leaving(Reading):
    """Releasing and destroying."""

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
        for place in self._places([NEW, *(state.value for state in State)]):
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
