"""Measure the list of brands: `python -m clearmark.guardrails.trademark.evaluation --icons D --index D ...`.

False alarms are counted on the half of the captions that the list did not learn from; recall on names drawn
from both packages, set into sentences written for this.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from clearmark.guardrails._names import key_of
from clearmark.guardrails.prompt._rows import BENIGN
from clearmark.guardrails.trademark._brands import find_brands
from clearmark.guardrails.trademark.build import captions, icon_names, index_names

__all__ = ["TEMPLATES", "main", "share_flagged"]

TEMPLATES = (
    "a photo of the {} logo on a white wall",
    "a man wearing a {} t-shirt in a park",
    "storefront of a {} store at night",
    "an advertisement for {}, studio light",
    "a city street with a big {} billboard",
    "a coffee mug with the {} logo printed on it",
    "a {} branded tote bag on a bench",
    "product packaging by {}, minimal design",
    "people queue in front of the {} headquarters",
    "a neon sign that says {}",
)
"""Sentences that name a brand, none of them taken from a data set."""


def share_flagged(texts: Sequence[str], threshold: float = 0.5) -> float:
    """Return the share of `texts` in which a brand reaches `threshold`."""
    hits = sum(any(hit.score >= threshold for hit in find_brands(text)) for text in texts)
    return hits / max(1, len(texts))


def main() -> None:
    """Print one JSON document with every rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    draw = random.Random(7)  # noqa: S311  a sample, not a secret
    out: dict[str, dict[str, float]] = {
        "recall": {},
        "recall, lower case": {},
        "false alarms, held-out half": {},
    }
    for source, names in (
        ("simple-icons", icon_names(args.icons)),
        ("name-suggestion-index", index_names(args.index)),
    ):
        pool = sorted({name for name in names if name.isascii() and sum(map(str.isalpha, key_of(name))) >= 3})
        texts = [draw.choice(TEMPLATES).format(name) for name in draw.sample(pool, 2000)]
        out["recall"][source] = share_flagged(texts)
        out["recall, lower case"][source] = share_flagged([text.lower() for text in texts])
    for name in (*BENIGN, "diffdb_refl"):
        if texts := captions(args.data, 1, [name]):
            out["false alarms, held-out half"][name] = share_flagged(texts)
    out["false alarms, held-out half"]["all captions"] = share_flagged(captions(args.data, 1))
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
