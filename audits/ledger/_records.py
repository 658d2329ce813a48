"""What the ledger gives back: records of events, and the report of a verification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["Check", "Erased", "LedgerReport", "Recorded", "StoredEvent"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """That an event is durable: its place in the log (from 0) and its leaf hash (hex)."""

    seq: int
    event_id: str
    leaf_hash: str
    ts_us: int


@dataclass(frozen=True, kw_only=True)
class StoredEvent(Recorded):
    """An event as it is on record. `envelope` holds the canonical bytes that `leaf_hash` is over."""

    kind: str
    request_id: str
    tenant: str
    envelope: bytes = field(repr=False)
    pruned: str = ""

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """The recorded body, with the commitments under `personal` and the mark ids under `mark_ids`.

        Empty once the event was pruned; `pruned` then names the event that records it.
        """
        if self.pruned:
            return {}
        body: Mapping[str, Any] = json.loads(self.envelope)["body"]
        return body

    @property
    def mark_ids(self) -> tuple[str, ...]:
        """The marks by which pictures lead here."""
        return tuple(self.body.get("mark_ids", ()))

    @property
    def personal_names(self) -> tuple[str, ...]:
        """The names of the personal values that were recorded with it."""
        return tuple(self.body.get("personal", ()))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "seq": self.seq,
            "event_id": self.event_id,
            "leaf_hash": self.leaf_hash,
            "ts_us": self.ts_us,
            "kind": self.kind,
            "request_id": self.request_id,
            "tenant": self.tenant,
            "body": self.body,
        }


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What an erasure did: its own event, and how many personal values are gone for good."""

    event: Recorded
    values: int


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a verification. `first_bad` is the first sequence number that it found wrong, if any."""

    name: str
    ok: bool
    detail: str
    first_bad: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {"name": self.name, "ok": self.ok, "detail": self.detail}
        if self.first_bad is not None:
            out["first_bad"] = self.first_bad
        return out


@dataclass(frozen=True, kw_only=True)
class LedgerReport:
    """The outcome of a verification. `root` is hex, over the events that could be read."""

    events: int
    root: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def tree_size(self) -> int:
        """Leaves of the tree that `root` is over."""
        return self.events

    @property
    def first_bad(self) -> int | None:
        """The first sequence number that is wrong; None when nothing is, or it cannot be told."""
        return min((check.first_bad for check in self.checks if check.first_bad is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "events": self.events,
            "tree_size": self.tree_size,
            "root": self.root,
            "first_bad": self.first_bad,
            "checks": [check.to_dict() for check in self.checks],
        }
