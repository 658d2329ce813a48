"""The facts about the reference model that its documents repeat, from the record of its training.

`python -m clearmark.generation.reference.facts --out facts.json` writes what `clearmark data summary --model`
reads: from these come the CycloneDX ML-BOM, the SPDX document and the summary of the training data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clearmark.generation.reference.catalogue import WEIGHTS, entries

__all__ = ["facts", "main"]

_LIMITATIONS = (
    "Draws clip art of one thing on white paper; no photographs, scenes, text or counts.",
    "Reads 24 tokens of English.",
    "Of most kinds of things it has seen 20 to 80 drawings; what people, professions and countries look like "
    "is what volunteers drew around 2004 to 2006.",
)


def facts(folder: Path = WEIGHTS, recognition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields of a model's document; `recognition` is what `clearmark bench recognition` said."""
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    ours = entries(folder)[0]
    metrics = [
        [name.replace("_", " "), str(record[name][part]), f"pictures {words}; {record[name]['unit']}"]
        for name in ("redrawing_error", "velocity_error")
        for part, words in (("seen", "it has seen"), ("held_out", "held out"))
    ]
    if recognition is not None:
        share = f"{recognition['right_first']:.1%}"
        metrics.append(
            ["right category first of ten", share, f"{recognition['pairs']} pairs of prompt and seed"]
        )
    return {
        "name": ours.id,
        "version": ours.version,
        "digest": ours.digest,
        "licence": ours.licence,
        "supplier": "clearmark",
        "description": "A small model for tests and demonstrations of the pipeline around it.",
        "architecture": "AutoencoderKL (16-fold, 8 channels), UNet2DConditionModel (13.0 M), "
        "all-MiniLM-L6-v2 as text encoder",
        "training": "; ".join(_stages(record["stages"])),
        "metrics": metrics,
        "uses": [
            "Trying, testing and demonstrating guards, marks, credentials and the ledger without a download."
        ],
        "limitations": list(_LIMITATIONS),
        "parameters": {
            "pictures": str(record["data"]["pictures"]),
            "held out": str(record["data"]["held_out"]),
            "digest of the data": record["data"]["digest"],
            **_index(folder.parent / "memorization" / "manifest.json"),
        },
    }


def _index(manifest: Path) -> dict[str, str]:
    """Say which index of what it was trained on ships beside the model."""
    if not manifest.exists():
        return {}
    body = json.loads(manifest.read_text(encoding="utf-8"))
    return {
        "memorization index": f"{body['items']} items, version {body['version']}",
        "digest of the memorization index": body["digest"],
    }


def _stages(stages: Mapping[str, Any]) -> list[str]:
    """Say of each stage, the runs that it went on from first, how many steps and minutes it took."""
    words = []
    for name, last in stages.items():
        runs, stage = [], last
        while stage:
            runs.append(f"{stage['steps']:,} steps in {stage['minutes']} minutes")
            stage = stage.get("went_on_from")
        words.append(f"{name}: {', then '.join(reversed(runs))}")
    return words


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the facts as JSON."""
    parser = argparse.ArgumentParser(prog="clearmark.generation.reference.facts", description=main.__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--recognition", type=Path, help="what `clearmark bench recognition --json` printed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--digest", action="store_true", help="print the digest of the weights")
    options = parser.parse_args(arguments)
    judged = None
    if options.recognition is not None:
        judged = json.loads(options.recognition.read_text(encoding="utf-8"))
    body = facts(options.weights, judged)
    options.out.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    if options.digest:
        print(body["digest"])


if __name__ == "__main__":
    main()
