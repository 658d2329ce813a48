"""What differs between two policies, item by item, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.policies._strictness import loosenings
from clearmark.policies.policy import Policy

__all__ = ["Change", "diff"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One item that differs: where, what it was, what it is now (None for absent), and in which direction.

    `direction` is `looser`, `stricter`, `unclear` (a condition changed: see `changed_inputs`), or empty where
    nothing depends on it, such as words.
    """

    path: str
    before: Any
    after: Any
    direction: str = ""

    def render(self) -> str:
        """Return `path: before -> after (direction)`."""
        note = f" ({self.direction})" if self.direction else ""
        return f"{self.path}: {_word(self.before)} -> {_word(self.after)}{note}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": self.path,
            "before": self.before,
            "after": self.after,
            "direction": self.direction,
        }


def diff(before: Policy, after: Policy) -> list[Change]:
    """Return every item of the resolved policies that differs, in order. Scores are in micro-units."""
    looser = {item.path for item in loosenings(before, after)}
    stricter = {item.path for item in loosenings(after, before)}
    changes = []
    for path, old, new in _walk("", _keyed(before.to_dict()), _keyed(after.to_dict())):
        up, down = _touches(path, stricter), _touches(path, looser)
        direction = "unclear" if up and down else "stricter" if up else "looser" if down else ""
        changes.append(Change(path=path, before=old, after=new, direction=direction))
    return changes


_WORDS = (".reason.", ".legal", ".category")


def _touches(path: str, items: set[str]) -> bool:
    if any(word in path for word in _WORDS):
        return False
    path = {"marking.metadata.aigc": "marking.metadata", "marking.label.show": "marking.label"}.get(
        path, path
    )
    return any(path == item or path.startswith(f"{item}.") for item in items)


def _keyed(form: dict[str, Any]) -> dict[str, Any]:
    """Rules by id, so that a rule put in front does not change all behind it."""
    return {**form, "rules": {rule["id"]: rule for rule in form["rules"]}}


def _walk(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _walk(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif before != after:
        yield path, before, after


def _word(value: Any) -> str:
    return "absent" if value is None else str(value)
