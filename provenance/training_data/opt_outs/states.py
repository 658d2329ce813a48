"""From many signals to one state. A reservation outweighs any number of permissions."""

from __future__ import annotations

from collections.abc import Sequence

from clearmark.provenance.training_data.items import Signal

__all__ = ["MAX_RAW", "quote", "state_of"]

MAX_RAW = 1000
"""Most characters of a raw signal that are kept."""


def state_of(signals: Sequence[Signal], *, looked: bool) -> str:
    """Return `reserved`, `allowed`, `none` (looked and found nothing said), or `unread` (nobody looked)."""
    if any(signal.reserved for signal in signals):
        return "reserved"
    if any(signal.reserved is False for signal in signals):
        return "allowed"
    return "none" if looked or signals else "unread"


def quote(raw: str) -> str:
    """Cut a raw signal to what is kept; control characters become spaces."""
    return "".join(char if char.isprintable() else " " for char in raw[:MAX_RAW])
