"""Reading the bodies of events that anybody may have written: what is not as it should be is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent
    from clearmark.audits.reports._figures import Figure

__all__ = ["MOST_ROWS", "STAGES", "Table", "Tally", "is_review", "items", "text", "whole"]

MOST_ROWS = 2000
"""Most different keys that a figure counts apart; the rest is left out and counted as such."""

MOST_CHARS = 300

STAGES = {"prompt.decided": "prompt", "input.decided": "input-media", "output.decided": "output"}
"""The kinds of decisions, and their stage."""


class Tally(Protocol):
    """Counts while events pass by, in bounded memory, and says in the end what it counted."""

    def see(self, event: StoredEvent) -> None:
        """Take one event into account."""
        ...

    def figures(self) -> list[Figure]:
        """Return the figures."""
        ...


class Table:
    """Counts of rows by key, with a bound on how many keys there can be."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.left_out = 0

    def add(self, *key: str, count: int = 1) -> None:
        """Count `key`."""
        if key in self.counts or len(self.counts) < MOST_ROWS:
            self.counts[key] += count
        else:
            self.left_out += 1

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the keys with their counts, the most frequent first, then by key."""
        return [
            (*key, count) for key, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        ]


def text(value: Any) -> str:
    """Return what should be text as text of bounded length; nothing for anything else."""
    return value[:MOST_CHARS] if isinstance(value, str) else ""


def whole(value: Any) -> int:
    """Return what should be a count as a count; 0 for anything else."""
    return value if type(value) is int and value >= 0 else 0


def items(body: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of what should be a list of objects."""
    found = body.get(name)
    if isinstance(found, list):
        yield from (item for item in found if isinstance(item, dict))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return what should be an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def is_review(event: StoredEvent) -> bool:
    """Tell whether an event belongs to the way out after a review, not to the request's own way."""
    return event.body.get("review") is not None
