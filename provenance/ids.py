"""The mark id: the one number that a picture's layers share."""

from __future__ import annotations

import re
import secrets

__all__ = ["is_mark_id", "new_mark_id"]

_MARK_ID = re.compile(r"[0-9a-f]{16}")


def new_mark_id() -> str:
    """Return 64 random bits from the operating system as 16 hex digits.

    Random, not counted: an id tells nothing about how many pictures were made, or when.
    """
    return secrets.token_hex(8)


def is_mark_id(text: str) -> bool:
    """Say whether `text` is 16 lower-case hex digits."""
    return _MARK_ID.fullmatch(text) is not None
