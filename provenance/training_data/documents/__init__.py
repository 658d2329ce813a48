"""Documents about a version, and about a model that was trained on it, made from the register alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from clearmark.provenance.training_data.auditing import audit
from clearmark.provenance.training_data.data_policy import DataPolicy
from clearmark.provenance.training_data.documents.cards import dataset_card, model_card
from clearmark.provenance.training_data.documents.croissant import croissant
from clearmark.provenance.training_data.documents.cyclonedx import cyclonedx
from clearmark.provenance.training_data.documents.facts import DatasetFacts, ModelFacts, masked
from clearmark.provenance.training_data.documents.spdx import spdx
from clearmark.provenance.training_data.items import Version
from clearmark.provenance.training_data.register import Register, now_us
from clearmark.provenance.training_data.summary import summarize

__all__ = [
    "DatasetFacts",
    "ModelFacts",
    "croissant",
    "cyclonedx",
    "dataset_card",
    "model_card",
    "spdx",
    "write_documents",
]


def write_documents(
    register: Register,
    version: Version,
    folder: Path,
    *,
    policy: DataPolicy | None = None,
    model: ModelFacts | None = None,
    software: str = "clearmark",
) -> dict[str, Path]:
    """Write every document of a version into `folder` and return their paths by name.

    `items.jsonl` lists every item with the outcome of its audit; the other documents count and name it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "items.jsonl"
    run = audit(register, version, policy)
    state, size = hashlib.sha256(), 0
    with listing.open("wb") as stream:
        # The items come from a second reading in the same order: an outcome names its item by number.
        for outcome, item in zip(run, register.items(version), strict=True):
            row = {
                **item.to_dict(),
                "allowed": outcome.allowed,
                "rule": outcome.rule,
                "copy_of": outcome.copy_of,
            }
            row |= {name: masked(row[name]) for name in ("creator", "caption", "source", "licence_evidence")}
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            state.update(line)
            size += len(line)
            stream.write(line)
    facts = DatasetFacts(
        summary=summarize(register, version),
        audit=run.summary,
        created_us=now_us(),
        items_name=listing.name,
        items_sha256=state.hexdigest(),
        items_bytes=size,
        software=software,
    )
    written = {"items": listing}
    documents = {
        "croissant": ("croissant.json", croissant(facts)),
        "spdx": ("spdx.json", spdx(facts, model)),
        "cyclonedx": ("bom.cdx.json", cyclonedx(facts, model)),
    }
    for name, (file, document) in documents.items():
        written[name] = folder / file
        written[name].write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    written["card"] = folder / "DATASET_CARD.md"
    written["card"].write_text(dataset_card(facts), encoding="utf-8")
    if model is not None:
        written["model_card"] = folder / "MODEL_CARD.md"
        written["model_card"].write_text(model_card(facts, model), encoding="utf-8")
    return written
