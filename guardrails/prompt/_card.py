"""The model card of the prompt guard, written from what `fit.py` measured: no number is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["render"]


def render(document: Mapping[str, Any], *, rows: int, features: int, size: int) -> str:
    """Return the card for a fitted `prompt.json`."""
    parts = ["## Figures by category\n"]
    safe = ("coco", "parti", "compbench", "geneval", "diffdb_refl", "copro_safe", "overt_benign")
    parts.append("Share of harmless prompts at or over the threshold:\n")
    parts.append("| category | threshold | prevalence | " + " | ".join(safe) + " |")
    parts.append("|---" * (3 + len(safe)) + "|")
    rated = {name: row for name, row in document["categories"].items() if "false_alarms" in row}
    for name, row in rated.items():
        shares = " | ".join(f"{row['false_alarms'][source]:.2%}" for source in safe)
        parts.append(f"| {name} | {row['threshold']} | {row['prevalence']:.3f} | {shares} |")
    overall = document["any"]["false_alarms"]
    parts.append("| **any of them** | | | " + " | ".join(f"{overall[source]:.2%}" for source in safe) + " |")
    sources = sorted({source for row in rated.values() for source in row["recall"]})
    parts.append("\nShare of harmful prompts of the category at or over its threshold, by source:\n")
    parts.append("| category | " + " | ".join(sources) + " |")
    parts.append("|---" * (1 + len(sources)) + "|")
    for name, row in rated.items():
        if row["recall"]:
            shares = " | ".join(f"{row['recall'][s]:.1%}" if s in row["recall"] else "" for s in sources)
            parts.append(f"| {name} | {shares} |")
    parts.append(
        "\nArea under the ROC curve of the highest score (each on the scale of its threshold), by source,"
    )
    parts.append(
        "for the rows whose source was left out, against harmless rows of the same source, captions, or"
    )
    parts.append("DiffusionDB prompts; and recall at 5% false alarms:\n")
    parts.append("| harmful rows of | against | area | recall at 5% |")
    parts.append("|---|---|---|---|")
    parts.extend(
        f"| {row['source']} | {row['against']} | {row['area']:.3f} | {row['recall_at_5']:.3f} |"
        for row in document["unseen"]
    )
    means = [sum(row[key] for row in document["unseen"]) / len(document["unseen"]) for key in _MEANS]
    parts.append(f"| **mean** | | {means[0]:.3f} | {means[1]:.3f} |")
    template = (files("clearmark.guardrails") / "prompt" / "card_template.md").read_text(encoding="utf-8")
    return template.format(
        version=document["version"], rows=rows, features=features, size=size, tables="\n".join(parts)
    )


_MEANS = ("area", "recall_at_5")
