"""Check a manifest against the asset criteria of C2PA's conformance programme 0.2 for specification 2.4.

The criteria are those that the programme publishes for generator products; each rule here has the id of the
published one, all thirty-one of them. They say whether a manifest is well made, not whether it is true or
whom it is from. What a criterion of theirs only warns about counts as broken here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.core.errors import MediaError
from clearmark.provenance.credentials.manifest import SPEC_VERSION
from clearmark.provenance.credentials.trust import context

__all__ = ["RuleResult", "check_conformance"]

_INCEPTION = {"c2pa.created", "c2pa.opened"}
_NOT_PERCEPTIBLE = {
    "c2pa.converted",
    "c2pa.edited.metadata",
    "c2pa.enhanced",
    "c2pa.placed",
    "c2pa.published",
    "c2pa.redacted",
    "c2pa.repackaged",
    "c2pa.resized.proportional",
    "c2pa.transcoded",
    "c2pa.watermarked",
    "c2pa.watermarked.bound",
    "c2pa.watermarked.unbound",
}
_DEPRECATED_ACTIONS = {
    "c2pa.color_adjustments",
    "c2pa.copied",
    "c2pa.formatted",
    "c2pa.managed",
    "c2pa.printed",
    "c2pa.produced",
    "c2pa.saved",
    "c2pa.version_updated",
    "c2pa.watermarked",
}
_ACTIONS = (
    _INCEPTION
    | _NOT_PERCEPTIBLE
    | {
        f"c2pa.{name}"
        for name in [
            "addedText",
            "adjustedColor",
            "changedSpeed",
            "cropped",
            "deleted",
            "drawing",
            "dubbed",
            "edited",
            "filtered",
            "mastered",
            "mixed",
            "orientation",
            "remixed",
            "removed",
            "resized",
            "translated",
            "trimmed",
            "unknown",
        ]
    }
)
_DEPRECATED_ASSERTIONS = {
    "c2pa.actions",
    "c2pa.asset-type",
    "c2pa.claim",
    "c2pa.hash.bmff.v2",
    "c2pa.ingredient",
    "c2pa.ingredient.v2",
}
_ASSERTIONS = {
    f"c2pa.{name}"
    for name in [
        "actions.v2",
        "ai-disclosure",
        "alternative-content-representation",
        "assertion.metadata",
        "asset-ref",
        "asset-type.v2",
        "certificate-status",
        "cloud-data",
        "depthmap.GDepth",
        "embedded-data",
        "environmental-sustainability",
        "external-reference",
        "hash.bmff.v3",
        "hash.boxes",
        "hash.collection.data",
        "hash.data",
        "hash.data.part",
        "hash.multi-asset",
        "icon",
        "ingredient.v3",
        "metadata",
        "repository-receipt",
        "session-keys",
        "soft-binding",
        "thumbnail.claim",
        "thumbnail.ingredient",
        "time-stamp",
    ]
}
_PARAMETERS = {
    "description",
    "ingredient",
    "ingredients",
    "italic",
    "multipleInstances",
    "optical-size",
    "ranges",
    "redacted",
    "relatedAssertions",
    "slant",
    "sourceLanguage",
    "targetLanguage",
    "weight",
    "width",
}
_NOT_REFERENCED = (
    "c2pa.actions",
    "c2pa.cloud-data",
    "c2pa.external-reference",
    "c2pa.hash",
    "c2pa.ingredient",
)
_RELATIONSHIPS = {"parentOf", "inputTo", "componentOf"}


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """The outcome of one criterion; `found` names what broke it."""

    rule: str
    passed: bool
    found: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"rule": self.rule, "passed": self.passed, "found": list(self.found)}


def check_conformance(data: bytes, media_type: str) -> tuple[RuleResult, ...]:
    """Return every criterion's outcome for the active manifest of a file.

    Raises:
        MediaError: when the file has no manifest that can be read.
    """
    import c2pa

    try:
        with c2pa.Reader(media_type, io.BytesIO(data), context=context(None)) as reader:
            report = json.loads(reader.crjson())
        manifest = _Manifest(report["manifests"][0])
    except (c2pa.C2paError, ValueError, KeyError, IndexError) as exc:
        raise MediaError("no manifest that can be read", hint="sign the picture first") from exc
    out = []
    for rule, broken in _RULES.items():
        found = tuple(str(item) for item in broken(manifest))
        out.append(RuleResult(rule=rule, passed=not found, found=found))
    return tuple(out)


class _Manifest:
    """A manifest as crJSON has it."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.label = str(raw.get("label", ""))
        self.claim: Mapping[str, Any] = raw.get("claim.v2") or {}
        self.assertions: Mapping[str, Any] = raw.get("assertions") or {}
        self.results = raw.get("validationResults")
        self.values = [value for value in self.assertions.values() if isinstance(value, dict)]
        self.lists = [value for value in self.values if value.get("actions") is not None]
        self.actions = [action for value in self.lists for action in value["actions"]]
        self.ingredients = [value for value in self.values if value.get("relationship") is not None]

    @property
    def failures(self) -> list[str]:
        return [row.get("code", "") for row in (self.results or {}).get("failure", [])]

    @property
    def names(self) -> list[str]:
        """The assertions' labels, without the number that tells several of a kind apart."""
        return [name.split("__")[0] for name in self.assertions]


def _no_source_type(manifest: _Manifest) -> Iterator[str]:
    for action in manifest.actions:
        name = action.get("action", "")
        exempt = name in _INCEPTION | _NOT_PERCEPTIBLE or not name.startswith("c2pa.")
        if not exempt and action.get("digitalSourceType") is None:
            yield name


def _spec_version(manifest: _Manifest) -> Iterator[str]:
    info = manifest.claim.get("claim_generator_info")
    said = (info[0] if isinstance(info, list) and info else info or {}).get("specVersion")
    if not isinstance(said, str) or said.split(".")[:2] != SPEC_VERSION.split("."):
        yield str(said)


def _inception(manifest: _Manifest) -> Iterator[str]:
    urls = [row.get("url", "") for row in manifest.claim.get("created_assertions") or []]
    first = next((url for url in urls if "c2pa.actions" in url), "")
    if not first.endswith("c2pa.actions.v2"):
        yield "no actions among the created assertions"
    created = any(action.get("action") == "c2pa.created" for action in manifest.actions)
    if created and manifest.actions[0].get("action") not in _INCEPTION:
        yield str(manifest.actions[0].get("action"))


def _opened_without_ingredient(manifest: _Manifest) -> Iterator[str]:
    for action in manifest.actions:
        named = (action.get("parameters") or {}).get("ingredients") or []
        if action.get("action") == "c2pa.opened" and len(named) != 1:
            yield f"{len(named)} ingredients"


def _parameters(manifest: _Manifest) -> Iterator[str]:
    for action in manifest.actions:
        for name in action.get("parameters") or {}:
            if name not in _PARAMETERS and "." not in name:
                yield name


def _alternative_content(manifest: _Manifest) -> Iterator[str]:
    """A preserved original is either a part of the file or embedded, and says which."""
    for value in manifest.values:
        given = value.get("parameters") or {}
        if "exif.originalPreservationImage" in (value.get("type"), given.get("type")):
            places = [
                name
                for name in ("multiAssetPartIndex", "embeddedOriginalPreservationImage")
                if given.get(name) is not None
            ]
            if len(places) != 1:
                yield f"{len(places)} places"


def _opened_only(manifest: _Manifest) -> Iterator[str]:
    if [action.get("action") for action in manifest.actions] == ["c2pa.opened"]:
        yield from ("c2pa.opened" for value in manifest.lists if value.get("allActionsIncluded") is not True)


_RULES: Mapping[str, Callable[[_Manifest], Any]] = {
    "mandatory_dst_for_perceptible_transformations": _no_source_type,
    "mandatory_spec_version": _spec_version,
    "mandatory_all_actions_included": lambda m: [
        "actions" for value in m.lists if value.get("allActionsIncluded") is None
    ],
    "no_dst_for_opened_action": lambda m: [
        a["digitalSourceType"]
        for a in m.actions
        if a.get("action") == "c2pa.opened" and a.get("digitalSourceType") is not None
    ],
    "well_formed_data_present": lambda m: [] if m.results is not None else ["validationResults"],
    "valid_data_present": lambda m: [] if m.results is not None else ["validationResults"],
    # Whom the signer is trusted by is another question: these two are about form and integrity.
    "well_formed_success": lambda m: [
        c for c in m.failures if c.endswith((".malformed", ".missing", ".invalid"))
    ],
    "valid_success": lambda m: [c for c in m.failures if "ismatch" in c or c.endswith(".redacted")],
    "inception_action_position": _inception,
    "no_deprecated_assertions": lambda m: [
        n for n in m.assertions if n.startswith("stds.") or n in _DEPRECATED_ASSERTIONS
    ],
    "no_unsupported_assertions": lambda m: [
        n for n in m.names if n.startswith("c2pa.") and n not in _ASSERTIONS | _DEPRECATED_ASSERTIONS
    ],
    "no_deprecated_actions": lambda m: [
        a.get("action") for a in m.actions if a.get("action") in _DEPRECATED_ACTIONS
    ],
    "no_unsupported_actions": lambda m: [
        a.get("action")
        for a in m.actions
        if a.get("action", "").startswith("c2pa.") and a.get("action") not in _ACTIONS | _DEPRECATED_ACTIONS
    ],
    "no_unrecognized_custom_assertions": lambda m: [n for n in m.assertions if "." not in n],
    "no_unrecognized_custom_actions": lambda m: [
        a.get("action") for a in m.actions if "." not in a.get("action", "")
    ],
    "no_unrecognized_custom_action_parameters": _parameters,
    "discouraged_legacy_action_parameters": lambda m: [
        a.get("action") for a in m.actions if {"description", "ingredient"} & set(a.get("parameters") or {})
    ],
    "active_manifest_urn": lambda m: [] if m.label.startswith("urn:c2pa:") else [m.label],
    "ingredient_v3_no_active_manifest": lambda m: [
        i.get("dc:title") for i in m.ingredients if i.get("validationResults") and not i.get("activeManifest")
    ],
    "ingredient_v3_mandatory_validation_results": lambda m: [
        i.get("dc:title") for i in m.ingredients if i.get("activeManifest") and not i.get("validationResults")
    ],
    "ingredient_relationship_values": lambda m: [
        i["relationship"] for i in m.ingredients if i["relationship"] not in _RELATIONSHIPS
    ],
    "mandatory_dst_for_created_action": lambda m: [
        "c2pa.created"
        for a in m.actions
        if a.get("action") == "c2pa.created" and a.get("digitalSourceType") is None
    ],
    "no_deprecated_claim_fields": lambda m: ["specVersion"] if "specVersion" in m.claim else [],
    "ingredient_v3_choice": lambda m: [
        i.get("dc:title") for i in m.ingredients if i.get("activeManifest") and i.get("digitalSourceType")
    ],
    "review_ratings_datasource": lambda m: [
        value["dataSource"]["type"]
        for value in m.values
        if value.get("reviewRatings") is not None
        and str((value.get("dataSource") or {}).get("type", "")).startswith("humanEntry.")
    ],
    "alternative_content_representation_choice": _alternative_content,
    "forbidden_labels_in_external_references": lambda m: [
        value["label"]
        for value in m.values
        if value.get("url") is not None
        and value.get("relationship") is None
        and str(value.get("label", "")).startswith(_NOT_REFERENCED)
    ],
    "no_box_hash_for_tiff": lambda m: [
        "c2pa.hash.boxes"
        for kind in [(m.assertions.get("c2pa.asset-type.v2") or {}).get("dc:format")]
        if kind in {"image/tiff", "image/x-adobe-dng"} and "c2pa.hash.boxes" in m.assertions
    ],
    "no_url_in_hashes": lambda m: [
        n for n in ("c2pa.hash.data", "c2pa.hash.bmff.v3") if (m.assertions.get(n) or {}).get("url")
    ],
    "all_actions_included_opened": _opened_only,
    "opened_action_ingredient_reference": _opened_without_ingredient,
}
