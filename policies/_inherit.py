"""`extends`: a policy over others, tightened freely, loosened only where an override says why and by whom.

Several parents are joined to the strictest of each item, whatever their order; a stage of which one says
nothing is left to the others. The child then replaces single items: a threshold, a rule by its id, a layer.
Every item by which the child lets through more than one of its parents must have an override of its own; one
that loosens nothing is a fault, so that none lies in wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clearmark.core import Action, Stage
from clearmark.policies._build import build_content
from clearmark.policies._nodes import Node
from clearmark.policies._shapes import Faults
from clearmark.policies._strictness import Loosening, loosenings, period_days, strictest_on_error
from clearmark.policies.rules import MINORS

__all__ = ["Parent", "inherit"]

Values = dict[str, Any]
Parent = tuple[str, str, Values]
"""A parent: the name it is extended by, its digest, and its resolved values."""


def inherit(values: Values, node: Node, parents: Sequence[Parent], faults: Faults) -> Values:
    """Return the values of a child over its parents, after noting what it may not do."""
    base = _join([parent[2] for parent in parents], node, faults)
    out = _over(base, values)
    out["extended"] = [(name, digest) for name, digest, _ in parents]
    _check(out, [parent[2] for parent in parents], values, node, faults)
    return out


def _join(parents: Sequence[Values], node: Node, faults: Faults) -> Values:
    """Return the strictest of every item."""
    first, *others = parents
    out = dict(first)
    for other in others:
        out = {
            "thresholds": _join_thresholds(out.get("thresholds", {}), other.get("thresholds", {})),
            "requires": {
                stage.value: sorted({*out["requires"][stage.value], *other["requires"][stage.value]})
                for stage in Stage
            },
            "rules": _join_rules(out.get("rules", []), other.get("rules", []), node, faults),
            "reasons": {**other.get("reasons", {}), **out.get("reasons", {})},
            "on_error": strictest_on_error([out.get("on_error", "block"), other.get("on_error", "block")]),
            "marking": _join_marking(out.get("marking", {}), other.get("marking", {})),
            "regenerate": {"attempts": min(_attempts(out), _attempts(other))},
            "retention": _join_retention(out.get("retention", {}), other.get("retention", {})),
        }
    return out


def _attempts(values: Values) -> int:
    attempts: int = values.get("regenerate", {}).get("attempts", 0)
    return attempts


def _join_thresholds(one: Values, two: Values) -> Values:
    out: Values = {}
    for stage in {**one, **two}:
        rows = [one.get(stage, {}), two.get(stage, {})]
        out[stage] = {
            category: _join_bands([row[category] for row in rows if category in row])
            for category in {**rows[0], **rows[1]}
        }
    return out


def _join_bands(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    lowest: dict[str, float] = {}
    for row in rows:
        for word, score in row.items():
            lowest[word] = min(score, lowest.get(word, score))
    out: dict[str, float] = {}
    bound = 2.0
    for word, score in sorted(lowest.items(), key=lambda item: -Action.parse(item[0])):
        if score < bound:  # a milder action at or above a stronger one is never reached
            out[word] = bound = score
    return out


def _join_rules(one: list[Values], two: list[Values], node: Node, faults: Faults) -> list[Values]:
    out = {rule["id"]: rule for rule in one}
    for rule in two:
        if out.setdefault(rule["id"], rule) != rule:
            faults.add(_find(node, ["extends"]), "extends", f"rule {rule['id']} differs between the parents")
    return list(out.values())


def _join_marking(one: Values, two: Values) -> Values:
    out: Values = {**two, **one}
    for layer in ("metadata", "watermark", "manifest"):
        key = f"unsafe_no_{layer}"
        if key in out and not (key in one and key in two):
            del out[key]
            out[layer] = one.get(layer, two.get(layer, True))
    labels = [row["label"] for row in (one, two) if "label" in row]
    always = [label for label in labels if _always(label)]
    if labels:
        out["label"] = (always or labels)[0]
    aigc = [row["metadata"] for row in (one, two) if isinstance(row.get("metadata"), dict)]
    if any(settings.get("aigc") for settings in aigc):
        out["metadata"] = {**out.get("metadata", {})} if isinstance(out.get("metadata"), dict) else {}
        out["metadata"]["aigc"] = True
    marks = [row["watermark"] for row in (one, two) if isinstance(row.get("watermark"), dict)]
    if any(settings.get("latent") for settings in marks) and "unsafe_no_watermark" not in out:
        out["watermark"] = {**out.get("watermark", {})} if isinstance(out.get("watermark"), dict) else {}
        out["watermark"]["latent"] = True
    return out


def _always(label: Any) -> bool:
    return label.get("show", "always") == "always" if isinstance(label, dict) else bool(label)


def _join_retention(one: Mapping[str, str], two: Mapping[str, str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for kind in {**one, **two}:
        rows = [row.get(kind, row.get("default", "P1D")) for row in (one, two)]
        out[kind] = max(rows, key=period_days)
    return out


def _over(base: Values, child: Values) -> Values:
    """Return `child` over `base`, item by item."""
    out = {**base, **child}
    out.pop("tests", None)
    if "tests" in child:
        out["tests"] = child["tests"]
    # a parent's overrides are bound by its digest; here only the child's own stand
    for key in ("description", "owner", "effective", "overrides"):
        if key not in child:
            out.pop(key, None)
    out["thresholds"] = {
        stage: {**base.get("thresholds", {}).get(stage, {}), **child.get("thresholds", {}).get(stage, {})}
        for stage in {**base.get("thresholds", {}), **child.get("thresholds", {})}
    }
    out["requires"] = {}
    for stage in Stage:
        named = child.get("requires", {}).get(stage.value)
        more = child.get("thresholds", {}).get(stage.value, {})
        out["requires"][stage.value] = (
            sorted({*base["requires"][stage.value], *more}) if named is None else named
        )
    rules = {rule["id"]: rule for rule in base.get("rules", [])}
    rules |= {rule["id"]: rule for rule in child.get("rules", [])}
    out["rules"] = list(rules.values())
    out["reasons"] = {
        category: {**base.get("reasons", {}).get(category, {}), **child.get("reasons", {}).get(category, {})}
        for category in {**base.get("reasons", {}), **child.get("reasons", {})}
    }
    out["marking"] = _over_marking(base.get("marking", {}), child.get("marking", {}))
    out["retention"] = {**base.get("retention", {}), **child.get("retention", {})}
    return out


def _over_marking(base: Values, child: Values) -> Values:
    out: Values = dict(base)
    for key, value in child.items():
        under = base.get(key)
        out[key] = {**under, **value} if isinstance(value, dict) and isinstance(under, dict) else value
    for layer in ("metadata", "watermark", "manifest"):
        if layer in child:
            out.pop(f"unsafe_no_{layer}", None)
        elif f"unsafe_no_{layer}" in child:
            out.pop(layer, None)
    return out


def _check(out: Values, parents: Sequence[Values], child: Values, node: Node, faults: Faults) -> None:
    after = build_content(out)
    found: dict[str, Loosening] = {}
    contents = [build_content(parent) for parent in parents]
    covered = {f"thresholds.{stage.value}" for content in contents for stage in content.covered}
    for content in contents:
        for item in loosenings(content, after):
            if item.path not in covered:  # a parent that says nothing of a stage leaves it to the others
                found.setdefault(item.path, item)
    allowed = {row["path"]: index for index, row in enumerate(child.get("overrides", []))}
    for path, item in found.items():
        spot = _find(node, path.split("."))
        looser = f"looser than what it extends ({item.message})"
        if item.minors:
            faults.add(spot, path, f"{looser}: {MINORS} is never loosened")
        elif path not in allowed:
            faults.add(spot, path, f"{looser}: needs an override of {path}")
    for path, index in allowed.items():
        if path not in found:
            spot = _find(node, ["overrides", str(index), "path"])
            faults.add(spot, f"overrides[{index}].path", f"{path} is not looser than what it extends")


def _find(node: Node, steps: Sequence[str]) -> Node:
    """Return the node at `steps`, or the deepest one on the way there. Rules go by their id."""
    for step in steps:
        below = None
        if node.kind == "map":
            below = next((value for key, value in node.value if key.value == step), None)
        elif node.kind == "list":
            below = next(
                (item for i, item in enumerate(node.value) if step == str(i) or _id(item) == step), None
            )
        if below is None:
            return node
        node = below
    return node


def _id(node: Node) -> str:
    pairs = node.value if node.kind == "map" else ()
    return next((str(value.value) for key, value in pairs if key.value == "id"), "")
