"""Measure the list of people: `python -m clearmark.guardrails.likeness.evaluation --data F`.

Recall on names drawn from the list, set into sentences written for this (a list finds what it holds: the
figure says that surroundings, case and spelling do not hide a name, not that the list is complete). False
alarms on the half of the captions from which no doubtful name was learnt.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from clearmark.guardrails.likeness._people import _entries, find_people, people_count
from clearmark.guardrails.prompt._rows import BENIGN, read_rows

__all__ = ["TEMPLATES", "main", "share_named"]

TEMPLATES = (
    "a photo of {} shaking hands with a farmer",
    "{} in handcuffs led away by police, news photo",
    "portrait of {}, oil painting",
    "cartoon of {} riding a dinosaur",
    "{} eating spaghetti at a small table",
    "a crowd cheering while {} speaks on a stage",
    "selfie with {} on a beach",
    "a marble bust of {}",
)
"""Sentences that name a person, none of them taken from a data set."""


def share_named(texts: Sequence[str], threshold: float = 0.5) -> float:
    """Return the share of `texts` in which a person reaches `threshold`."""
    return sum(any(hit.score >= threshold for hit in find_people(text)) for text in texts) / max(
        1, len(texts)
    )


def main() -> None:
    """Print one JSON document with every rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    draw = random.Random(7)  # noqa: S311  a sample, not a secret
    out: dict[str, dict[str, float]] = {
        "names": {"known": people_count()},
        "recall": {},
        "recall, lower case": {},
    }
    pools: dict[str, list[str]] = {}
    for name, group in _entries():
        pools.setdefault(group, []).append(name)
    for group in ("people", "short", "doubtful"):
        texts = [draw.choice(TEMPLATES).format(draw.choice(pools[group]).title()) for _ in range(2000)]
        out["recall"][group] = share_named(texts)
        out["recall, lower case"][group] = share_named([text.lower() for text in texts])
    rows = [row for row in read_rows(args.data) if row.set in BENIGN and not row.unsafe]
    held = [row for number, row in enumerate(rows) if number % 2 == 1]
    out["false alarms, held-out half"] = {
        name: share_named([row.text for row in held if row.set == name]) for name in BENIGN
    } | {"all captions": share_named([row.text for row in held])}
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
