"""Fit the prompt guard's numbers from labelled prompts: `python -m clearmark.guardrails.prompt.fit --help`.

Rows are those of `--data`, captions made of OpenClipart titles (`--drawings`), and everyday prompts of our
own. One row in seven is kept from all steps: `reserved` writes those to a file, for `clearmark eval prompts
FILE` to measure on.

Steps, in this order: `words` lists the common words of English prompts (what spelling repair takes for a
word); `model` fits the linear model over words; `sentences` fits the network over sentence embeddings (extra
`minilm`); `calibrate` weighs both and the term lists into one margin per category, on rows that no model was
fitted on, and chooses the one limit that all categories of harm share; `card` writes the model cards. Every
step writes into this package and prints what it measured.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearmark.guardrails._shipping import ship
from clearmark.guardrails.prompt import _sentence_training
from clearmark.guardrails.prompt._card import render
from clearmark.guardrails.prompt._drawings import drawing_rows
from clearmark.guardrails.prompt._everyday import everyday_rows
from clearmark.guardrails.prompt._measure import BUDGETS, HeldOut, chosen_on, held_out, shares, unseen
from clearmark.guardrails.prompt._rows import Row, is_reserved, read_rows
from clearmark.guardrails.prompt._scoring import HARM
from clearmark.guardrails.prompt._stack import BAND, TERMS
from clearmark.guardrails.prompt._stack_fitting import FittedStack, fit_stack
from clearmark.guardrails.prompt._training import Prepared, fit_heads, pack, prepare, score
from clearmark.guardrails.prompt._words import HEADS

__all__ = ["main"]

_HERE = Path(__file__).parent
_MODELS = _HERE.parent / "models"
# Where each category's working point stands on the scale of scores: fitting anew improves the ranking and
# moves nobody's policy.
_WORKING_POINTS = {
    "sexual": 0.55, "violence": 0.35, "violence/graphic": 0.25, "hate": 0.2, "harassment": 0.35,
    "self-harm": 0.35, "illicit": 0.15, "deception": 0.2, "likeness/public-figure": 0.5, "trademark": 0.5,
    "copyright/character": 0.6,
}  # fmt: skip
# No row names brands or characters as we list them; the lists are short and exact, and scored by rule.
_BY_HAND = dict.fromkeys(
    ("likeness/public-figure", "trademark", "copyright/character"), (-5.0, (4.0, 2.0, 1.5, 0.5))
)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Job:
    rows: Sequence[Row]
    cache: Path
    reserved: Sequence[Row] = ()
    out: Path = Path("reserved.jsonl.gz")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step; returns the exit code."""
    steps = {
        "words": _words,
        "model": _model,
        "sentences": _sentences,
        "calibrate": _calibrate,
        "card": _card,
        "reserved": _reserved,
    }
    parser = argparse.ArgumentParser(prog="python -m clearmark.guardrails.prompt.fit", description=__doc__)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--data", type=Path, required=True, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument(
        "--cache", type=Path, default=Path("out/guards"), help="folder for embeddings and held-out scores"
    )
    parser.add_argument(
        "--drawings", type=Path, default=Path("/usr/share/openclipart"), help="Debian's openclipart-svg"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reserved.jsonl.gz"), help="where `reserved` writes rows"
    )
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    rows = [*read_rows(options.data), *drawing_rows(options.drawings), *everyday_rows()]
    fitted = [row for row in rows if not is_reserved(row.text)]
    reserved = [row for row in rows if is_reserved(row.text)]
    return steps[options.step](_Job(fitted, options.cache, reserved, options.out))


def _reserved(job: _Job) -> int:
    """Write the rows that no step sees, as `clearmark eval prompts` reads them."""
    with gzip.open(job.out, "wt", encoding="utf-8") as stream:
        for row in job.reserved:
            label, categories = int(row.unsafe), sorted(row.categories)
            line = {"id": row.id, "set": row.set, "label": label, "category": categories, "lang": row.lang}
            stream.write(json.dumps({**line, "text": row.text}) + "\n")
    _say(f"{job.out}: {len(job.reserved):,} rows")
    return 0


def _words(job: _Job) -> int:
    counts: Counter[str] = Counter()
    for row in job.rows:
        if row.lang == "en":
            counts.update(set(re.findall(r"[a-z]{2,18}", row.text.lower())))
    known = sorted((word for word in counts if counts[word] >= 2), key=lambda word: (-counts[word], word))
    (_HERE / "terms" / "common.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    _say(f"{len(known):,} words")
    return 0


def _model(job: _Job) -> int:
    """Fit the heads on all rows and write the weights with their catalogue entry."""
    prepared = prepare(job.rows)
    data = pack(prepared, fit_heads(prepared, np.ones(len(job.rows), dtype=bool)))
    _ship("prompt-words", "models/weights/prompt-words.npz", data)
    _say(f"{len(prepared.keys):,} features")
    return 0


def _sentences(job: _Job) -> int:
    """Fit the network on all rows and write the weights with their catalogue entry."""
    prepared = prepare(job.rows)
    pieces = _sentence_training.embed_rows(prepared.words, job.cache / "embeddings.npz", _say)
    everything = np.array([row.lang == "en" for row in job.rows])
    data = _sentence_training.fit_sentences(pieces, *_labels(prepared), everything)
    _ship("prompt-sentences", "models/weights/prompt-sentences.npz", data)
    return 0


def _ship(model_id: str, path: str, data: bytes) -> None:
    """Write weights and put their size and digest on record."""
    sha256 = ship(model_id, path, data)
    _say(f"{model_id}: {len(data):,} bytes, sha256 {sha256[:12]}")


def _labels(prepared: Prepared) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    trust = np.stack([prepared.trust(head) for head in HEADS], axis=1)
    return prepared.labels().astype(np.float32), trust.astype(np.float32)


def _calibrate(job: _Job) -> int:
    """Weigh models and lists on rows that they were not fitted on; write numbers and what was measured."""
    prepared = prepare(job.rows)
    words = _held_out("words", job, lambda use: _fit_words(prepared, use))
    pieces = _sentence_training.embed_rows(prepared.words, job.cache / "embeddings.npz", _say)
    labels, trust = _labels(prepared)
    english = np.array([row.lang == "en" for row in job.rows])

    def fit(use: Mask) -> Callable[[Mask], Floats]:
        fitted = _sentence_training.fit_sentences(pieces, labels, trust, use & english)
        return lambda asked: _sentence_training.peaks(fitted, pieces)[asked]

    meant = _held_out("sentences", job, fit)
    stacks = {"words": fit_stack(prepared, words, None), "sentences": fit_stack(prepared, words, meant)}
    document: dict[str, Any] = {
        "schema_version": 3,
        "version": "",
        "rows": len(job.rows),
        "band": BAND,
        "budgets": {kind: share for kind, (_, share) in BUDGETS.items()},
        "stacks": {name: stack.document for name, stack in stacks.items()},
        "categories": _categories(),
        "measured": {name: _measured(job.rows, stack) for name, stack in stacks.items()},
    }
    document["version"] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
    (_MODELS / "prompt.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _say(json.dumps(document["measured"]))
    return 0


def _fit_words(prepared: Prepared, use: Mask) -> Callable[[Mask], Floats]:
    heads = fit_heads(prepared, use)
    return lambda asked: score(prepared, heads, asked)


def _held_out(name: str, job: _Job, fit: Callable[[Mask], Callable[[Mask], Floats]]) -> HeldOut:
    """Return held-out scores, from the cache where it has them for these rows."""
    path = job.cache / f"held-out-{name}.npz"
    digest = hashlib.sha256("".join(row.id + row.text for row in job.rows).encode()).hexdigest()
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["digest"]) == digest:
                return HeldOut(arrays["known"], arrays["unknown"])
    found = held_out(job.rows, fit, lambda text: _say(f"{name}: {text}"))
    np.savez(path, known=found.known, unknown=found.unknown, digest=np.array(digest))
    return found


def _categories() -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {
        name: {"basis": "fitted", "threshold": _WORKING_POINTS[name]} for name in HARM
    }
    for name, (bias, weights) in _BY_HAND.items():
        listed = dict(zip(TERMS, weights, strict=False))
        out[name] = {
            "basis": "by hand", "threshold": _WORKING_POINTS[name], "bias": bias, "weights": listed
        }  # fmt: skip
    out["sexual/minors"] = {"basis": "composed of age and sexual content", "threshold": 0.2}
    return out


def _measured(rows: Sequence[Row], stack: FittedStack) -> dict[str, Any]:
    """Return what the stack does with rows that neither models nor limit were chosen on."""
    harmless, harmful = (np.array([row.unsafe is wanted for row in rows]) for wanted in (False, True))
    english = np.array([row.lang == "en" for row in rows])
    fresh = ~chosen_on(rows) & english
    known = np.max(list(stack.known.values()), axis=0)
    unknown = np.max(list(stack.unknown.values()), axis=0)
    by_category = {}
    for name in HARM:
        own = np.array([name in row.categories for row in rows]) & fresh
        by_category[name] = {
            "recall": shares(rows, stack.known[name] >= 0, own),
            "recall, source unseen": shares(rows, stack.unknown[name] >= 0, own),
            "false alarms": shares(rows, stack.known[name] >= 0, fresh & harmless),
        }
    out: dict[str, Any] = {}
    for point, limit in (("review", 0.0), ("block", BAND)):
        out[point] = {
            "harmless": shares(rows, known >= limit, fresh & harmless),
            "harmless, source unseen": shares(rows, unknown >= limit, fresh & harmless),
            "harmful": shares(rows, known >= limit, fresh & harmful),
            "harmful, source unseen": shares(rows, unknown >= limit, fresh & harmful),
        }
    return out | {
        "unseen": unseen(rows, known, unknown),
        "known": unseen(rows, known, known),
        "categories": by_category,
    }


def _card(job: _Job) -> int:
    """Write the model cards from what the other steps left."""
    document = json.loads((_MODELS / "prompt.json").read_text(encoding="utf-8"))
    for name, text in render(document).items():
        (_MODELS / "cards" / f"{name}.md").write_text(text, encoding="utf-8")
    _say(f"cards of version {document['version']}, {len(job.rows):,} rows")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
