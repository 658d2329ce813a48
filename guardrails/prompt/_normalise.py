"""Undo what hides a word, and keep on record what was undone and where.

A prompt becomes words, each with its place in the original. A word is only changed when the change makes
a word that we know out of one that we do not: `n4ked` and `n u d e` are read, `1girl`, `f/1.8`, `R2D2`,
`U.S.A.` and `n ike` stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clearmark.guardrails.prompt import _folding
from clearmark.guardrails.prompt._vocabulary import Vocabulary

__all__ = ["Change", "Normalised", "Word", "dense_char", "normalise", "split_words"]

# Vowel signs of the Indic and Thai scripts are no "\w", yet belong to words.
_LETTERS = r"\w\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e30-\u0e4e\u1000-\u109f"
# Signs inside a word may draw a letter (sh!t); "+" is only met in our lists, after a verb.
_WORD = re.compile(rf"[{_LETTERS}]+(?:[@$!|][{_LETTERS}@$!|]*[{_LETTERS}])?|[@$][{_LETTERS}]{{2,}}")
_LEET = str.maketrans("013456789@$!|+", "oieasgtbgasilt")
_LEET_OTHER = str.maketrans("013456789@$!|+", "oleasgtbgaslit")
_MAX_REPAIRED = 24  # longest word that repair looks at; longer ones are no words
_NO_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF),
              (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x1F300, 0x1FAFF))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """One word in plain letters, and the characters `start` up to `end` of the original that it stands for."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Change:
    """What was undone at characters `start` up to `end` of the original.

    Kinds: `invisible`, `alphabet`, `marks`, `tags`, `lookalike`, `leet`, `spaced`, `repeated`, `typo`,
    `split`, `encoded`.
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Normalised:
    """The words of a prompt in order, and every change. `dense` is the text of scripts without spaces."""

    words: tuple[Word, ...]
    changes: tuple[Change, ...]
    dense: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """The words, one space between them."""
        return " ".join(word.text for word in self.words)


def normalise(text: str, vocabulary: Vocabulary) -> Normalised:
    """Read the words of `text`. Time is linear in its length.

    Look-alikes, leet, doubled letters and typos are undone word by word, spelt-out words are joined again.
    """
    folded = _folding.fold(text)
    changes = [Change(kind, at, at + 1) for at, kind in folded.changed]
    origin = folded.origin
    plain = folded.text.replace("_", " ")
    words = [
        Word(match.group(), origin[match.start()], origin[match.end() - 1] + 1)
        for match in _WORD.finditer(plain)
    ]
    dense: tuple[Word, ...] = ()
    if not plain.isascii():
        dense = tuple(
            Word(char, at, at + 1) for char, at in zip(plain, origin, strict=True) if dense_char(char)
        )
    words = _join_spelt(words, vocabulary, changes)
    words = [_repair(word, vocabulary, changes) for word in words]
    words = _join_split(words, vocabulary, changes)
    words.extend(_hidden(folded, changes))
    return Normalised(tuple(words), tuple(changes), dense)


def split_words(folded: str) -> Iterator[str]:
    """Yield the words of folded text, a `+` after one with it: how the lists are read."""
    for match in re.finditer(rf"[{_LETTERS}]+\+?", folded.replace("_", " ")):
        yield match.group()


def dense_char(char: str) -> bool:
    """Whether `char` is of a script that writes no spaces (or Korean, which glues particles), or an emoji."""
    code = ord(char)
    return code >= 0x0E00 and any(first <= code <= last for first, last in _NO_SPACES)


def _repair(word: Word, vocabulary: Vocabulary, changes: list[Change]) -> Word:
    text = word.text
    if text in vocabulary or len(text) > _MAX_REPAIRED or len(text) < 2 or text.isdigit():
        return word
    if (plain := _plainer(text, vocabulary)) is None:
        return word
    kind, better = plain
    changes.append(Change(kind, word.start, word.end))
    return replace(word, text=better)


def _plainer(text: str, vocabulary: Vocabulary) -> tuple[str, str] | None:
    """Return the kind of change and the known word, or None where none is meant."""
    kind = ""
    if not text.isascii():
        drawn = _folding.latin(text)
        if drawn is None:
            return None
        if drawn in vocabulary:
            # A word all in another script counts only when it draws a term; Russian words stay Russian.
            mixed = any(char.isascii() and char.isalpha() for char in text)
            return ("lookalike", drawn) if mixed or vocabulary.is_term(drawn) else None
        if not any(char.isascii() for char in text):
            return None
        text, kind = drawn, "lookalike"
    if not text.isalpha():
        letters = sum(char.isalpha() for char in text)
        for table in (_LEET, _LEET_OTHER):
            known = text.translate(table)
            if known.isalpha() and letters and vocabulary.is_term(known):
                return "leet", known
            if (
                known.isalpha()
                and letters >= 2
                and len(known) >= 4
                and not text[0].isdigit()
                and known in vocabulary
            ):
                return "leet", known
            text_known = _collapse(known, vocabulary)
            if text_known and letters >= 2 and vocabulary.is_term(text_known):
                return "leet", text_known
        return (kind, text) if kind else None
    if better := _collapse(text, vocabulary):
        return "repeated", better
    if better := vocabulary.typo(text):
        return "typo", better
    return (kind, text) if kind else None


def _collapse(text: str, vocabulary: Vocabulary) -> str | None:
    """Undo letters that were held down: nuuuude."""
    if not re.search(r"(.)\1\1", text):
        return None
    for keep in (r"\1", r"\1\1"):
        short = re.sub(r"(.)\1{2,}", keep, text)
        if short in vocabulary:
            return short
    return None


def _join_spelt(words: list[Word], vocabulary: Vocabulary, changes: list[Change]) -> list[Word]:
    """Join runs of three or more single letters: `n u d e`, `n.u.d.e`, `n-u-d-e`."""
    out: list[Word] = []
    run: list[Word] = []

    def flush() -> None:
        if len(run) >= 3 and (parts := _segment(run, vocabulary)):
            changes.append(Change("spaced", run[0].start, run[-1].end))
            out.extend(parts)
        else:
            out.extend(run)
        run.clear()

    for word in words:
        single = len(word.text) == 1
        # Letters further apart than three signs were not spelt out by one hand.
        if run and (not single or word.start - run[-1].end > 3 * 2):
            flush()
        if single:
            run.append(word)
        else:
            out.append(word)
    flush()
    return out


def _segment(run: Sequence[Word], vocabulary: Vocabulary) -> list[Word] | None:
    """Split spelt letters into known words, or return None where they spell none.

    At least one term, or nothing but known words of four letters and more: initials spell neither.
    """
    letters = "".join(word.text for word in run)
    plain = letters if letters.isascii() else (_folding.latin(letters) or letters)
    plain = plain if plain.isalpha() else plain.translate(_LEET)
    parts = vocabulary.segment(plain)
    words = [
        Word(plain[first:last], run[first].start, run[last - 1].end) for first, last in parts if last > first
    ]
    if any(vocabulary.is_term(word.text) and len(word.text) >= 3 for word in words):
        return words
    if all(word.text in vocabulary and len(word.text) >= 4 for word in words):
        return words
    return None


def _join_split(words: list[Word], vocabulary: Vocabulary, changes: list[Change]) -> list[Word]:
    """Join a term that was cut in two where neither half is a word: `po rn`."""
    out: list[Word] = []
    for word in words:
        last = out[-1] if out else None
        if (
            last is not None
            and 0 < word.start - last.end <= 3
            and word.text not in vocabulary
            and last.text not in vocabulary
            and len(last.text) + len(word.text) <= _MAX_REPAIRED
            and vocabulary.is_term(joined := last.text + word.text, strong=True)
            and len(joined) >= 4
        ):
            changes.append(Change("split", last.start, word.end))
            out[-1] = Word(joined, last.start, word.end)
        else:
            out.append(word)
    return out


def _hidden(folded: _folding.Folded, changes: list[Change]) -> Iterator[Word]:
    """Yield what stands in tag characters (runs of three and more that are no flag of a region)."""
    text = "".join(char for char, _ in folded.hidden)
    for match in _WORD.finditer(text):
        first, last = folded.hidden[match.start()][1], folded.hidden[match.end() - 1][1]
        if len(match.group()) >= 3 and last - first == match.end() - match.start() - 1:
            changes.append(Change("tags", first, last + 1))
            yield Word(match.group().lower(), first, last + 1)
