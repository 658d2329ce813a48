"""Every figure of training in the model card is the one on record."""

from __future__ import annotations

import json
from pathlib import Path

ROOM = Path(__file__).parents[3] / "generation" / "reference"


def test_the_card_repeats_the_record() -> None:
    record = json.loads((ROOM / "weights" / "training.json").read_text())
    card = (ROOM / "MODEL_CARD.md").read_text()
    data = record["data"]
    figures = [f"{data['pictures']:,}", f"{data['held_out']} of them", f"{data['captions']:,}"]
    figures += [f"{reason} {number:,}" for reason, number in data["skipped"].items()]
    for stage in record["stages"].values():
        figures += [f"{stage['steps']:,}", f"| {stage['minutes']} |"]
        figures.append(f"{stage['first']['loss']} to {stage['last']['loss']}")
    for measured in ("redrawing_error", "velocity_error"):
        figures += [str(record[measured][kind]) for kind in ("seen", "held_out")]
    words = " ".join(card.split())
    assert [figure for figure in figures if figure not in words] == []
