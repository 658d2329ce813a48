"""From checked values to the nouns of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from clearmark.core import Action, Stage, micro
from clearmark.policies._conditions import categories
from clearmark.policies._content import Content
from clearmark.policies.marking import Label, Manifest, Marking, Metadata, Watermark
from clearmark.policies.messages import REASONS, ReasonText
from clearmark.policies.rules import MINORS, MINORS_CEILING, Override, Rule, Threshold

__all__ = ["RETENTION", "build_content", "required", "unsafe_keys"]

RETENTION: Mapping[str, str] = MappingProxyType({"default": "P6M"})
"""Six months unless a policy says otherwise: the shortest that one of the laws we know asks for (China,
Labelling Measures, article 9)."""


def _thresholds(values: Mapping[str, Any]) -> Mapping[Stage, Mapping[str, Threshold]]:
    """Return the thresholds of every stage; `sexual/minors` is there even where the file does not name it."""
    out: dict[Stage, Mapping[str, Threshold]] = {}
    for stage in Stage:
        given: Mapping[str, Mapping[str, float]] = values.get("thresholds", {}).get(stage.value, {})
        found = {
            category: Threshold(
                category=category,
                stage=stage,
                bands=tuple(
                    sorted(
                        ((Action.parse(word), micro(score)) for word, score in bands.items()), reverse=True
                    )
                ),
            )
            for category, bands in given.items()
        }
        found.setdefault(
            MINORS, Threshold(category=MINORS, stage=stage, bands=((Action.BLOCK, MINORS_CEILING),))
        )
        out[stage] = MappingProxyType(dict(sorted(found.items())))
    return MappingProxyType(out)


def required(values: Mapping[str, Any]) -> Mapping[Stage, tuple[str, ...]]:
    """Return the categories that must have been measured at every stage.

    Where a stage is not named, those with a threshold in the file. The prompt stage always needs
    `sexual/minors`.
    """
    out: dict[Stage, tuple[str, ...]] = {}
    for stage in Stage:
        named = values.get("requires", {}).get(stage.value)
        needed = set(values.get("thresholds", {}).get(stage.value, {}) if named is None else named)
        if stage is Stage.PROMPT:
            needed.add(MINORS)
        out[stage] = tuple(sorted(needed))
    return MappingProxyType(out)


def _rules(values: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules in file order."""
    return tuple(
        Rule(
            id=row["id"],
            stage=Stage(row["stage"]),
            when=row["when"],
            action=Action.parse(row["action"]),
            category=row.get("category") or _category(row["when"]),
            mode=row.get("mode", "enforce"),
            expires=row.get("expires", ""),
            on_error=row.get("on_error", "block"),
            reason=ReasonText(**row.get("reason", {}), legal=tuple(row.get("legal", ()))),
        )
        for row in values.get("rules", ())
    )


def _category(condition: str) -> str:
    """The one category that a condition reads, if it is one."""
    found = categories(condition)
    return found[0] if len(found) == 1 else ""


def _reasons(values: Mapping[str, Any]) -> Mapping[str, ReasonText]:
    """Return the reason of every category: the file's words over our own."""
    out = dict(REASONS)
    for category, row in values.get("reasons", {}).items():
        base = out[category]
        out[category] = ReasonText(
            code=row.get("code", base.code),
            public=row.get("public", base.public),
            dsa=row.get("dsa", base.dsa),
            legal=tuple(row.get("legal", base.legal)),
        )
    return MappingProxyType(out)


def _marking(values: Mapping[str, Any]) -> Marking:
    """Return the marking; what the file leaves out is on, but for the visible label."""
    row: Mapping[str, Any] = values.get("marking", {})
    asked = row.get("label", False)
    settings = dict(asked) if isinstance(asked, Mapping) else {"show": "always" if asked else "when-asked"}
    show = settings.pop("show", "always")
    label = Label(**settings)
    return Marking(
        label=label if show == "always" else False,
        label_when_asked=label,
        metadata=False if "unsafe_no_metadata" in row else Metadata(**_settings(row, "metadata")),
        watermark=False if "unsafe_no_watermark" in row else Watermark(**_settings(row, "watermark")),
        manifest=False if "unsafe_no_manifest" in row else Manifest(**_settings(row, "manifest")),
    )


def _settings(row: Mapping[str, Any], layer: str) -> Mapping[str, Any]:
    value = row.get(layer, True)
    return value if isinstance(value, Mapping) else {}


def build_content(values: Mapping[str, Any]) -> Content:
    """Return what the resolved values of a policy file come to."""
    rules = _rules(values)
    return Content(
        covered=frozenset({*map(Stage, values.get("thresholds", {})), *(rule.stage for rule in rules)}),
        thresholds=_thresholds(values),
        requires=required(values),
        rules=rules,
        reasons=_reasons(values),
        marking=_marking(values),
        on_error=values.get("on_error", "block"),
        regenerate_attempts=values.get("regenerate", {}).get("attempts", 0),
        retention=MappingProxyType({**RETENTION, **values.get("retention", {})}),
        effective=values.get("effective", ""),
        overrides=tuple(Override(**row) for row in values.get("overrides", ())),
        extends=tuple(values.get("extended", ())),
    )


def unsafe_keys(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return where the policy opts out of something, such as `marking.unsafe_no_watermark`."""
    out = [f"marking.{key}" for key in values.get("marking", {}) if key.startswith("unsafe_")]
    if values.get("on_error") == "unsafe_allow":
        out.append("on_error: unsafe_allow")
    out.extend(
        f"rules.{row['id']}.on_error: unsafe_allow"
        for row in values.get("rules", ())
        if row.get("on_error") == "unsafe_allow"
    )
    return tuple(out)
