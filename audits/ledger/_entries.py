"""From an event to what is recorded of it: checked, completed, hashed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

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
_new_record = object.__new__
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
        body: Any = event.body
        if personal is not None or event.mark_ids or type(body) is not dict:
            body = dict(body)
            if personal is not None:
                body["personal"] = personal
            if event.mark_ids:
                body["mark_ids"] = list(dict.fromkeys(event.mark_ids))
        tail = envelope_tail(event.event_id, event.kind, event.request_id, event.tenant, event.ts_us)
        self.envelope = envelope = b'{"body":%b%b' % (canonical_json(body), tail)
        if len(envelope) > MAX_ENVELOPE:
            raise UsageError(
                f"an event of {len(envelope):,} bytes; at most {MAX_ENVELOPE:,} are recorded",
                hint="put large values into `personal`, or store their digest",
            )
        self.leaf = sha256(b"\x00" + envelope).digest()  # `hash_leaf`, without a call for each event


def weigh(event: Event) -> int:
    """Return about how many bytes of memory an event takes: its texts, and what else it has much of."""
    size = sum([len(value) if isinstance(value, _SIZED) else 100 for value in event.body.values()], 200)
    return size + sum(map(_length, event.personal.values())) if event.personal else size


def _length(value: object) -> int:
    return len(value) if isinstance(value, _SIZED) else 100


def record(entry: Entry, seq: int) -> Recorded:
    """Return the record of a prepared entry at its place."""
    event = entry.event
    # What its own __init__ does, which looks each field up in the frozen class and takes three times as long.
    made = _new_record(Recorded)
    made.__dict__.update(seq=seq, event_id=event.event_id, leaf_hash=entry.leaf.hex(), ts_us=event.ts_us)
    return made


def _check(event: Event) -> None:
    # Frozen dataclasses do not check types, and what is recorded comes from outside.
    marks, body, personal = event.mark_ids, event.body, event.personal
    if not (
        _is_token(event.event_id) and _is_token(event.kind) and (not marks or all(map(_is_token, marks)))
    ):
        raise UsageError("event_id, kind and mark ids must be 1 to 200 visible ASCII characters")
    if not (_is_line(event.request_id) and _is_line(event.tenant)):
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


def _is_token(value: object) -> bool:
    return type(value) is str and _TOKEN.fullmatch(value) is not None


def _is_line(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 200 and value.isprintable()


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray)
