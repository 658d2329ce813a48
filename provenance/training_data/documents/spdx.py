"""SPDX 3.0.1 in JSON-LD, with the Dataset profile, and the AI profile where a model is described."""

from __future__ import annotations

import hashlib
from typing import Any

from clearmark.provenance.training_data.documents.facts import DatasetFacts, ModelFacts, moment, sentences

__all__ = ["spdx"]

_CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"


def spdx(facts: DatasetFacts, model: ModelFacts | None = None) -> dict[str, Any]:
    """Return the SPDX document of a version, and of a model that was trained on it."""
    summary, said = facts.summary, sentences(facts)
    dataset, version = summary.dataset, summary.version
    base = (
        "urn:spdx:"
        + hashlib.sha256(f"{version.name} {version.digest} {facts.created_us}".encode()).hexdigest()
    )
    info = "_:creation"
    created = moment(facts.created_us)
    supplier = _element("Organization", f"{base}#supplier", info, name=dataset.publisher or "unknown")
    tool = _element("SoftwareAgent", f"{base}#tool", info, name=facts.software)
    package = _element(
        "dataset_DatasetPackage",
        f"{base}#dataset",
        info,
        name=dataset.name,
        summary=said["collection"],
        description=dataset.description or said["screening"],
        originatedBy=[supplier["spdxId"]],
        suppliedBy=supplier["spdxId"],
        builtTime=moment(version.finished_us or facts.created_us),
        releaseTime=moment(version.finished_us or facts.created_us),
        verifiedUsing=[_hash(version.digest, "over the leaves of all items, in order")],
        software_packageVersion=version.label,
        software_primaryPurpose="data",
        software_downloadLocation=dataset.homepage or f"urn:sha256:{version.digest.removeprefix('sha256:')}",
        software_sourceInfo=version.method,
        dataset_datasetType=["image", "text"],
        dataset_datasetSize=version.held,
        dataset_dataCollectionProcess=said["collection"],
        dataset_dataPreprocessing=[said["screening"]],
        dataset_datasetNoise=said["duplicates"],
        dataset_knownBias=[
            f"{name}: {count:,} items" for name, count in list(summary.categories.items())[:10]
        ],
        dataset_hasSensitivePersonalInformation="noAssertion",
        dataset_intendedUse="Training and auditing of image generators.",
        comment=f"{said['opt_outs']} {said['personal']} {said['limits']}",
    )
    elements = [supplier, tool, package]
    for number, (expression, count) in enumerate(summary.licences.items(), 1):
        elements += _licence(
            base, info, number, expression, comment=f"{count:,} of {version.read:,} items", of=package
        )
    profiles = ["core", "software", "simpleLicensing", "dataset"]
    root = package["spdxId"]
    if model is not None:
        described = _model(base, info, facts, model, supplier["spdxId"])
        elements += [
            described,
            *_licence(base, info, 0, model.licence, comment="the model's own licence", of=described),
        ]
        elements.append(
            _element(
                "Relationship",
                f"{base}#trained-on",
                info,
                **{"from": described["spdxId"]},
                relationshipType="trainedOn",
                to=[package["spdxId"]],
            )
        )
        profiles.append("ai")
        root = described["spdxId"]
    document = _element(
        "SpdxDocument",
        f"{base}#document",
        info,
        name=f"{dataset.name} {version.label}",
        profileConformance=profiles,
        rootElement=[root],
        element=[element["spdxId"] for element in elements],
        dataLicense=f"{base}#licence-of-this-document",
    )
    own = _element(
        "simplelicensing_LicenseExpression",
        f"{base}#licence-of-this-document",
        info,
        simplelicensing_licenseExpression="CC0-1.0",
    )
    creation = {
        "@id": info,
        "type": "CreationInfo",
        "specVersion": "3.0.1",
        "created": created,
        "createdBy": [tool["spdxId"]],
    }
    return {"@context": _CONTEXT, "@graph": [creation, document, own, *elements]}


def _model(base: str, info: str, facts: DatasetFacts, model: ModelFacts, supplier: str) -> dict[str, Any]:
    when = moment(facts.created_us)
    return _element(
        "ai_AIPackage",
        f"{base}#model",
        info,
        name=model.name,
        description=model.description,
        suppliedBy=supplier,
        releaseTime=when,
        builtTime=when,
        verifiedUsing=[_hash(model.digest, "of the weights")],
        software_packageVersion=model.version,
        software_primaryPurpose="model",
        software_downloadLocation=model.homepage or f"urn:sha256:{model.digest.removeprefix('sha256:')}",
        ai_typeOfModel=[model.architecture or model.kind],
        ai_domain=[model.task],
        ai_informationAboutTraining=model.training,
        ai_informationAboutApplication=" ".join(model.uses),
        ai_limitation=" ".join(model.limitations),
        ai_metric=[
            _entry(name, f"{value} ({scope})" if scope else value) for name, value, scope in model.metrics
        ],
        ai_hyperparameter=[_entry(name, value) for name, value in (model.parameters or {}).items()],
        ai_useSensitivePersonalInformation="noAssertion",
    )


def _licence(
    base: str, info: str, number: int, expression: str, *, comment: str, of: dict[str, Any]
) -> list[dict[str, Any]]:
    name = f"{base}#licence-{number}"
    if expression == "NOASSERTION":
        # Listed individuals of the model: an element of our own would claim that there is a licence.
        to = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"
        extra: list[dict[str, Any]] = []
    else:
        to = name
        extra = [
            _element(
                "simplelicensing_LicenseExpression", name, info, simplelicensing_licenseExpression=expression
            )
        ]
    relation = _element(
        "Relationship",
        f"{name}-of",
        info,
        **{"from": of["spdxId"]},
        relationshipType="hasDeclaredLicense",
        to=[to],
        comment=comment,
    )
    return [*extra, relation]


def _element(kind: str, ref: str, info: str, /, **properties: Any) -> dict[str, Any]:
    kept = {key: value for key, value in properties.items() if value not in ("", [], None)}
    return {"type": kind, "spdxId": ref, "creationInfo": info, **kept}


def _hash(digest: str, comment: str) -> dict[str, Any]:
    return {
        "type": "Hash",
        "algorithm": "sha256",
        "hashValue": digest.removeprefix("sha256:"),
        "comment": comment,
    }


def _entry(key: str, value: str) -> dict[str, Any]:
    return {"type": "DictionaryEntry", "key": key, "value": value}
