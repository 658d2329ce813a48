"""How well retries are told from new ideas: `python -m clearmark.guardrails.sessions.evaluation --data ROWS`.

Recall is on rewordings and parts that were written for this (`rewordings.txt`, by the hand that wrote the
code, so it flatters). False alarms are on the harmless prompts of labelled rows: each comes from a person
with eight refused prompts, drawn from the harmful rows; and on another idea of that person, from the file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearmark.core import Request
from clearmark.guardrails.prompt._minilm import installed
from clearmark.guardrails.prompt.evaluation import interval, read_rows
from clearmark.guardrails.sessions._guard import score_of
from clearmark.guardrails.sessions._sketch import Sketch, sketch_of
from clearmark.guardrails.sessions._store import Kept

__all__ = ["main", "measure"]

_KEY = b"measuring needs no secret"
_REFUSED = 8
_SETS = ("coco", "parti", "diffdb_refl", "overt_benign", "copro_safe")


def measure(data: Path, *, count: int, sentences: bool) -> dict[str, Any]:
    """Return recall and false alarms with their 95% intervals."""

    def sketch(text: str) -> Sketch:
        return sketch_of(Request(text), _KEY, sentences=sentences)

    def retried(text: str, refused: Sequence[Sketch], before: Sequence[Sketch] = ()) -> bool:
        kept = [Kept(one, 0.0) for one in refused], [Kept(one, 1.0) for one in before]
        return score_of(sketch(text), *kept)[0] >= 0.5

    lines = [
        [part.strip() for part in line.split(";")]
        for line in (Path(__file__).parent / "rewordings.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    reworded = parted = other = 0
    for refused, words, parts, new in lines:
        known = [sketch(refused)]
        first, _, second = (part.strip() for part in parts.partition("/"))
        reworded += retried(words, known)
        parted += retried(second, known, [sketch(first)]) or retried(first, known)
        other += retried(new, known, [sketch(words)])
    chance = random.Random(11)  # noqa: S311  a draw that anyone can repeat
    rows = [row for row in read_rows(data) if row.lang == "en"]
    harmful = chance.sample([row.text for row in rows if row.unsafe], count)
    known = [sketch(text) for text in harmful]
    alarms = {}
    for name in _SETS:
        texts = [row.text for row in rows if row.set == name and not row.unsafe]
        texts = chance.sample(texts, min(count, len(texts)))
        before = [sketch(text) for text in chance.sample(texts, min(200, len(texts)))]
        hits = sum(retried(text, chance.sample(known, _REFUSED), chance.sample(before, 3)) for text in texts)
        alarms[name] = _share(hits, len(texts))
    return {
        "compared": "words and meaning" if sentences else "words",
        "reworded": _share(reworded, len(lines)),
        "in parts": _share(parted, len(lines)),
        "another idea of the same person": _share(other, len(lines)),
        f"harmless prompt after {_REFUSED} refused ones": alarms,
    }


def _share(hits: int, count: int) -> dict[str, Any]:
    low, high = interval(hits, count)
    return {"rows": count, "share": round(hits / count, 4), "interval": [round(low, 4), round(high, 4)]}


def main() -> None:
    """Print the figures, by words alone and with meaning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument("--count", type=int, default=500, help="harmless rows of each set")
    options = parser.parse_args()
    for sentences in (False, True) if installed() else (False,):
        print(json.dumps(measure(options.data, count=options.count, sentences=sentences), indent=1))


if __name__ == "__main__":
    main()
