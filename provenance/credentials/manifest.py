"""What a manifest says: the actions, where the pixels come from, the soft binding, the ledger's reference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import Any

from clearmark.core.assets import Asset, Origin
from clearmark.core.errors import UsageError
from clearmark.provenance._sources import IPTC_SOURCES, source_type_uri
from clearmark.provenance.credentials.thumbnails import THUMBNAIL_TYPE, Thumbnails

__all__ = [
    "LEDGER_ASSERTION",
    "SPEC_VERSION",
    "LedgerRef",
    "ManifestSpec",
    "SoftBinding",
]

SPEC_VERSION = "2.4"
LEDGER_ASSERTION = "io.clearmark.ledger"
"""Our own assertion: the decision event that let this picture out, and the log that it stands in."""

_TRAINING_USES = ("allowed", "notAllowed", "constrained")
_TRAINING_ENTRIES = ("ai_generative_training", "ai_training", "ai_inference", "data_mining")


@dataclass(frozen=True, kw_only=True)
class LedgerRef:
    """Where the ledger holds the decision: event id, hex hash of its leaf, and the log's origin line."""

    event_id: str
    leaf_hash: str
    log: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"event_id": self.event_id, "leaf_hash": self.leaf_hash, "log": self.log}


@dataclass(frozen=True, kw_only=True)
class SoftBinding:
    """A way back to the manifest when it was stripped: algorithm, value, and whether it is a watermark."""

    alg: str
    value: str
    watermark: bool = True


@dataclass(frozen=True, kw_only=True)
class ManifestSpec:
    """All that one manifest states.

    `parent` is the picture that was opened, with whatever manifest it carries; `inputs` went into the making;
    `placed` stand in it, as in a composition. `thumbnails` says which small pictures come along.
    `label_text` is the visible label that was drawn. `training_mining` maps entries such as
    `ai_generative_training` to `allowed`, `notAllowed` or `constrained` (CAWG Training and Data Mining 1.1).
    """

    mark_id: str
    source: str = "created"
    origin: Origin | None = None
    ledger: LedgerRef | None = None
    bindings: tuple[SoftBinding, ...] = ()
    label_text: str = ""
    title: str = ""
    parent: Asset | None = None
    inputs: tuple[Asset, ...] = ()
    placed: tuple[Asset, ...] = ()
    thumbnails: Thumbnails | None = None
    training_mining: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        source_type_uri(self.source)
        for entry, use in self.training_mining.items():
            if entry not in _TRAINING_ENTRIES or use not in _TRAINING_USES:
                raise UsageError(
                    f"training_mining cannot say {entry}: {use}",
                    hint=f"entries: {', '.join(_TRAINING_ENTRIES)}; uses: {', '.join(_TRAINING_USES)}",
                )

    @property
    def ingredients(self) -> tuple[tuple[Asset, dict[str, str]], ...]:
        """The pictures that go in, each with its ingredient definition."""
        found: list[tuple[Asset, dict[str, str]]] = []
        if self.parent is not None:
            found.append((self.parent, {"title": "parent", "relationship": "parentOf", "label": "parent"}))
        for number, asset in enumerate(self.inputs):
            name = f"input-{number}"
            found.append((asset, {"title": name, "relationship": "inputTo", "label": name}))
        for number, asset in enumerate(self.placed):
            name = f"placed-{number}"
            found.append((asset, {"title": name, "relationship": "componentOf", "label": name}))
        return tuple(found)

    def to_json(self, *, thumbnail: str = "") -> str:
        """Return the definition that the C2PA library builds from; `thumbnail` names a resource of it."""
        definition: dict[str, Any] = {
            "claim_generator_info": [
                {"name": "clearmark", "version": _version(), "specVersion": SPEC_VERSION}
            ],
            "title": self.title or f"{self.mark_id}",
            # `created` puts an assertion among those that the signer vouches for; without it every one
            # would be listed as merely gathered.
            "assertions": [
                {"label": label, "created": True, "data": data} for label, data in self._assertions()
            ],
        }
        if thumbnail:
            definition["thumbnail"] = {"format": THUMBNAIL_TYPE, "identifier": thumbnail}
        return json.dumps(definition)

    def _assertions(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = [
            ("c2pa.actions.v2", {"allActionsIncluded": True, "actions": self._actions()})
        ]
        if self.ledger is not None:
            found.append((LEDGER_ASSERTION, {**self.ledger.to_dict(), "mark_id": self.mark_id}))
        for binding in self.bindings:
            block = {"scope": {}, "value": binding.value}
            found.append(("c2pa.soft-binding", {"alg": binding.alg, "blocks": [block]}))
        if self.training_mining:
            entries = {f"cawg.{entry}": {"use": use} for entry, use in self.training_mining.items()}
            found.append(("cawg.training-mining", {"entries": entries}))
        return found

    def _actions(self) -> list[dict[str, Any]]:
        made: dict[str, Any] = {"digitalSourceType": source_type_uri(self.source)}
        if self.origin is not None:
            made["softwareAgent"] = _software_agent(self.origin)
        if self.inputs:
            names = [f"input-{number}" for number in range(len(self.inputs))]
            made["parameters"] = {"ingredientIds": names}
        if self.parent is None:
            actions = [{"action": "c2pa.created", **made}]
        else:
            opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
            actions = [opened, {"action": "c2pa.edited", **made}]
        actions += [
            {"action": "c2pa.placed", "parameters": {"ingredientIds": [f"placed-{number}"]}}
            for number in range(len(self.placed))
        ]
        if self.label_text:
            actions.append(
                {
                    "action": "c2pa.addedText",
                    "digitalSourceType": IPTC_SOURCES + "algorithmicMedia",
                    "description": f"visible label: {self.label_text}",
                }
            )
        if any(binding.watermark for binding in self.bindings):
            actions.append({"action": "c2pa.watermarked.bound"})
        return actions


def _software_agent(origin: Origin) -> dict[str, str]:
    agent = {"name": origin.model or origin.generator}
    if origin.model_version:
        agent["version"] = origin.model_version
    if origin.model_digest:
        agent["io.clearmark.model_digest"] = origin.model_digest
    if origin.model and origin.generator != origin.model:
        agent["io.clearmark.generator"] = origin.generator
    return agent


@cache
def _version() -> str:
    try:
        return metadata.version("clearmark")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
