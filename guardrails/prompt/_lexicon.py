"""Our own lists of terms: read, inflected, compiled, and found in normalised words.

A list file has sections by strength; terms stand between commas; `+` inflects a verb, and the last word of
every term gets its plural. `strong` terms say the category by themselves, `medium` ones usually with others,
`weak` ones only set the scene. How much each is worth is measured (`fit.py`), not written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from clearmark.guardrails.prompt._automaton import Automaton, Hit
from clearmark.guardrails.prompt._folding import fold
from clearmark.guardrails.prompt._normalise import Normalised, dense_part, split_words
from clearmark.guardrails.prompt._vocabulary import Vocabulary

__all__ = ["LISTED", "Lexicon", "Term", "TermHit", "lexicon"]

LISTED = {
    "sexual": "sexual",
    "violence": "violence",
    "violence/graphic": "violence_graphic",
    "hate": "hate",
    "harassment": "harassment",
    "self-harm": "self_harm",
    "illicit": "illicit",
    "deception": "deception",
    "likeness/public-figure": "public_figures",
    "trademark": "trademark",
    "copyright/character": "copyright_character",
    "sexual/minors": "minors",
}
"""The categories that have a list, and the file name of each."""

_ASIDE = ("avoided", "harmless", "education")
"""Lists of their own kind: what a negative prompt tells, phrases in which a listed word means something else,
and what speaks about sexuality instead of showing it."""

_NEGATORS = frozenset(["no", "not", "without", "non", "never", "anti", "avoid", "nor"])
_MOST_OF_ONE = 4
_SPLIT = re.compile(r"[,\n]")


@dataclass(frozen=True, slots=True)
class Term:
    """One entry: its list, its strength, and an id that its inflected forms share."""

    group: str
    strength: str
    id: int


class TermHit(NamedTuple):
    """A term at characters `start` up to `end` of the original; `denied` where "no" or "without" precedes."""

    term: Term
    start: int
    end: int
    denied: bool = False


class _Found(NamedTuple):
    """The terms that the same words are, and whether they are a harmless phrase."""

    terms: tuple[Term, ...]
    harmless: bool


class Lexicon:
    """All lists, compiled for words and for scripts that write no spaces."""

    def __init__(self, entries: Sequence[tuple[str, Term]]) -> None:
        spaced: dict[tuple[str, ...], list[Term]] = {}
        dense: dict[str, list[Term]] = {}
        terms: dict[str, str] = {}
        for text, term in entries:
            folded = fold(text).text
            if chars := dense_part(folded):
                dense.setdefault(chars, []).append(term)
                continue
            for words in _forms(tuple(split_words(folded))):
                spaced.setdefault(words, []).append(term)
                if len(words) == 1 and term.strength != "weak" and term.group in LISTED:
                    strong = term.strength in {"strong", "alone"} and term.group not in _NAMES
                    terms[words[0]] = "strong" if strong else terms.get(words[0], "medium")
        self._spaced: Automaton[str, _Found] = Automaton(
            (words, _Found(tuple(dict.fromkeys(found)), any(term.group == "harmless" for term in found)))
            for words, found in spaced.items()
        )
        self._dense: Automaton[str, tuple[Term, ...]] = Automaton(
            (chars, tuple(dict.fromkeys(found))) for chars, found in dense.items()
        )
        self._all_words = frozenset(word for words in spaced for word in words)
        self._terms = terms

    @property
    def single_words(self) -> dict[str, str]:
        """Terms of one word, each with "strong" or "medium"."""
        return dict(self._terms)

    @property
    def all_words(self) -> frozenset[str]:
        """Every word that stands in a term."""
        return self._all_words

    def find(self, text: Normalised) -> Iterator[TermHit]:
        """Yield the terms of `text`, each at most a few times: more say nothing new."""
        words = text.words
        hits = list(self._spaced.find([word.text for word in words]))
        innocent = _spans(hits, len(words))
        often: dict[int, int] = {}
        for hit in hits:
            if innocent and innocent[hit.start] >= hit.end:
                continue
            for term in hit.value.terms:
                count = often.get(term.id, 0)
                if count < _MOST_OF_ONE:
                    before = words[hit.start - 1].text if hit.start else ""
                    denied = before in _NEGATORS
                    # Only a hit that is asked for uses up the term's share.
                    often[term.id] = count + (not denied)
                    yield TermHit(term, words[hit.start].start, words[hit.end - 1].end, denied)
        for one in self._dense.find(text.dense):
            start, end = text.places[one.start], text.places[one.end - 1] + 1
            for term in one.value:
                # Signs may stand between, other text not.
                if end - start <= 2 * (one.end - one.start):
                    often[term.id] = often.get(term.id, 0) + 1
                    if often[term.id] <= _MOST_OF_ONE:
                        yield TermHit(term, start, end)


def _spans(hits: Sequence[Hit[_Found]], count: int) -> list[int]:
    """Return for each of `count` words how far the harmless phrases that it stands in reach, 0 for none.

    A term that begins at a word and sticks out of them counts. The list is empty where there is no phrase.
    """
    out: list[int] = []
    for hit in hits:
        if hit.value.harmless:
            out = out or [0] * count
            for at in range(hit.start, hit.end):
                out[at] = max(hit.end, out[at])
    return out


_NAMES = frozenset(["trademark", "copyright/character", "likeness/public-figure"])


@lru_cache(maxsize=1)
def lexicon() -> tuple[Lexicon, Vocabulary]:
    """Read and compile the lists that ship, once."""
    folder = files("clearmark.guardrails") / "prompt" / "terms"
    entries: list[tuple[str, Term]] = []
    for group, name in {**LISTED, **dict(zip(_ASIDE, _ASIDE, strict=True))}.items():
        entries.extend(_read((folder / f"{name}.txt").read_text(encoding="utf-8"), group, len(entries)))
    compiled = Lexicon(entries)
    common = (folder / "common.txt").read_text(encoding="utf-8").split()
    return compiled, Vocabulary(common=common, terms=compiled.single_words, words=compiled.all_words)


def _read(text: str, group: str, first: int) -> Iterator[tuple[str, Term]]:
    strength = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("["):
            strength = line.strip("[] ")
            continue
        for entry in _SPLIT.split(line):
            if clean := entry.strip():
                yield clean, Term(group, strength, first)
                first += 1


def _forms(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield a term's words in their forms: `stab+` stabs, stabbed, stabbing; `corpse` corpses."""
    if not words:
        return
    for at, word in enumerate(words):
        if word.endswith("+"):
            for form in _verb(word[:-1]):
                yield (*words[:at], form, *words[at + 1 :])
            return
    yield words
    last = words[-1]
    if last.isascii() and last.isalpha() and len(last) >= 3 and last[-1] != "s":
        yield (*words[:-1], _plural(last))


def _plural(word: str) -> str:
    if word.endswith(("x", "ch", "sh", "z")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _verb(word: str) -> Iterator[str]:
    yield word
    yield _plural(word) if word[-1] != "s" else word + "es"
    stem = word[:-1] if word.endswith("e") else word
    yield stem + "ing"
    yield stem + "ed"
    yield stem + "er"
    if word.endswith("y") and word[-2] not in "aeiou":
        yield word[:-1] + "ied"
    if len(word) >= 3 and word[-1] not in "aeiouwxyh" and word[-2] in "aeiou" and word[-3] not in "aeiou":
        yield word + word[-1] + "ing"
        yield word + word[-1] + "ed"
