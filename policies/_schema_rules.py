"""What a rule may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.core import Action, Stage
from clearmark.policies._conditions import MAX_CHARS, inspect_condition
from clearmark.policies._nodes import Node
from clearmark.policies._schema_common import CATEGORY, LEGAL, REASON, STAGES, a_day
from clearmark.policies._shapes import Choice, Faults, Key, Obj, Text
from clearmark.policies.rules import ON_ERROR, STAGE_ACTIONS

__all__ = ["RULE"]


def _condition(node: Node, path: str, faults: Faults) -> None:
    for problem in inspect_condition(node.value):
        faults.add(node, path, problem.message, offset=problem.at)


def _rule(values: dict[str, Any], nodes: Mapping[str, Node], _node: Node, path: str, faults: Faults) -> None:
    if "stage" in values and "action" in values:
        allowed = [action.word for action in STAGE_ACTIONS[Stage(values["stage"])]]
        if values["action"] not in allowed:
            message = (
                f"{values['action']} is not possible at stage {values['stage']}; one of {', '.join(allowed)}"
            )
            faults.add(nodes["action"], f"{path}.action", message)
    mode = values.get("mode", "enforce")
    if mode != "enforce" and "expires" not in nodes:
        faults.add(nodes["mode"], f"{path}.mode", f"{mode} needs expires, the day from which it is enforced")
    if mode == "enforce" and "expires" in nodes:
        faults.add(nodes["expires"], f"{path}.expires", "only for a rule whose mode is shadow or off")


_MODES = {"enforce": "it counts", "shadow": "it is only put on record", "off": "it is not evaluated"}

RULE = Obj(
    about="Where `when` holds at `stage`, the rule asks for `action`. The strongest action wins.",
    keys={
        "id": Key(
            required=True,
            about="Unique; it stands in every decision.",
            shape=Text(what="an id such as ncii-edit", pattern=r"[a-z0-9][a-z0-9._-]*", longest=80),
        ),
        "stage": Key(required=True, about="Where the rule is evaluated.", shape=Choice(STAGES)),
        "when": Key(
            required=True,
            about="CEL over request, scores, facts and stage, such as scores.sexual >= 0.4.",
            shape=Text(what="a condition", longest=MAX_CHARS, inspect=_condition),
        ),
        "action": Key(
            required=True,
            about="What the rule asks for.",
            shape=Choice(tuple(action.word for action in Action if action is not Action.ALLOW)),
        ),
        "category": Key(about="The category that reasons and reports name.", shape=CATEGORY),
        "mode": Key(about="enforce (default), shadow (on record only) or off.", shape=Choice(_MODES)),
        "expires": Key(about="The day (UTC) from which the rule is enforced again.", shape=a_day()),
        "on_error": Key(about="What an evaluation fault means; block by default.", shape=Choice(ON_ERROR)),
        "reason": Key(about="Words and codes of the reason.", shape=Obj(keys=REASON)),
        "legal": LEGAL,
    },
    then=_rule,
    hints={
        "if": " (did you mean when?)",
        "condition": " (did you mean when?)",
        "name": " (did you mean id?)",
        "enabled": ": write mode: off, with expires",
    },
)
