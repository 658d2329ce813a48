"""CycloneDX 1.6 ML-BOM: the dataset as a `data` component, the model with its model card."""

from __future__ import annotations

import uuid
from typing import Any

from clearmark.provenance.training_data.documents.facts import DatasetFacts, ModelFacts, moment, sentences
from clearmark.provenance.training_data.licences import NOASSERTION, traits

__all__ = ["cyclonedx"]

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of addresses, RFC 9562, 6.6


def cyclonedx(facts: DatasetFacts, model: ModelFacts | None = None) -> dict[str, Any]:
    """Return the bill of materials of a version, and of a model that was trained on it."""
    version = facts.summary.version
    seed = f"{version.name} {version.digest} {model.digest if model else ''} {facts.created_us}"
    data = _dataset(facts)
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, seed)}",
        "version": 1,
        "metadata": {
            "timestamp": moment(facts.created_us),
            "tools": {"components": [{"type": "application", "name": facts.software}]},
            "properties": _properties(
                {
                    "policy": f"{facts.audit.policy.name} {facts.audit.policy.version}",
                    "policy_digest": facts.audit.policy.digest,
                }
            ),
        },
        "components": [data],
    }
    if model is not None:
        described = _model(model, data["bom-ref"])
        document["metadata"]["component"] = described
        document["dependencies"] = [
            {"ref": described["bom-ref"], "dependsOn": [data["bom-ref"]]},
            {"ref": data["bom-ref"]},
        ]
    return document


def _dataset(facts: DatasetFacts) -> dict[str, Any]:
    summary, said, audit = facts.summary, sentences(facts), facts.audit
    dataset, version = summary.dataset, summary.version
    contents: dict[str, Any] = {
        "properties": _properties(
            {
                "items": version.read,
                "held": version.held,
                "quarantined": version.quarantined,
                "removed": version.removed,
                "allowed": audit.allowed,
                "duplication_factor": f"{audit.duplication_factor:.3f}",
                **{f"licence:{spdx}": count for spdx, count in summary.licences.items()},
                **{f"rule:{rule}": count for rule, count in sorted(audit.rules.items())},
                **{f"opt_out:{state}": count for state, count in sorted(summary.opt_outs.items())},
            }
        )
    }
    if dataset.homepage:
        contents["url"] = dataset.homepage
    described: dict[str, Any] = {
        "type": "dataset",
        "name": dataset.name,
        "description": dataset.description or said["collection"],
        "contents": contents,
        "classification": "public",
        "sensitiveData": [said["personal"]],
    }
    if dataset.publisher:
        described["governance"] = {"owners": [{"organization": {"name": dataset.publisher}}]}
    return {
        "type": "data",
        "bom-ref": f"data:{version.name}",
        "name": dataset.name,
        "version": version.label,
        "description": f"{said['screening']} {said['duplicates']} {said['opt_outs']} {said['limits']}",
        "hashes": [{"alg": "SHA-256", "content": version.digest.removeprefix("sha256:")}],
        "licenses": _licences(facts.licences),
        "data": [described],
    }


def _model(model: ModelFacts, data_ref: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": model.task,
        "datasets": [{"ref": data_ref}],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "image"}],
    }
    if model.architecture:
        parameters["modelArchitecture"] = model.architecture
    card: dict[str, Any] = {
        "modelParameters": parameters,
        "considerations": {
            "useCases": list(model.uses),
            "technicalLimitations": list(model.limitations),
        },
        "properties": _properties(model.parameters or {}),
    }
    if model.metrics:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": name, "value": value, **({"slice": scope} if scope else {})}
                for name, value, scope in model.metrics
            ]
        }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.name}@{model.version}",
        "name": model.name,
        "version": model.version,
        "description": model.description or model.kind,
        "hashes": [{"alg": "SHA-256", "content": model.digest.removeprefix("sha256:")}],
        "licenses": _licences((model.licence,)),
        "modelCard": card,
    }


def _licences(expressions: tuple[str, ...]) -> list[dict[str, Any]]:
    """Write ids that SPDX lists as ids, everything else by name: the schema allows one expression only."""
    found: list[dict[str, Any]] = []
    for expression in expressions:
        listed = " " not in expression and traits(expression).known
        if expression == NOASSERTION:
            found.append({"license": {"name": NOASSERTION}})
        else:
            found.append({"license": {"id" if listed else "name": expression}})
    return found


def _properties(values: Any) -> list[dict[str, str]]:
    return [{"name": f"clearmark:{name}", "value": str(value)} for name, value in values.items()]
