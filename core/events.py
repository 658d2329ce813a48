"""The noun `Event`: one step of one request, as it is remembered. Event format v1."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clearmark.core.canonical import canonical_json, canonical_text
from clearmark.core.ids import uuid7

__all__ = ["SCHEMA_VERSION", "Event", "envelope_tail"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event. `body` is JSON without floats and without personal data.

    Personal data goes into `personal` (name to bytes): the ledger puts a salted commitment into the recorded
    body and keeps the bytes encrypted under the key of `subject`, so that erasing that key leaves every
    proof valid. `mark_ids` are the mark ids by which pictures lead back to this event.
    """

    kind: str
    request_id: str
    tenant: str = "default"
    body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    personal: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    subject: str = field(default="", repr=False)
    mark_ids: tuple[str, ...] = ()
    event_id: str = field(default_factory=uuid7)
    ts_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def envelope(self, body: Mapping[str, Any]) -> bytes:
        """Return the canonical bytes with `body` in place: what the ledger hashes and stores."""
        return canonical_json(
            {
                "body": body,
                "event_id": self.event_id,
                "kind": self.kind,
                "request_id": self.request_id,
                "schema_version": SCHEMA_VERSION,
                "tenant": self.tenant,
                "ts_us": self.ts_us,
            }
        )


def envelope_tail(event_id: str, kind: str, request_id: str, tenant: str, ts_us: int) -> bytes:
    """Return what stands behind the body in the canonical bytes of an event: all that is not the body.

    Canonical JSON sorts its keys, and `body` comes first.
    """
    text = canonical_text
    return (
        f',"event_id":{text(event_id)},"kind":{text(kind)},"request_id":{text(request_id)}'
        f',"schema_version":{SCHEMA_VERSION},"tenant":{text(tenant)},"ts_us":{ts_us}}}'
    ).encode("utf-8", "replace")
