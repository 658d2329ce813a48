"""Policy file v1: its keys, what they mean, and what they may hold.

The one description from which files are checked and the JSON Schema for editors is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from clearmark.core import CATEGORIES, Action, Stage
from clearmark.policies._content import FORMAT
from clearmark.policies._nodes import Node
from clearmark.policies._schema_common import CATEGORY, LEGAL, REASON, Unique, a_day, one_line
from clearmark.policies._schema_marking import MARKING
from clearmark.policies._schema_rules import RULE
from clearmark.policies._schema_tests import TEST
from clearmark.policies._shapes import (
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

_LEAST, _MOST = 0.01, 0.99


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of policy files, for editors and other checkers."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clearmark policy file v1",
        **POLICY.schema(),
    }


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


_PARENT = Obj(
    keys={
        "policy": Key(
            required=True,
            about="A shipped profile's name, or a path relative to this file.",
            shape=one_line(300),
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
        "reason": Key(required=True, about="Why.", shape=one_line(500)),
        "approved_by": Key(required=True, about="Who answers for it.", shape=one_line(200)),
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
        "owner": Key(about="Who answers for it.", shape=one_line(200)),
        "effective": Key(about="The day from which it is meant to be used.", shape=a_day()),
        "extends": Key(
            about="What this policy is built on, pinned by digest; of several, the strictest of each item.",
            shape=OneOf(simple=ListOf(item=_PARENT, most=8), complex=_PARENT),
        ),
        "overrides": Key(
            about="What this policy loosens, each item with its reason and who approved it.",
            shape=Unique(_OVERRIDE, "path", 100),
        ),
        "requires": Key(
            about="Categories that must have been measured; without their score nothing is released.",
            shape=_stages(
                {stage: ListOf(item=CATEGORY, unique=True) for stage in Stage},
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
        "rules": Key(about="Rules, evaluated in order.", shape=Unique(RULE, "id", 500)),
        "reasons": Key(
            about="By category: the words and codes of the reasons that thresholds give.",
            shape=MapOf(keys=CATEGORIES, what="category", value=Obj(keys={**REASON, "legal": LEGAL})),
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
        "tests": Key(about="Tests that `policy test` runs.", shape=Unique(TEST, "name", 500)),
    },
    then=_policy,
    hints={"apiVersion": " (did you mean schema?)", "threshold": " (did you mean thresholds?)"},
)
