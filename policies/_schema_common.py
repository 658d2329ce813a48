"""Shapes that several parts of a policy file share."""

from __future__ import annotations

import datetime as dt
from typing import Any

from clearmark.core import CATEGORIES, Stage
from clearmark.policies._nodes import Node
from clearmark.policies._shapes import Choice, Faults, Key, ListOf, Shape, Text

__all__ = ["CATEGORY", "LEGAL", "REASON", "STAGES", "Unique", "a_day", "one_line"]

STAGES = tuple(stage.value for stage in Stage)
CATEGORY = Choice(CATEGORIES)


def a_day() -> Text:
    """Return the shape of a day, `YYYY-MM-DD`."""
    return Text(what="a day", pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}", longest=10, inspect=_on_the_calendar)


def _on_the_calendar(node: Node, path: str, faults: Faults) -> None:
    try:
        dt.date.fromisoformat(node.value)
    except ValueError:
        faults.add(node, path, f"{node.value!r} is no day of the calendar")


def one_line(longest: int = 300) -> Text:
    """Return the shape of text without line breaks or control characters."""
    return Text(what="text on one line", pattern=r"[^\x00-\x1f\x7f\u2028\u2029]+", longest=longest)


REASON = {
    "code": Key(
        about="Code for reports, such as NCII-01.",
        shape=Text(what="a code", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", longest=60),
    ),
    "public": Key(about="What a refused user reads.", shape=one_line()),
    "dsa": Key(
        about="Keyword of the DSA transparency database.",
        shape=Text(what="a keyword such as KEYWORD_…", pattern=r"[A-Z][A-Z0-9_]*", longest=100),
    ),
}
LEGAL = Key(
    about="Citations, such as EU/2024/1689#50.2.",
    shape=ListOf(
        item=Text(what="a citation", pattern=r"[A-Za-z0-9][^\s]*", longest=120), most=20, unique=True
    ),
)


class Unique:
    """A list of maps with one key that is unique over the list."""

    def __init__(self, item: Shape, key: str, most: int) -> None:
        self.inner = ListOf(item=item, most=most)
        self.key = key

    def check(self, node: Node, path: str, faults: Faults) -> list[Any] | None:
        """Check the items, then that none has the key of an earlier one."""
        value = self.inner.check(node, path, faults)
        if value is None:
            return None
        seen: dict[str, int] = {}
        for index, child in enumerate(node.value):
            for name, text in child.value if child.kind == "map" else ():
                if name.value != self.key or text.kind != "str":
                    continue
                if text.value in seen:
                    message = f"{text.value[:80]!r} is taken by item {seen[text.value]}"
                    faults.add(text, f"{path}[{index}].{self.key}", message)
                seen.setdefault(text.value, index)
        return value

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema, which cannot say that a key is unique."""
        return self.inner.schema()
