"""What all documents say, said once: the counts of a version, its audit, and a model that was made of it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.auditing import AuditSummary
from clearmark.provenance.training_data.summary import Summary

__all__ = ["DatasetFacts", "ModelFacts", "masked", "moment", "sentences"]

# Bounded on every side, so that a name cannot make the search quadratic.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{2,60}")


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A version as it is documented. `created_us` is the moment that the documents name as theirs.

    `items_name`, `items_sha256` and `items_bytes` are of the list of items beside the documents, empty
    without one. `software` is what wrote the documents.
    """

    summary: Summary
    audit: AuditSummary
    created_us: int
    items_name: str = ""
    items_sha256: str = ""
    items_bytes: int = 0
    software: str = "clearmark"

    @property
    def name(self) -> str:
        """The dataset's name and version in one word."""
        return self.summary.version.name

    @property
    def licences(self) -> tuple[str, ...]:
        """Every licence expression of the version, most frequent first."""
        return tuple(self.summary.licences)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model that was trained on a version. `digest` is `sha256:…` of its weights.

    `metrics` are (name, value, of what) triples; `limitations` and `uses` are sentences.
    """

    name: str
    version: str
    digest: str
    licence: str
    kind: str = "text-to-image diffusion model"
    description: str = ""
    task: str = "text-to-image"
    architecture: str = ""
    training: str = ""
    metrics: Sequence[tuple[str, str, str]] = ()
    uses: Sequence[str] = ()
    limitations: Sequence[str] = ()
    parameters: Mapping[str, str] | None = None
    homepage: str = ""
    supplier: str = ""

    @classmethod
    def from_dict(cls, document: Any) -> ModelFacts:
        """Read the facts from JSON; `metrics` are lists of name, value and of what.

        Raises:
            UsageError: when a field is missing, unknown, or not of its kind.
        """
        hint = "name, version, digest (sha256:…) and licence; optional: " + ", ".join(_OPTIONAL)
        if not isinstance(document, Mapping) or not set(document) <= {*_NEEDED, *_OPTIONAL}:
            raise UsageError("a model's facts are a JSON object with other fields", hint=hint)
        values = dict(document)
        metrics = values.get("metrics", [])
        texts = [values.get(name, "") for name in (*_NEEDED, *_OPTIONAL) if name not in _STRUCTURED]
        lists = [values.get(name, []) for name in ("uses", "limitations")]
        parameters = values.get("parameters", {})
        fits = (
            all(name in values for name in _NEEDED)
            and all(isinstance(text, str) for text in texts)
            and all(isinstance(row, list) and all(isinstance(text, str) for text in row) for row in lists)
            and isinstance(parameters, Mapping)
            and isinstance(metrics, list)
            and all(isinstance(row, list) and len(row) == 3 for row in metrics)
            and re.fullmatch(r"sha256:[0-9a-f]{64}", str(values.get("digest", "")))
        )
        if not fits:
            raise UsageError("a model's facts do not fit", hint=hint)
        values["metrics"] = tuple((str(name), str(value), str(scope)) for name, value, scope in metrics)
        values["parameters"] = {str(name): str(value) for name, value in parameters.items()}
        return cls(**values)


_NEEDED = ("name", "version", "digest", "licence")
_STRUCTURED = ("metrics", "uses", "limitations", "parameters")
_OPTIONAL = tuple(part.name for part in fields(ModelFacts) if part.name not in _NEEDED)


def moment(time_us: int) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds, as all three formats take it."""
    return dt.datetime.fromtimestamp(time_us // 1_000_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def masked(text: str) -> str:
    """Return a text without e-mail addresses: documents are handed out, the register is not."""
    return _EMAIL.sub("(address on record)", text)


def sentences(facts: DatasetFacts) -> dict[str, str]:
    """Say in words what was collected, what was left out, and what is not known."""
    summary, audit = facts.summary, facts.audit
    version = summary.version
    quarantine = ", ".join(f"{code} {count:,}" for code, count in summary.quarantine.items()) or "none"
    denied = ", ".join(f"{rule} {count:,}" for rule, count in audit.rules.most_common() if rule != "licence")
    first, last = summary.acquired
    when = f", acquired {first}" + (f" to {last}" if last != first else "") if first else ""
    read = {state: count for state, count in summary.opt_outs.items() if state != "unread"}
    return {
        "collection": f"{version.read:,} items by the importer {version.kind}: {version.method}{when}.",
        "screening": (
            f"{version.held:,} items are held, {version.quarantined:,} in quarantine ({quarantine}), "
            f"{version.removed:,} removed. Under the data policy {audit.policy.name} {audit.policy.version} "
            f"{audit.allowed:,} may be trained on; the others are left out by {denied or 'no rule'}."
        ),
        "duplicates": (
            f"{audit.pictures:,} pictures show {audit.clusters:,} different ones: a duplication factor of "
            f"{audit.duplication_factor:.3f}, the largest cluster holding {audit.largest:,}."
        ),
        "opt_outs": (
            "Opt-outs: "
            + (", ".join(f"{state} {count:,}" for state, count in sorted(read.items())) or "nobody looked")
            + f"; not looked for {summary.opt_outs.get('unread', 0):,}."
        ),
        "personal": (
            f"{summary.creators_total:,} creators are named, as attribution; "
            f"{summary.unnamed:,} items name none. Consent on record: {summary.consents.get('given', 0):,}."
        ),
        "limits": (
            "Licences and creators are what each source states; the register keeps the words that it read, "
            "and proves no title."
        ),
    }
