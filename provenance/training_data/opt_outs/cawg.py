"""The C2PA assertion `cawg.training-mining` (CAWG Training and Data Mining Assertion 1.1).

A reservation counts even where the manifest does not validate: whoever re-encoded the picture did not thereby
give a permission. A permission counts only from a manifest that does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.states import quote

__all__ = ["ManifestClaims", "ManifestReader", "read_claims", "read_manifest"]

_LABELS = ("cawg.training-mining", "c2pa.training-mining")
_NARROWEST_FIRST = ("ai_generative_training", "ai_training", "data_mining")
_MAX_ASSERTIONS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestClaims:
    """The assertions of the active manifest, label and data, and whether the manifest validates."""

    valid: bool
    assertions: Sequence[tuple[str, Any]]


ManifestReader = Callable[[bytes, str], ManifestClaims | None]
"""Reads the manifest of a picture (bytes, media type); None when it has none."""


def read_manifest(data: bytes, media_type: str) -> ManifestClaims | None:
    """Read the manifest with c2pa-python. Offline, and without a trust list: who signed is not asked here."""
    if b"jumb" not in data:  # every manifest store is a JUMBF box; most pictures hold none
        return None
    import c2pa

    from clearmark.provenance.credentials.trust import context

    try:
        with c2pa.Reader(media_type, io.BytesIO(data), context=context(None)) as reader:
            report = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, ValueError, RecursionError):
        return ManifestClaims(valid=False, assertions=())
    manifest = report.get("manifests", {}).get(report.get("active_manifest", ""), {})
    assertions = [(str(item.get("label", "")), item.get("data")) for item in manifest.get("assertions", [])]
    return ManifestClaims(
        valid=report.get("validation_state") in {"Valid", "Trusted"}, assertions=tuple(assertions)
    )


def read_claims(claims: ManifestClaims | None, *, read_us: int = 0) -> tuple[Signal, ...]:
    """Return what the manifest says about training."""
    if claims is None:
        return ()
    found: list[Signal] = []
    for label, data in claims.assertions[:_MAX_ASSERTIONS]:
        if not label.startswith(_LABELS) or not isinstance(data, Mapping):
            continue
        reserved = _reserved(data.get("entries"))
        if reserved is False and not claims.valid:
            reserved = None
        found.append(
            Signal(
                kind="cawg.training-mining",
                raw=quote(json.dumps(data, ensure_ascii=False)),
                reserved=reserved,
                place="C2PA manifest" if claims.valid else "C2PA manifest that does not validate",
                read_us=read_us,
            )
        )
    return tuple(found)


def _reserved(entries: Any) -> bool | None:
    if not isinstance(entries, Mapping):
        return None
    for name in _NARROWEST_FIRST:
        for prefix in ("cawg.", "c2pa."):
            entry = entries.get(prefix + name)
            use = entry.get("use") if isinstance(entry, Mapping) else None
            if use in {"notAllowed", "constrained"}:  # constraints are terms that a machine cannot weigh
                return True
            if use == "allowed":
                return False
    return None
