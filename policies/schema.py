"""Policy file v1: its keys, what they mean, and what they may hold.

The one description from which files are checked and the JSON Schema for editors is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from clearmark.core import CATEGORIES, Action, Stage, Task
from clearmark.policies._conditions import MAX_CHARS, REQUEST_FIELDS, inspect_condition
from clearmark.policies._content import FORMAT
from clearmark.policies._nodes import Node
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
    OneOf,
    Shape,
    Text,
)
from clearmark.policies.rules import MINORS, MINORS_CEILING, ON_ERROR, STAGE_ACTIONS

__all__ = ["POLICY", "json_schema"]

STAGES = tuple(stage.value for stage in Stage)
_CATEGORY = Choice(CATEGORIES)
_LEAST, _MOST = 0.01, 0.99


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of policy files, for editors and other checkers."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clearmark policy file v1",
        **POLICY.schema(),
    }


def _day(node: Node, path: str, faults: Faults) -> None:
    try:
        dt.date.fromisoformat(node.value)
    except ValueError:
        faults.add(node, path, f"{node.value!r} is no day of the calendar")


def _condition(node: Node, path: str, faults: Faults) -> None:
    for problem in inspect_condition(node.value):
        faults.add(node, path, problem.message, offset=problem.at)


def _date(what: str) -> Text:
    return Text(what=what, pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}", longest=10, inspect=_day)


def _line(longest: int = 300) -> Text:
    return Text(what="text on one line", pattern=r"[^\x00-\x1f\x7f\u2028\u2029]+", longest=longest)


class _Bands:
    """A score (block from there on), or a map of actions to scores."""

    def __init__(self, stage: Stage) -> None:
        self.words = tuple(action.word for action in STAGE_ACTIONS[stage])
        number = Number(low=_LEAST, high=_MOST)
        self.shape: Shape = OneOf(
            simple=number, complex=MapOf(keys=self.words, what=f"action at stage {stage.value}", value=number)
        )

    def check(self, node: Node, path: str, faults: Faults) -> dict[str, float] | None:
        value = self.shape.check(node, path, faults)
        if value is None:
            return None
        bands = value if isinstance(value, dict) else {"block": value}
        if path.endswith(f".{MINORS}"):
            self._minors(bands, node, path, faults)
        where = {key.value: child for key, child in node.value} if node.kind == "map" else {}
        ordered = sorted(bands.items(), key=lambda item: -Action.parse(item[0]))
        for (strong, high), (mild, low) in pairwise(ordered):
            if low >= high:
                message = f"never reached: {strong} holds from {high:g} on; give {mild} a lower score"
                faults.add(where[mild], f"{path}.{mild}", message)
        return bands

    def _minors(self, bands: dict[str, float], node: Node, path: str, faults: Faults) -> None:
        if set(bands) != {"block"}:
            faults.add(node, path, f"{MINORS} is always blocked: give one score")
        elif bands["block"] * 1_000_000 > MINORS_CEILING:
            faults.add(node, path, f"{MINORS} is blocked from {MINORS_CEILING / 1e6:g} on at the latest")

    def schema(self) -> dict[str, Any]:
        return self.shape.schema()


def _stages(of: Mapping[Stage, Shape], about: str) -> Obj:
    return Obj(
        keys={stage.value: Key(shape=of[stage]) for stage in Stage},
        about=about,
        then=lambda _values, nodes, node, path, faults: (
            None if nodes else faults.add(node, path, "an empty map says nothing: leave it out")
        ),
    )


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


_REASON = {
    "code": Key(
        about="Code for reports, such as NCII-01.",
        shape=Text(what="a code", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*", longest=60),
    ),
    "public": Key(about="What a refused user reads.", shape=_line()),
    "dsa": Key(
        about="Keyword of the DSA transparency database.",
        shape=Text(what="a keyword such as KEYWORD_…", pattern=r"[A-Z][A-Z0-9_]*", longest=100),
    ),
}
_LEGAL = Key(
    about="Citations, such as EU/2024/1689#50.2.",
    shape=ListOf(
        item=Text(what="a citation", pattern=r"[A-Za-z0-9][^\s]*", longest=120), most=20, unique=True
    ),
)
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
        "category": Key(about="The category that reasons and reports name.", shape=_CATEGORY),
        "mode": Key(about="enforce (default), shadow (on record only) or off.", shape=Choice(_MODES)),
        "expires": Key(about="The day (UTC) from which the rule is enforced again.", shape=_date("a day")),
        "on_error": Key(about="What an evaluation fault means; block by default.", shape=Choice(ON_ERROR)),
        "reason": Key(about="Words and codes of the reason.", shape=Obj(keys=_REASON)),
        "legal": _LEGAL,
    },
    then=_rule,
    hints={
        "if": " (did you mean when?)",
        "condition": " (did you mean when?)",
        "name": " (did you mean id?)",
        "enabled": ": write mode: off, with expires",
    },
)

_ON = ": on unless {} says otherwise"


def _marking(
    values: dict[str, Any], nodes: Mapping[str, Node], _node: Node, path: str, faults: Faults
) -> None:
    for layer in ("metadata", "watermark", "manifest"):
        if values.get(f"unsafe_no_{layer}") and layer in nodes:
            faults.add(nodes[layer], f"{path}.{layer}", f"contradicts unsafe_no_{layer}")


def _layer(name: str, about: str, keys: Mapping[str, Key]) -> Key:
    off = f"write unsafe_no_{name}: true to leave this layer out"
    return Key(about=about, shape=OneOf(simple=Bool(only=True, why=off), complex=Obj(keys=keys)))


_UNSAFE = Bool(only=True, why="leave the key out instead")

MARKING = Obj(
    about="What is written into released pictures. Every layer but the visible label is on by default.",
    keys={
        "label": Key(
            about="The visible label; true for every picture, false for those whose verdict is label.",
            shape=OneOf(
                simple=Bool(),
                complex=Obj(
                    keys={
                        "show": Key(
                            about="On every picture, or where the verdict is label.",
                            shape=Choice(("always", "when-asked")),
                        ),
                        "text": Key(about="The words.", shape=_line(60)),
                        "font": Key(
                            about="A TrueType file, for words that the built-in font has no letters for.",
                            shape=_line(500),
                        ),
                        "position": Key(
                            about="The corner.",
                            shape=Choice(("top-left", "top-right", "bottom-left", "bottom-right")),
                        ),
                    }
                ),
            ),
        ),
        "metadata": _layer(
            "metadata",
            "IPTC and XMP.",
            {"aigc": Key(about="Add the AIGC label of GB 45438-2025.", shape=Bool())},
        ),
        "watermark": _layer(
            "watermark",
            "The invisible watermark.",
            {
                "codec": Key(
                    about="A codec's name, or auto.",
                    shape=Text(what="a codec's name", pattern=r"[a-z0-9][a-z0-9_-]*", longest=60),
                )
            },
        ),
        "manifest": _layer(
            "manifest",
            "The signed C2PA manifest.",
            {
                "training": Key(
                    about="What it says on training with the picture.",
                    shape=Choice(("allowed", "notAllowed", "constrained")),
                )
            },
        ),
        "unsafe_no_metadata": Key(about="Leave the metadata out.", shape=_UNSAFE),
        "unsafe_no_watermark": Key(about="Leave the watermark out.", shape=_UNSAFE),
        "unsafe_no_manifest": Key(about="Leave the manifest out.", shape=_UNSAFE),
    },
    then=_marking,
)

_WORD = r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"
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
        "name": Key(required=True, about="What the test shows.", shape=_line(200)),
        "given": Key(
            required=True,
            about="What the policy sees. A required category that is not named scores 0.",
            shape=Obj(
                keys={
                    "stage": Key(required=True, shape=Choice(STAGES)),
                    "day": Key(about="The day of the decision.", shape=_date("a day")),
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
                    "facts": Key(shape=MapOf(keys=_WORD, what="fact", value=_FactValue())),
                    "missing": Key(
                        about="Categories that no guard measured.", shape=ListOf(item=_CATEGORY, unique=True)
                    ),
                    "failed": Key(
                        about="Categories whose guard failed.", shape=ListOf(item=_CATEGORY, unique=True)
                    ),
                }
            ),
        ),
        "expect": Key(
            required=True,
            shape=Obj(
                keys={
                    "verdict": Key(required=True, shape=Choice(tuple(action.word for action in Action))),
                    "rule": Key(about="An enforced rule that must hold.", shape=_line(200)),
                    "shadow": Key(about="A shadow rule that must hold.", shape=_line(200)),
                }
            ),
        ),
    },
)


class _Unique:
    """A list of maps with one key that is unique over the list."""

    def __init__(self, item: Shape, key: str, most: int) -> None:
        self.inner = ListOf(item=item, most=most)
        self.key = key

    def check(self, node: Node, path: str, faults: Faults) -> list[Any] | None:
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
        return self.inner.schema()


_PARENT = Obj(
    keys={
        "policy": Key(
            required=True,
            about="A shipped profile's name, or a path relative to this file.",
            shape=_line(300),
        ),
        "digest": Key(
            required=True,
            about="The digest that `policy show` prints: what is extended cannot change unseen.",
            shape=Text(what="a digest such as sha256:…", pattern=r"sha256:[0-9a-f]{64}", longest=71),
        ),
    }
)

_OVERRIDE = Obj(
    about="One item by which this policy lets through more than what it extends.",
    keys={
        "path": Key(
            required=True,
            about="The item, such as thresholds.prompt.violence or rules.large-batch.",
            shape=Text(what="a path", pattern=r"[A-Za-z][A-Za-z0-9_./-]*", longest=200),
        ),
        "reason": Key(required=True, about="Why.", shape=_line(500)),
        "approved_by": Key(required=True, about="Who answers for it.", shape=_line(200)),
    },
)


def _policy(
    _values: dict[str, Any], nodes: Mapping[str, Node], node: Node, path: str, faults: Faults
) -> None:
    if "overrides" in nodes and "extends" not in nodes:
        faults.add(nodes["overrides"], "overrides", "nothing is extended, so there is nothing to loosen")
    if not {"thresholds", "rules", "extends"} & set(nodes):
        faults.add(node, path, "an empty policy decides nothing: give thresholds or rules")


POLICY = Obj(
    about="What is let through, what is not, and what is written into released pictures.",
    keys={
        "schema": Key(required=True, about="The version of the format.", shape=Choice((FORMAT,))),
        "name": Key(
            required=True,
            about="The policy's name.",
            shape=Text(what="a name such as acme-kids", pattern=r"[a-z0-9][a-z0-9-]*", longest=60),
        ),
        "version": Key(
            required=True,
            about="The policy's version, in quotes.",
            shape=Text(what="a version", pattern=r"[A-Za-z0-9][A-Za-z0-9.+_-]*", longest=60),
        ),
        "description": Key(about="What the policy is for.", shape=Text(longest=2000)),
        "owner": Key(about="Who answers for it.", shape=_line(200)),
        "effective": Key(about="The day from which it is meant to be used.", shape=_date("a day")),
        "extends": Key(
            about="What this policy is built on, pinned by digest; of several, the strictest of each item.",
            shape=OneOf(simple=ListOf(item=_PARENT, most=8), complex=_PARENT),
        ),
        "overrides": Key(
            about="What this policy loosens, each item with its reason and who approved it.",
            shape=_Unique(_OVERRIDE, "path", 100),
        ),
        "requires": Key(
            about="Categories that must have been measured; without their score nothing is released.",
            shape=_stages(
                {stage: ListOf(item=_CATEGORY, unique=True) for stage in Stage},
                "By stage. Without this key: every category that has a threshold at the stage.",
            ),
        ),
        "on_error": Key(
            about="What a guard that failed or a required score that is missing means; block by default.",
            shape=Choice(ON_ERROR),
        ),
        "thresholds": Key(
            about="By stage and category: the score from which on it is blocked, or actions with scores.",
            shape=_stages(
                {stage: MapOf(keys=CATEGORIES, what="category", value=_Bands(stage)) for stage in Stage},
                "By stage.",
            ),
        ),
        "rules": Key(about="Rules, evaluated in order.", shape=_Unique(RULE, "id", 500)),
        "reasons": Key(
            about="By category: the words and codes of the reasons that thresholds give.",
            shape=MapOf(keys=CATEGORIES, what="category", value=Obj(keys={**_REASON, "legal": _LEGAL})),
        ),
        "marking": Key(about="What is written into released pictures.", shape=MARKING),
        "regenerate": Key(
            about="How often a picture may be made again before it is blocked.",
            shape=Obj(keys={"attempts": Key(required=True, shape=Integer(low=0, high=10))}),
        ),
        "retention": Key(
            about="By kind of event (or default): how long records are kept, such as P6M.",
            shape=MapOf(
                keys=r"default|erasure|[a-z]+\.(?:[a-z-]+|\*)",
                what="kind of event (or default)",
                value=Text(
                    what="a period such as P30D, P6M or P1Y", pattern=r"P[1-9][0-9]{0,3}[DMY]", longest=6
                ),
            ),
        ),
        "tests": Key(about="Tests that `policy test` runs.", shape=_Unique(TEST, "name", 500)),
    },
    then=_policy,
    hints={"apiVersion": " (did you mean schema?)", "threshold": " (did you mean thresholds?)"},
)
