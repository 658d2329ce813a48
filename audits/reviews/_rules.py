"""How a platform reviews: who has to agree, how long things wait, and what is never kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.core.findings import CATEGORIES

__all__ = ["ReviewRules"]

_LIMITS = {
    "claim_s": (60, 86_400),
    "hold_days": (1, 365),
    "most_open": (1, 1_000_000),
}


@dataclass(frozen=True, kw_only=True)
class ReviewRules:
    """Who has to agree before something leaves, how long it waits, and what is never kept.

    Two different persons must approve in the categories of `two_persons`; one is enough to reject. A claim
    holds for `claim_s` seconds. What nobody has decided after `hold_days` is destroyed, never released.
    Pictures with a category of `never_held` are not kept: in many places having them is a crime by itself,
    for the reviewer too. No more than `most_open` items wait at a time.

    Raises:
        UsageError: for an unknown category or a number out of range.
    """

    two_persons: frozenset[str] = frozenset(
        {"sexual", "sexual/minors", "likeness/public-figure", "likeness/registered", "deception"}
    )
    never_held: frozenset[str] = frozenset({"sexual/minors"})
    claim_s: int = 900
    hold_days: int = 30
    most_open: int = 10_000

    def __post_init__(self) -> None:
        for name in ("two_persons", "never_held"):
            for category in sorted(getattr(self, name)):
                if category not in CATEGORIES:
                    raise UsageError(
                        f"review rules: {name}: unknown category {category!r}",
                        hint=f"one of {', '.join(CATEGORIES)}",
                    )
        for name, (low, high) in _LIMITS.items():
            number = getattr(self, name)
            if type(number) is not int or not low <= number <= high:
                raise UsageError(f"review rules: {name} must be a whole number from {low:,} to {high:,}")

    @classmethod
    def load(cls, path: Path) -> ReviewRules:
        """Read the JSON file at `path`; the defaults where there is none.

        Raises:
            UsageError: when it does not parse or holds anything that is not known.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{path}: {exc}", hint="make it readable, or remove it") from exc
        try:
            values = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"{path}: {exc}", hint="it must be one JSON object") from exc
        if not isinstance(values, dict):
            raise UsageError(f"{path}: it must be one JSON object")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise UsageError(
                f"{path}: unknown {', '.join(unknown)}", hint=f"known: {', '.join(sorted(known))}"
            )
        for name in {"two_persons", "never_held"} & values.keys():
            if not isinstance(values[name], list) or not all(isinstance(item, str) for item in values[name]):
                raise UsageError(f"{path}: {name} must be a list of categories")
            values[name] = frozenset(values[name])
        return cls(**values)

    def approvals(self, categories: tuple[str, ...]) -> int:
        """Return how many different persons must approve an item of these categories."""
        return 2 if self.two_persons.intersection(categories) else 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands there twice")
    return values
