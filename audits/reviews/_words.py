"""What a reviewer may say: their name and note, and the labels that tell how right a guard was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.audits.reviews._records import Review
from clearmark.core.errors import UsageError

__all__ = ["ANONYMOUS", "MAX_NOTE_CHARS", "checked_name", "labels_of"]

MAX_NOTE_CHARS = 4000
"""Longest note of a reviewer."""

MAX_NAME_CHARS = 200
"""Longest name of a reviewer."""

ANONYMOUS = "anonymous"
"""Who asked when nobody says who they are; nobody reviews under that name."""


def labels_of(review: Review, violation: bool, said: Mapping[str, bool]) -> list[dict[str, Any]]:
    """Return, per guard that triggered a review, whether it was right: as `said`, else `violation`."""
    known = {trigger.category for trigger in review.triggers}
    if unknown := sorted(said.keys() - known):
        raise UsageError(
            f"nothing was triggered by {', '.join(unknown)}", hint=f"triggered by: {', '.join(sorted(known))}"
        )
    return [
        {
            "category": trigger.category,
            "guard": trigger.guard,
            "guard_version": trigger.guard_version,
            "violation": said.get(trigger.category, violation),
        }
        for trigger in review.triggers
    ]


def checked_name(name: str, note: str) -> str:
    """Return the name without space around it.

    Raises:
        UsageError: when nobody can be called that, or the note is too long.
    """
    plain = name.strip()
    if not plain or len(plain) > MAX_NAME_CHARS or not plain.isprintable() or plain.casefold() == ANONYMOUS:
        raise UsageError(
            "a reviewer needs a name of 1 to 200 printable characters, and not `anonymous`",
            hint="give --reviewer, or set CLEARMARK_REVIEWER",
        )
    if len(note) > MAX_NOTE_CHARS:
        raise UsageError(f"a note has at most {MAX_NOTE_CHARS:,} characters")
    return plain
