"""What differs between two policies, item by item, and in which direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.policies.policy import Policy

__all__ = ["Change", "diff"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One item that differs: where, what it was, what it is now. None stands for absent."""

    path: str
    before: Any
    after: Any

    def render(self) -> str:
        """Return `path: before -> after`."""
        return f"{self.path}: {_word(self.before)} -> {_word(self.after)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"path": self.path, "before": self.before, "after": self.after}


def diff(before: Policy, after: Policy) -> list[Change]:
    """Return every item of the resolved policies that differs, in order. Scores are in micro-units."""
    return list(_walk("", _keyed(before.to_dict()), _keyed(after.to_dict())))


def _keyed(form: dict[str, Any]) -> dict[str, Any]:
    """Rules by id, so that a rule put in front does not change all behind it."""
    return {**form, "rules": {rule["id"]: rule for rule in form["rules"]}}


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _walk(f"{path}.{key}" if path else key, before.get(key), after.get(key))
    elif before != after:
        yield Change(path=path, before=before, after=after)


def _word(value: Any) -> str:
    return "absent" if value is None else str(value)
