"""From words and terms to calibrated probabilities, by numbers that `fit.py` measured.

For every category a logistic model over what the word model says of the whole prompt and of its worst window,
and over the strong, medium and weak terms that were read. Its weights are not negative, so that one more term
never lowers a score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from clearmark.guardrails.prompt._lexicon import TermHit
from clearmark.guardrails.prompt._minors import AGE_WORTH
from clearmark.guardrails.prompt._reading import Located, Reading
from clearmark.guardrails.prompt._words import HEAD_FLOOR, HEADS, word_model

__all__ = [
    "CATEGORIES",
    "FEATURES",
    "TERM_FEATURES",
    "Calibration",
    "calibration",
    "scores",
    "term_features",
]

CATEGORIES = (
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
    "hate",
    "harassment",
    "self-harm",
    "illicit",
    "deception",
    "likeness/public-figure",
    "trademark",
    "copyright/character",
)
"""What the prompt guard measures."""

TERM_FEATURES = ("strong", "medium", "weak", "more")
FEATURES = ("head", "unsafe", *TERM_FEATURES)
"""What the calibration sees: two heads of the word model, at the worst window, and the terms."""

_MINORS_FLOOR = {"strong": 0.9, "medium": 0.45, "weak": 0.08, "": 0.0}
_AVOIDED_CLOTHES = 0.5  # a negative prompt that keeps clothes out asks for their absence
_AVOIDED_ADULTS = 0.5  # one that keeps adults out, beside a sexual prompt, asks for a minor


@dataclass(frozen=True)
class Calibration:
    """One category's fitted numbers: bias, a weight per feature, and the default threshold."""

    bias: float
    weights: tuple[float, ...]
    threshold: float
    version: str = ""

    def probability(self, values: Sequence[float]) -> float:
        """Return the calibrated probability of the feature `values`."""
        z = self.bias + sum(w * v for w, v in zip(self.weights, values, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))


@lru_cache(maxsize=1)
def calibration() -> Mapping[str, Calibration]:
    """Read the fitted numbers that ship."""
    text = (files("clearmark.guardrails") / "models" / "prompt.json").read_text(encoding="utf-8")
    document = json.loads(text)
    return {
        category: Calibration(
            row["bias"],
            tuple(row["weights"][name] for name in FEATURES),
            row["threshold"],
            document["version"],
        )
        for category, row in document["categories"].items()
    }


def term_features(terms: Sequence[Located], category: str) -> tuple[float, ...]:
    """Return whether a strong, at least a medium, at least a weak term was read, and how many more, damped.

    Each strength includes the weaker ones, so that with weights that are not negative the order holds.
    """
    distinct: dict[str, set[int]] = {"strong": set(), "medium": set(), "weak": set()}
    for located in terms:
        term = located.hit.term
        if term.group == category:
            distinct["weak" if located.hit.denied else term.strength].add(term.id)
    strong, medium, weak = (len(distinct[strength]) for strength in ("strong", "medium", "weak"))
    more = math.log1p(max(0, strong + medium - 1) + 0.3 * weak)
    return float(strong > 0), float(strong + medium > 0), float(strong + medium + weak > 0), more


def scores(reading: Reading) -> dict[str, float]:
    """Return the calibrated score of every category of `CATEGORIES`."""
    table = calibration()
    _, highest = word_model().scores([word.text for word in reading.words])
    peak = [max(HEAD_FLOOR, value) for value in highest.tolist()]
    out: dict[str, float] = {}
    for category in CATEGORIES:
        if category == "sexual/minors":
            continue
        at = HEADS.index(category) if category in HEADS else None
        head = 0.0 if at is None else peak[at]
        values = (head, peak[0], *term_features(reading.terms, category))
        out[category] = table[category].probability(values)
    groups = {located.hit.term.strength for located in reading.avoided if located.hit.term.group == "avoided"}
    if "sexual" in groups:
        out["sexual"] = max(out["sexual"], _AVOIDED_CLOTHES)
    out["sexual/minors"] = _minors(reading, out["sexual"], adults_avoided="minors" in groups)
    return out


def _minors(reading: Reading, sexual: float, *, adults_avoided: bool) -> float:
    """Compose age and sexual content; terms of the section "alone" need nothing else."""
    worth = AGE_WORTH[reading.age.strength]
    if reading.age.strength == "alone":
        return 0.98
    strongest = _strongest([located.hit for located in reading.terms if located.hit.term.group == "sexual"])
    content = max(sexual, _MINORS_FLOOR[strongest])
    if adults_avoided and sexual >= calibration()["sexual"].threshold:
        worth = max(worth, _AVOIDED_ADULTS)
    return worth * content


def _strongest(hits: Sequence[TermHit]) -> str:
    for strength in ("strong", "medium", "weak"):
        if any(hit.term.strength == strength and not hit.denied for hit in hits):
            return strength
    return ""
