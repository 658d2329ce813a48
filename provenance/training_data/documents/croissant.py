"""MLCommons Croissant 1.1 with the RAI vocabulary 1.0: JSON-LD that data set searches and loaders read."""

from __future__ import annotations

from typing import Any

from clearmark.provenance.training_data.documents.facts import DatasetFacts, moment, sentences
from clearmark.provenance.training_data.licences import NOASSERTION

__all__ = ["CONTEXT", "croissant"]

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification asks for (Croissant 1.1, appendix)."""

_FIELDS = (
    ("number", "sc:Integer", "Place of the item in its version, from 1."),
    ("key", "sc:Text", "Name of the item in its source."),
    ("state", "sc:Text", "held, quarantined or removed."),
    ("source", "sc:Text", "Address or path that the item came from."),
    ("creator", "sc:Text", "Who made it, as the source states."),
    ("licence", "sc:Text", "SPDX licence expression, or NOASSERTION."),
    ("licence_evidence", "sc:Text", "The words that the licence was read from."),
    ("caption", "sc:Text", "What it is said to show."),
    ("category", "sc:Text", "Shelf of the source."),
    ("acquired", "sc:Text", "Day of acquisition, ISO 8601."),
    ("method", "sc:Text", "How it was acquired."),
    ("sha256", "sc:Text", "SHA-256 of its bytes, hex."),
    ("phash", "sc:Text", "64-bit perceptual hash, hex."),
    ("media_type", "sc:Text", "Media type, told by its bytes."),
    ("width", "sc:Integer", "Pixels."),
    ("height", "sc:Integer", "Pixels."),
    ("opt_out", "sc:Text", "unread, none, allowed or reserved."),
    ("allowed", "sc:Boolean", "Whether the data policy lets it be trained on."),
    ("rule", "sc:Text", "The rule that decided."),
)


def croissant(facts: DatasetFacts) -> dict[str, Any]:
    """Return the Croissant document of a version; with a list of items, it can be loaded as a record set."""
    summary, said = facts.summary, sentences(facts)
    dataset, version = summary.dataset, summary.version
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": dataset.name,
        "description": dataset.description or f"The dataset {dataset.name}. {said['collection']}",
        "url": dataset.homepage or f"urn:sha256:{version.digest.removeprefix('sha256:')}",
        "version": _semantic(version.label),
        "identifier": version.digest,
        "datePublished": moment(version.finished_us or facts.created_us)[:10],
        "dateModified": moment(facts.created_us)[:10],
        "creator": {"@type": "sc:Organization", "name": dataset.publisher or facts.software},
        "license": [_licence_url(spdx) for spdx in facts.licences] or [_licence_url(NOASSERTION)],
        "citeAs": f"{dataset.name} {version.label}, {version.digest}",
        "isLiveDataset": False,
        "rai:dataCollection": said["collection"],
        "rai:dataCollectionType": _collection_type(version.kind),
        "rai:dataCollectionMissingData": said["screening"],
        "rai:dataPreprocessingProtocol": [said["screening"], said["duplicates"]],
        "rai:dataLimitations": [said["limits"], said["opt_outs"]],
        "rai:personalSensitiveInformation": [said["personal"]],
        "rai:dataReleaseMaintenancePlan": (
            "Owners may have items removed; each removal is signed, and the version's digest changes with it."
        ),
        "rai:dataUseCases": "Training and auditing of image generators.",
    }
    if summary.acquired[0]:
        document["rai:dataCollectionTimeFrame"] = list(dict.fromkeys(summary.acquired))
    if facts.items_name:
        document["distribution"] = [
            {
                "@type": "cr:FileObject",
                "@id": "items",
                "name": facts.items_name,
                "description": "One JSON object a line for every item on record.",
                "contentUrl": facts.items_name,
                "contentSize": f"{facts.items_bytes} B",
                "encodingFormat": "application/jsonlines",
                "sha256": facts.items_sha256,
            }
        ]
        document["recordSet"] = [
            {
                "@type": "cr:RecordSet",
                "@id": "item",
                "name": "item",
                "description": "The items of the version, quarantined and removed ones included.",
                "key": {"@id": "item/number"},
                "field": [_field(name, kind, text) for name, kind, text in _FIELDS],
            }
        ]
    return document


def _field(name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"item/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": "items"}, "extract": {"column": name}},
    }


def _licence_url(spdx: str) -> str:
    simple = " " not in spdx and spdx != NOASSERTION and not spdx.startswith("LicenseRef-")
    return f"https://spdx.org/licenses/{spdx}" if simple else spdx


def _collection_type(kind: str) -> list[str]:
    """Return words of the RAI vocabulary (Croissant RAI 1.0, data collection type)."""
    return {"parquet": ["Web Scraping"], "webdataset": ["Web Scraping"]}.get(
        kind, ["Secondary Data Analysis"]
    )


def _semantic(label: str) -> str:
    """Croissant wants MAJOR.MINOR.PATCH; another label stands in the name of what is cited."""
    parts = label.split(".")
    if len(parts) <= 3 and all(part.isdecimal() and str(int(part)) == part for part in parts):
        return ".".join([*parts, "0", "0"][:3])
    return "1.0.0"
