"""The review queue: what a policy wants people to look at, held sealed until they have decided.

>>> from clearmark.audits.reviews import ReviewQueue
"""

from __future__ import annotations

from clearmark.audits.reviews._cases import Case, Move, ReviewRefused, State, Step
from clearmark.audits.reviews._queue import ReviewQueue
from clearmark.audits.reviews._records import PICTURE, REQUEST, Hold, Review, Trigger
from clearmark.audits.reviews._rules import ReviewRules
from clearmark.audits.reviews._words import MAX_NOTE_CHARS

__all__ = [
    "MAX_NOTE_CHARS",
    "PICTURE",
    "REQUEST",
    "Case",
    "Hold",
    "Move",
    "Review",
    "ReviewQueue",
    "ReviewRefused",
    "ReviewRules",
    "State",
    "Step",
    "Trigger",
]
