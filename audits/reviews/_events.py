"""Reviews as events: what is written of each step, and how the state follows from what is on record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.audits.reviews._cases import Case, Move, ReviewRefused, Step
from clearmark.audits.reviews._records import PICTURE, Hold, Review, triggers_from
from clearmark.core.errors import LedgerTampered
from clearmark.core.events import Event

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent

__all__ = ["KINDS", "Held", "opened", "personal_of", "read", "step_event"]

KINDS = {
    Move.CLAIM: "review.claimed",
    Move.REVEAL: "review.revealed",
    Move.APPROVE: "review.decided",
    Move.REJECT: "review.decided",
    Move.ESCALATE: "review.escalated",
    Move.APPEAL: "review.appealed",
}
_RELEASES = {"review.released", "review.generated"}


@dataclass(frozen=True)
class Held:
    """A review as read from the ledger. `salt` is None once the person who asked was erased."""

    case: Case
    body: Mapping[str, Any]
    opened: StoredEvent
    salt: bytes | None
    mark_id: str
    final_event: str
    released_sha256: str
    generated_as: str

    def review(self, review_id: str, now_us: int) -> Review:
        """Return what is said about it at `now_us`."""
        from clearmark.audits.reviews._cases import State

        state = self.case.state(now_us)
        if self.salt is None and state is not State.RELEASED:
            state = State.ERASED
        body, case = self.body, self.case
        return Review(
            review_id=review_id,
            request_id=self.opened.request_id,
            tenant=self.opened.tenant,
            state=state,
            what=body["what"],
            stage=body["stage"],
            categories=tuple(body["categories"]),
            rules=tuple(body["rules"]),
            triggers=triggers_from(body["triggers"]),
            index=body["index"],
            sha256=body["sha256"],
            obligation=body["obligation"],
            decision_event=body["decision_event"],
            opened_event=self.opened.event_id,
            opened_us=self.opened.ts_us,
            due_us=case.due_us,
            needed=case.needed,
            approvals=len(case.approvals),
            level=case.level,
            appealed=case.appealed,
            claimed_until_us=case.until_us if state is State.CLAIMED else 0,
            mark_id=self.mark_id,
            final_event=self.final_event,
            released_sha256=self.released_sha256,
            generated_as=self.generated_as,
        )


def opened(
    hold: Hold,
    *,
    review_id: str,
    event_id: str,
    needed: int,
    ts_us: int,
    due_us: int,
    salt: bytes,
    actor: str,
) -> Event:
    """Record that an item is held. Who asked, and the salt of its key, are personal data."""
    return Event(
        kind="review.opened",
        event_id=event_id,
        request_id=hold.request_id,
        tenant=hold.tenant,
        subject=hold.subject,
        ts_us=ts_us,
        body={
            "review": review_id,
            "what": hold.what,
            "stage": hold.stage,
            "categories": list(hold.categories),
            "rules": list(hold.rules),
            "triggers": [trigger.to_dict() for trigger in hold.triggers],
            "decision_event": hold.decision_event,
            "index": hold.index,
            "sha256": hold.sha256,
            "obligation": hold.obligation,
            "needed": needed,
            "due_us": due_us,
        },
        personal={"hold": json.dumps({"salt": salt.hex(), "actor": actor}).encode()},
    )


def personal_of(values: Mapping[str, bytes | None]) -> tuple[bytes | None, str]:
    """Return the salt and the hash of who asked; (None, "") when that person was erased."""
    value = values.get("hold")
    if value is None:
        return None, ""
    said = json.loads(value)
    return bytes.fromhex(said["salt"]), str(said["actor"])


def step_event(
    review: Review,
    step: Step,
    *,
    number: int,
    name: str,
    note: str = "",
    more: Mapping[str, Any] | None = None,
    mark_ids: tuple[str, ...] = (),
) -> Event:
    """Record a step: a person's name and words as their personal data, their keyed hash in the body."""
    body: dict[str, Any] = {"review": review.review_id, "step": number, "person": step.person}
    if step.move in {Move.APPROVE, Move.REJECT}:
        body["decision"] = step.move.value
    if step.move is Move.CLAIM:
        body["until_us"] = step.until_us
    personal = {"person": name.encode("utf-8", "surrogatepass")}
    if note:
        personal["note"] = note.encode("utf-8", "surrogatepass")
    return Event(
        kind=KINDS[step.move],
        request_id=review.request_id,
        tenant=review.tenant,
        subject=f"{review.tenant}/{name}",
        ts_us=step.ts_us,
        body=body | dict(more or {}),
        personal=personal,
        mark_ids=mark_ids,
    )


def read(review_id: str, events: Sequence[StoredEvent], *, salt: bytes | None, actor: str) -> Held:
    """Walk through the events of one review, as the ledger returned them, and return where it stands.

    Raises:
        LedgerTampered: when they are not what this module writes, or one of them was not allowed.
    """
    if not events or events[0].kind != "review.opened":
        raise LedgerTampered(f"review {review_id} does not begin with its opening")
    first = events[0]
    mark_id = final_event = released = generated = ""
    try:
        case = Case(
            needed=int(first.body["needed"]),
            due_us=int(first.body["due_us"]),
            actor=actor,
            last_us=first.ts_us,
        )
        for event in events[1:]:
            step = _step(event)
            if step is None:
                continue
            case = case.after(step)
            if case.outcome is not None and not final_event:
                final_event = event.event_id
                mark_id = event.mark_ids[0] if event.mark_ids else ""
            if case.outcome is None:
                final_event = mark_id = ""
            if step.move is Move.RELEASE:
                released = str((event.body.get("assets") or [""])[0])
                generated = str(event.body.get("generated_as", ""))
    except (KeyError, TypeError, ValueError, IndexError, ReviewRefused) as exc:
        raise LedgerTampered(
            f"the events of review {review_id} contradict each other",
            hint="nothing of it can be released; clearmark ledger show --request lists its events",
        ) from exc
    return Held(case, first.body, first, salt, mark_id, final_event, released, generated)


def _step(event: StoredEvent) -> Step | None:
    body = event.body
    if event.kind in _RELEASES:
        return Step(move=Move.RELEASE, ts_us=event.ts_us)
    if event.kind == "review.decided":
        move = {"approve": Move.APPROVE, "reject": Move.REJECT}[body["decision"]]
        return Step(move=move, ts_us=event.ts_us, person=body["person"])
    for move, kind in KINDS.items():
        if event.kind == kind:
            return Step(
                move=move, ts_us=event.ts_us, person=body["person"], until_us=int(body.get("until_us", 0))
            )
    if event.kind == "review.opened":
        raise ValueError("opened twice")
    return None


def is_picture(review: Review) -> bool:
    """Tell whether a picture is held, not a request."""
    return review.what == PICTURE
