"""From an event to what is recorded of it: checked, completed, hashed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.audits.ledger._records import Recorded
from clearmark.audits.ledger._retention import RESERVED
from clearmark.audits.ledger._vault import COMMITMENT, DataKey, Vault
from clearmark.core.canonical import canonical_json
from clearmark.core.errors import UsageError
from clearmark.core.events import Event, envelope_tail

__all__ = ["MAX_ENVELOPE", "MAX_PERSONAL", "Entry", "record", "weigh"]

MAX_ENVELOPE = 1 << 20
"""Longest recorded event, in bytes."""

MAX_PERSONAL = 64 << 20
"""Most bytes of personal data of one event."""

MAX_MARKS = 10_000
_SIZED = (str, bytes, bytearray)
_TOKEN = re.compile(r"[!-~]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(slots=True)
class Entry:
    """One event on its way into the ledger. `envelope` and `leaf` are there once it is prepared."""

    event: Event
    envelope: bytes = b""
    leaf: bytes = b""
    _sealed: Sequence[dict[str, Any]] = ()

    @classmethod
    def of(cls, event: Event, *, own: bool = False) -> Entry:
        """Check an event; without personal data it is complete at once. `own` is set for the ledger's own.

        Raises:
            UsageError: when it is not an event that can be recorded.
        """
        _check(event)
        if event.kind in RESERVED and not own:
            raise UsageError(
                f"only the ledger itself records events of kind {event.kind}",
                hint="use the call that does it",
            )
        made = cls(event)
        # Stand-ins of the right length: what is wrong with an event must show before it joins a group.
        made._complete(dict.fromkeys(event.personal, COMMITMENT + "0" * 64) if event.personal else None)
        return made

    def prepare(self, key_of: Callable[[bytes], DataKey], vault: Vault) -> None:
        """Seal the personal data under the key that `key_of` returns, and complete the event."""
        event = self.event
        if not event.personal:
            return
        kind, name = ("subject", event.subject) if event.subject else ("request", event.request_id)
        key = key_of(vault.reference(kind, name))
        values = {name: bytes(value) for name, value in sorted(event.personal.items())}
        self._complete({name: key.commit(event.event_id, name, value) for name, value in values.items()})
        self._sealed = [
            {
                "name": name,
                "key_id": key.key_id,
                "sealed": key.seal(event.event_id, name, value),
                "erasure": None,
            }
            for name, value in values.items()
        ]

    def row(self, seq: int) -> tuple[Any, ...]:
        """Return the row of the event table, in the order of its columns."""
        event = self.event
        return (
            seq,
            event.event_id,
            event.ts_us,
            event.tenant,
            event.kind,
            event.request_id,
            self.envelope,
            self.leaf,
        )

    def personal_rows(self, seq: int) -> list[dict[str, Any]]:
        """Return the rows of the table of personal data."""
        return [{"seq": seq, **row} for row in self._sealed]

    def _complete(self, personal: dict[str, str] | None) -> None:
        event = self.event
        body = dict(event.body)
        if personal is not None:
            body["personal"] = personal
        if event.mark_ids:
            body["mark_ids"] = list(dict.fromkeys(event.mark_ids))
        tail = envelope_tail(event.event_id, event.kind, event.request_id, event.tenant, event.ts_us)
        self.envelope = b'{"body":' + canonical_json(body) + tail
        if len(self.envelope) > MAX_ENVELOPE:
            raise UsageError(
                f"an event of {len(self.envelope):,} bytes; at most {MAX_ENVELOPE:,} are recorded",
                hint="put large values into `personal`, or store their digest",
            )
        self.leaf = hash_leaf(self.envelope)


def weigh(event: Event) -> int:
    """Return about how many bytes of memory an event takes: its texts, and what else it has much of."""
    size = sum([len(value) if isinstance(value, _SIZED) else 100 for value in event.body.values()], 200)
    return size + sum(map(_length, event.personal.values())) if event.personal else size


def _length(value: object) -> int:
    return len(value) if isinstance(value, _SIZED) else 100


def record(entry: Entry, seq: int) -> Recorded:
    """Return the record of a prepared entry at its place."""
    event = entry.event
    return Recorded(seq=seq, event_id=event.event_id, leaf_hash=entry.leaf.hex(), ts_us=event.ts_us)


def _check(event: Event) -> None:
    # Frozen dataclasses do not check types, and what is recorded comes from outside.
    marks, body, personal = event.mark_ids, event.body, event.personal
    for token in (event.event_id, event.kind, *marks):
        if type(token) is not str or _TOKEN.fullmatch(token) is None:
            raise UsageError("event_id, kind and mark ids must be 1 to 200 visible ASCII characters")
    for text in (event.request_id, event.tenant):
        if type(text) is not str or not 1 <= len(text) <= 200 or not text.isprintable():
            raise UsageError("request_id and tenant of an event must be 1 to 200 printable characters")
    if type(event.ts_us) is not int or not 0 <= event.ts_us < 2**53:
        raise UsageError("ts_us must be microseconds since 1970")
    if len(marks) > MAX_MARKS:
        raise UsageError(f"an event has at most {MAX_MARKS:,} marks")
    if "personal" in body or ("mark_ids" in body and list(body["mark_ids"]) != list(marks)):
        raise UsageError("the ledger itself writes `personal` and `mark_ids` into the body of an event")
    if event.subject != "" and not _is_text(event.subject, 2000):
        raise UsageError("the subject of an event must be text of at most 2,000 characters")
    if personal:
        _check_personal(personal)


def _check_personal(personal: Mapping[str, bytes]) -> None:
    for name, value in personal.items():
        if not _is_text(name, 100) or not _NAME.fullmatch(name):
            raise UsageError("a name of personal data must be 1 to 100 letters, digits, dots, dashes")
        if not _is_bytes(value):
            raise UsageError(f"the personal value {name!r} must be bytes")
    if sum(len(value) for value in personal.values()) > MAX_PERSONAL:
        raise UsageError(f"an event has at most {MAX_PERSONAL:,} bytes of personal data")


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray)
