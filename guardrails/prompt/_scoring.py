"""From words and terms to a score per category, by numbers that `fit.py` measured.

For the categories of harm, a stack over the word model, the sentence model if it is installed, and the term
lists (`_stack.py`); one set of numbers with sentences, one without. Names are exact lists, scored by rule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from clearmark.guardrails.prompt._lexicon import TermHit
from clearmark.guardrails.prompt._minors import AGE_WORTH
from clearmark.guardrails.prompt._reading import Located, Reading
from clearmark.guardrails.prompt._stack import FLOORS, TERMS, Stack
from clearmark.guardrails.prompt._words import HEADS, word_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CATEGORIES", "HARM", "Calibration", "calibration", "features", "scores", "term_features", "told"]

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

HARM = HEADS[1:-1]
"""The categories that the stack tells; the rest are names and what is composed."""

_HARM = frozenset(HARM)
_MINORS_FLOOR = {"strong": 0.9, "medium": 0.45, "weak": 0.08, "": 0.0}
_TAUGHT = 0.15  # beneath what blocks, and in the band in which a person looks
_AVOIDED_CLOTHES = 0.5  # a negative prompt that keeps clothes out asks for their absence
_HARDLY = 1e-6  # a strong term alone puts its category on the threshold, and no further
_AVOIDED_ADULTS = 0.5  # one that keeps adults out, beside a sexual prompt, asks for a minor


@dataclass(frozen=True)
class Calibration:
    """The fitted numbers: stacks by name, rules for names (bias, weight per strength), and thresholds."""

    version: str
    thresholds: Mapping[str, float]
    stacks: Mapping[str, Stack]
    rules: Mapping[str, tuple[float, tuple[float, ...]]]


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """Read the fitted numbers that ship."""
    text = (files("clearmark.guardrails") / "models" / "prompt.json").read_text(encoding="utf-8")
    document = json.loads(text)
    return Calibration(
        document["version"],
        {name: row["threshold"] for name, row in document["categories"].items()},
        {name: Stack.from_dict(stack) for name, stack in document["stacks"].items()},
        {
            name: (row["bias"], tuple(row["weights"].get(strength, 0.0) for strength in TERMS))
            for name, row in document["categories"].items()
            if "weights" in row
        },
    )


def term_features(terms: Sequence[Located], *categories: str) -> tuple[float, ...]:
    """Return what the lists say of `categories`, a number for each of `TERMS`.

    Whether a strong, at least a medium, at least a weak term was read; how many more, damped; whether two
    strong ones of one category were. Each strength includes the weaker ones, so that with weights that are
    not negative the order holds. A term inside a longer one of its category says nothing of its own.
    """
    return _features(_outermost([located for located in terms if located.hit.term.group in categories]))


def _features(outermost: Iterable[Located]) -> tuple[float, ...]:
    distinct: dict[str, set[int]] = {"strong": set(), "medium": set(), "weak": set()}
    strong_of: dict[str, set[int]] = {}
    for (term, _, _, denied), _ in outermost:
        strength = "weak" if denied else term.strength
        distinct[strength].add(term.id)
        if strength == "strong":
            strong_of.setdefault(term.group, set()).add(term.id)
    strong, medium, weak = (len(distinct[strength]) for strength in ("strong", "medium", "weak"))
    more = math.log1p(max(0, strong + medium - 1) + 0.3 * weak)
    plain = any(len(ids) > 1 for ids in strong_of.values())
    return (
        float(strong > 0), float(strong + medium > 0), float(strong + medium + weak > 0), more, float(plain)
    )  # fmt: skip


def _outermost(terms: Iterable[Located]) -> Iterator[Located]:
    """Yield the terms that lie in no longer one of their category and field."""
    reach: dict[tuple[str, str], tuple[int, int]] = {}
    for located in sorted(terms, key=lambda located: (located.field, located.hit.start, -located.hit.end)):
        key = (located.field, located.hit.term.group)
        place = (located.hit.start, located.hit.end)
        last = reach.get(key, (-1, -1))
        if place[1] > last[1] or place == last:
            reach[key] = place
            yield located


def told(terms: Sequence[Sequence[Located]]) -> dict[str, NDArray[np.float64]]:
    """Return the term features of every prompt, by category and under "" of all: [prompts, features]."""
    import numpy as np

    out = {name: np.zeros((len(terms), len(TERMS))) for name in ("", *HARM)}
    for at, some in enumerate(terms):
        groups: dict[str, list[Located]] = {}
        for located in _outermost([located for located in some if located.hit.term.group in _HARM]):
            groups.setdefault(located.hit.term.group, []).append(located)
        if groups:
            out[""][at] = _features([located for own in groups.values() for located in own])
        for name, own in groups.items():
            out[name][at] = _features(own)
    return out


def features(
    terms: Mapping[str, NDArray[np.float64]],
    words: NDArray[np.floating],
    sentences: NDArray[np.floating] | None,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return what the stack sees of every prompt: for any harm, and by category; [prompts, features] each.

    `terms` is what `told` returns. `words` and `sentences` are log-odds [prompts, heads]; without sentences
    their columns are 0.
    """
    import numpy as np

    words = np.maximum(words, FLOORS["words"])
    meant = np.zeros_like(words) if sentences is None else np.maximum(sentences, FLOORS["sentences"])
    harm = [HEADS.index(name) for name in HARM]
    heads = [words[:, 0], words[:, harm].max(1), meant[:, 0], meant[:, harm].max(1)]
    by_category = {}
    for name, at in zip(HARM, harm, strict=True):
        others = [other for other in harm if other != at]
        elsewhere = np.max([terms[other][:, :2] for other in HARM if other != name], axis=0)
        columns = [
            words[:, at], words[:, at] - words[:, others].max(1),
            meant[:, at], meant[:, at] - meant[:, others].max(1),
        ]  # fmt: skip
        by_category[name] = np.concatenate([np.stack(columns, axis=1), terms[name], elsewhere], axis=1)
    return np.concatenate([np.stack(heads, axis=1), terms[""]], axis=1), by_category


def scores(readings: Sequence[Reading], *, sentences: bool) -> list[dict[str, float]]:
    """Return the calibrated score of every category of `CATEGORIES`, for each reading.

    Raises:
        ModelMissing, ModelCorrupt: when weights are absent or not those on record.
    """
    import numpy as np

    if not readings:
        return []
    table = calibration()
    texts = [[word.text for word in reading.words] for reading in readings]
    # What stands out of sight is read on its own as well: what is seen beside it may be anything.
    owner = [at for at, reading in enumerate(readings) if 0 < len(reading.unseen) < len(reading.words)]
    texts.extend([word.text for word in readings[at].unseen] for at in owner)
    model = word_model()
    weighed = [model.weigh(text) for text in texts]
    words = _joined(np.array([model.scores_of(own)[1] for own in weighed]), owner, len(readings))
    meant = None
    if sentences:
        from clearmark.guardrails.prompt._sentences import sentence_model

        meant = _joined(sentence_model().peaks(texts, weighed), owner, len(readings))
    stack = table.stacks["sentences" if sentences else "words"]
    margins = stack.margins(*features(told([reading.terms for reading in readings]), words, meant))
    return [
        _scored(reading, {name: float(margin[at]) for name, margin in margins.items()}, table)
        for at, reading in enumerate(readings)
    ]


def _joined(scores: NDArray[np.floating], owner: Sequence[int], count: int) -> NDArray[np.floating]:
    """Return the first `count` rows, each with the higher of its own and of later ones that it owns."""
    import numpy as np

    np.maximum.at(scores, np.array(owner, dtype=np.intp), scores[count:])
    return scores[:count]


def _scored(reading: Reading, margins: Mapping[str, float], table: Calibration) -> dict[str, float]:
    out: dict[str, float] = {}
    for category in CATEGORIES:
        if category in margins:
            out[category] = _probability(margins[category] + _logit(table.thresholds[category]))
        elif category in table.rules:
            bias, weights = table.rules[category]
            told = term_features(reading.terms, category)
            out[category] = _probability(bias + sum(w * v for w, v in zip(weights, told, strict=True)))
    groups = {located.hit.term.strength for located in reading.avoided if located.hit.term.group == "avoided"}
    if "sexual" in groups:
        out["sexual"] = max(out["sexual"], _AVOIDED_CLOTHES)
    out["sexual/minors"] = _minors(
        reading, out["sexual"], meant=margins["sexual"] > _HARDLY, adults_avoided="minors" in groups
    )
    return out


def _probability(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _minors(reading: Reading, sexual: float, *, meant: bool, adults_avoided: bool) -> float:
    """Compose age and sexual content; terms of the section "alone" need nothing else.

    Lessons and warnings name the subject: where nothing but its name is sexual in the words, and nothing in
    what is `meant` by the models, the score stays in the band in which a person looks.
    """
    worth = AGE_WORTH[reading.age.strength]
    if reading.age.strength == "alone":
        return 0.98
    strongest = _strongest([located.hit for located in reading.terms if located.hit.term.group == "sexual"])
    content = max(sexual, _MINORS_FLOOR[strongest])
    if adults_avoided and sexual >= calibration().thresholds["sexual"]:
        worth = max(worth, _AVOIDED_ADULTS)
    score = worth * content
    return min(score, _TAUGHT) if not meant and _is_taught(reading) else score


def _is_taught(reading: Reading) -> bool:
    """Whether the sexual terms only name the subject, in a setting in which it is taught or warned of."""
    asked = [located for located in reading.terms if not located.hit.denied]
    aside = [located for located in asked if located.hit.term.group == "education"]
    topics = {(one.hit.start, one.hit.end) for one in aside if one.hit.term.strength == "topic"}
    own = [
        (one.hit.start, one.hit.end)
        for one in asked
        if one.hit.term.group == "sexual" and one.hit.term.strength != "weak"
    ]
    return topics.issuperset(own) and any(one.hit.term.strength == "setting" for one in aside)


def _strongest(hits: Sequence[TermHit]) -> str:
    for strength in ("strong", "medium", "weak"):
        if any(hit.term.strength == strength and not hit.denied for hit in hits):
            return strength
    return ""
