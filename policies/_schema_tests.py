"""What a test in a policy file may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.core import CATEGORIES, Action, Task
from clearmark.policies._conditions import REQUEST_FIELDS
from clearmark.policies._nodes import Node
from clearmark.policies._schema_common import CATEGORY, STAGES, a_day, one_line
from clearmark.policies._shapes import (
    Bool,
    Choice,
    Faults,
    Integer,
    Key,
    ListOf,
    MapOf,
    Number,
    Obj,
    Shape,
    Text,
)

__all__ = ["TEST"]

_FACT_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
_TYPES: Mapping[str, Shape] = {
    "str": Text(longest=60),
    "int": Integer(low=0, high=1_000_000),
    "float": Number(low=0, high=1000),
    "bool": Bool(),
}


class _FactValue:
    """true, false, a number or text."""

    def check(self, node: Node, path: str, faults: Faults) -> bool | int | float | str | None:
        if node.kind in ("bool", "int", "float"):
            return node.value  # type: ignore[no-any-return]  # NOTE: the kind says its type
        return Text(what="true, false, a number or text", longest=256).check(node, path, faults)

    def schema(self) -> dict[str, Any]:
        return {"type": ["boolean", "number", "string"]}


TEST = Obj(
    about="One made-up subject and the verdict it must get.",
    keys={
        "name": Key(required=True, about="What the test shows.", shape=one_line(200)),
        "given": Key(
            required=True,
            about="What the policy sees. A required category that is not named scores 0.",
            shape=Obj(
                keys={
                    "stage": Key(required=True, shape=Choice(STAGES)),
                    "day": Key(about="The day of the decision.", shape=a_day()),
                    "request": Key(
                        shape=Obj(
                            keys={
                                name: Key(
                                    shape=Choice(tuple(t.value for t in Task))
                                    if name == "task"
                                    else _TYPES[kind]
                                )
                                for name, kind in REQUEST_FIELDS.items()
                            }
                        )
                    ),
                    "scores": Key(shape=MapOf(keys=CATEGORIES, what="category", value=Number(low=0, high=1))),
                    "facts": Key(shape=MapOf(keys=_FACT_NAME, what="fact", value=_FactValue())),
                    "missing": Key(
                        about="Categories that no guard measured.", shape=ListOf(item=CATEGORY, unique=True)
                    ),
                    "failed": Key(
                        about="Categories whose guard failed.", shape=ListOf(item=CATEGORY, unique=True)
                    ),
                }
            ),
        ),
        "expect": Key(
            required=True,
            shape=Obj(
                keys={
                    "verdict": Key(required=True, shape=Choice(tuple(action.word for action in Action))),
                    "rule": Key(about="An enforced rule that must hold.", shape=one_line(200)),
                    "shadow": Key(about="A shadow rule that must hold.", shape=one_line(200)),
                }
            ),
        ),
    },
)
