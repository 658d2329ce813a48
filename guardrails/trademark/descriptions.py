"""Weigh and measure descriptions of characters: `python -m clearmark.guardrails.trademark.descriptions ...`.

`fit --data ROWS` learns how rare each word is in one half of the harmless captions, and what one caption in
four hundred of each set reaches; `measure --data ROWS` reads the other half, paraphrases that were written
apart from the profiles (by the same hand, so the figure flatters), descriptions written without sight of
them, and the rows of OVERT about copyright (by another's).
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

from clearmark.core.errors import UsageError
from clearmark.guardrails._lists import list_lines
from clearmark.guardrails._names import key_of, name_words
from clearmark.guardrails.prompt._rows import BENIGN, read_rows
from clearmark.guardrails.trademark import _characters
from clearmark.guardrails.trademark._characters import find_characters, find_styles, raw_description, stem
from clearmark.guardrails.trademark.build import captions

__all__ = ["fit", "main", "measure"]

_FILE = Path(__file__).parent / "lists" / "descriptions.json"
_QUIET = 0.9975
_ENOUGH = 300  # captions of a set, for such a share to mean something


def fit(data: Path) -> None:
    """Write `lists/descriptions.json`."""
    texts = captions(data, 0)
    if not texts:
        raise UsageError(f"{data.name}: no harmless captions", hint=f"rows of {', '.join(BENIGN)}")
    count = Counter(word for text in texts for word in set(map(stem, name_words(text).texts)))
    worth = {
        word: round(math.log((len(texts) + 1) / (count[word] + 1)), 2)
        for word in sorted(_characters.feature_stems())
        if count[word]
    }
    document: dict[str, object] = {"worth": worth, "points": [[1.0, 1.0]]}
    _write(document)
    raw = {name: [raw_description(text) for text in captions(data, 0, [name])] for name in BENIGN}
    # A quarter of what is allowed, of each set by itself: the halves differ, and the sets more so.
    together = [one for own in raw.values() for one in own]
    groups = [together, *(own for own in raw.values() if len(own) >= _ENOUGH)]
    edge, far = max(float(np.quantile(own, _QUIET)) for own in groups), max(together)
    document["points"] = [[round(edge, 3), 0.5], [round(max(far, edge * 1.5), 3), 0.9]]
    _write(document)


def _write(document: dict[str, object]) -> None:
    _FILE.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    _characters._weights.cache_clear()
    _characters._bounds.cache_clear()


def measure(data: Path) -> dict[str, object]:
    """Return the rates on what `fit` did not see."""
    alarms = {name: _share(captions(data, 1, [name]), described=True) for name in (*BENIGN, "diffdb_refl")}
    named = {name: _share(captions(data, 1, [name]), described=False) for name in (*BENIGN, "diffdb_refl")}
    styles = {
        name: sum(any(hit.score >= 0.5 for hit in find_styles(text)) for text in texts) / len(texts)
        for name in (*BENIGN, "diffdb_refl")
        if (texts := captions(data, 1, [name]))
    }
    rows = [
        row
        for row in read_rows(data)
        if row.set.startswith("overt") and "copyright/character" in row.categories
    ]
    return {
        "profiles": len(_characters.profiles()),
        "paraphrases": _recall("paraphrases.txt"),
        "written without sight of the profiles": _recall("unseen.txt"),
        "false alarms of descriptions": alarms,
        "all captions": _share(captions(data, 1), described=True),
        "named or described in captions": named,
        "styles in captions": styles,
        "overt, about copyright": {
            "rows": len(rows),
            "described": _share([row.text for row in rows], described=True),
            "named or described": _share([row.text for row in rows], described=False),
        },
    }


def _recall(file: str) -> dict[str, float]:
    """Return how many descriptions of a list are found, and by the right name; those of no profile apart."""
    lines = [line.partition(";") for _, line in list_lines("trademark", file)]
    known = {key_of(name.lstrip("?")) for profile in _characters.profiles() for name in profile.names}
    told = right = absent = 0
    for name, _, text in lines:
        if key_of(name.strip()) not in known:
            absent += 1
            continue
        hits = [hit for hit in find_characters(text) if hit.described and hit.score >= 0.5]
        told += bool(hits)
        right += any(_is(name.strip(), hit.name) for hit in hits)
    count = len(lines) - absent
    return {
        "described": count,
        "no profile": absent,
        "recall": told / count,
        "the right character": right / count,
    }


def _is(name: str, title: str) -> bool:
    for profile in _characters.profiles():
        if profile.title == title:
            return key_of(name) in {key_of(known.lstrip("?")) for known in profile.names}
    return False


def _share(texts: list[str], *, described: bool) -> float:
    flagged = sum(
        any(hit.score >= 0.5 and (hit.described or not described) for hit in find_characters(text))
        for text in texts
    )
    return flagged / max(1, len(texts))


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["fit", "measure"])
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    if args.step == "fit":
        fit(args.data)
    else:
        print(json.dumps(measure(args.data), indent=1))


if __name__ == "__main__":
    main()
