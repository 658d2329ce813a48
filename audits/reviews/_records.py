"""What goes into the queue, and what it says about an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clearmark.audits.reviews._cases import State

__all__ = ["PICTURE", "REQUEST", "Hold", "Review", "Trigger"]

PICTURE, REQUEST = "picture", "request"
"""What is held: a picture that was made, or a request that nothing was made from yet."""


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A measurement that led to the review: which guard saw which category, how strongly (micro-units)."""

    category: str
    guard: str
    guard_version: str
    score: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "category": self.category,
            "guard": self.guard,
            "guard_version": self.guard_version,
            "score": self.score,
        }


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One item to hold. `payload` is opaque here; it is sealed before it touches a disk.

    `decision_event` is the event that withheld it, `sha256` the digest of a held picture, `obligation` what
    else the policy asked for (`allow`, `label`, `blur`) and has to be done before it leaves.
    """

    what: str
    request_id: str
    tenant: str
    actor: str = field(repr=False)
    subject: str = field(repr=False)
    stage: str
    categories: tuple[str, ...]
    rules: tuple[str, ...]
    triggers: tuple[Trigger, ...]
    decision_event: str
    payload: bytes = field(repr=False)
    index: int = 0
    sha256: str = ""
    obligation: str = "allow"


@dataclass(frozen=True, kw_only=True)
class Review:
    """One item as it stands now. Holds no personal data."""

    review_id: str
    request_id: str
    tenant: str
    state: State
    what: str
    stage: str
    categories: tuple[str, ...]
    rules: tuple[str, ...]
    triggers: tuple[Trigger, ...]
    index: int
    sha256: str
    obligation: str
    decision_event: str
    opened_event: str
    opened_us: int
    due_us: int
    needed: int
    approvals: int
    level: int
    appealed: bool
    claimed_until_us: int = 0
    mark_id: str = ""
    final_event: str = ""
    released_sha256: str = ""
    generated_as: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "review_id": self.review_id,
            "state": self.state.value,
            "what": self.what,
            "request_id": self.request_id,
            "tenant": self.tenant,
            "stage": self.stage,
            "categories": list(self.categories),
            "rules": list(self.rules),
            "triggers": [trigger.to_dict() for trigger in self.triggers],
            "index": self.index,
            "sha256": self.sha256,
            "approvals": self.approvals,
            "needed": self.needed,
            "level": self.level,
            "appealed": self.appealed,
            "opened_us": self.opened_us,
            "due_us": self.due_us,
            "claimed_until_us": self.claimed_until_us,
            "decision_event": self.decision_event,
            "opened_event": self.opened_event,
            "final_event": self.final_event,
            "mark_id": self.mark_id,
            "released_sha256": self.released_sha256,
            "generated_as": self.generated_as,
        }


def triggers_from(rows: Any) -> tuple[Trigger, ...]:
    """Read triggers from the body of an event."""
    items: list[Mapping[str, Any]] = list(rows)
    return tuple(
        Trigger(
            category=str(item["category"]),
            guard=str(item["guard"]),
            guard_version=str(item["guard_version"]),
            score=int(item["score"]),
        )
        for item in items
    )
