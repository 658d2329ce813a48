"""Undo what hides a word, and keep on record what was undone and where.

A prompt becomes words, each with its place in the original. A word is only changed when the change makes
a word that we know out of one that we do not: `n4ked` and `n u d e` are read, `1girl`, `f/1.8`, `R2D2`,
`U.S.A.` and `n ike` stay what they are. Where most of a prompt is disguised in one way, the rest is read that
way too: one odd word may be a name or a slip, ten are not.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clearmark.guardrails.prompt import _folding
from clearmark.guardrails.prompt._spelling import join_spelt
from clearmark.guardrails.prompt._vocabulary import Vocabulary

__all__ = ["Change", "Normalised", "Word", "dense_part", "normalise", "split_words"]

# Vowel signs of the Indic and Thai scripts are no "\w", yet belong to words.
_LETTERS = r"\w\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e30-\u0e4e\u1000-\u109f"
# Signs inside a word may draw a letter (sh!t); "+" is only met in our lists, after a verb.
_WORD = re.compile(rf"[{_LETTERS}]+(?:[@$!|][{_LETTERS}@$!|]*[{_LETTERS}])?|[@$][{_LETTERS}]{{2,}}")
_ASCII_WORD = re.compile(r"\w+(?:[@$!|][\w@$!|]*\w)?|[@$]\w{2,}", re.ASCII)  # the same in ASCII, in less time
_LEET = str.maketrans("013456789@$!|+", "oieasgtbgasilt")
_LEET_OTHER = str.maketrans("013456789@$!|+", "oleasgtbgaslit")
_FEWEST = 2  # so many disguised words make a disguised prompt
_MOST_JUDGED = 60
_MOST_OF_DIGITS, _MOST_OF_LONG = 0.5, 0.34
_LONG = 5
_MAX_REPAIRED = 24  # longest word that repair looks at; longer ones are no words
# Scripts that write no spaces (and Korean, which glues particles to words), and emoji.
_DENSE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
    "\U0001f300-\U0001faff]"
)


class Word(NamedTuple):
    """One word in plain letters, and the characters `start` up to `end` of the original it stands for."""

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
    """The words of a prompt in order, and every change; the last `unseen` of them are written out of sight.

    `dense` is what is written without spaces, apart from the rest; `places` are its positions.
    """

    words: tuple[Word, ...]
    changes: tuple[Change, ...]
    dense: str = ""
    places: tuple[int, ...] = ()
    unseen: int = 0

    @property
    def text(self) -> str:
        """The words, one space between them."""
        return " ".join(word.text for word in self.words)


def normalise(text: str, vocabulary: Vocabulary) -> Normalised:
    """Read the words of `text`. Time is linear in its length.

    Look-alikes, leet, doubled letters and typos are undone word by word, spelt-out words are joined again.
    """
    folded = _folding.fold(text)
    changes = [Change(kind, first, last) for kind, first, last in folded.changed]
    origin = folded.origin
    plain = folded.text.replace("_", " ")
    found = _ASCII_WORD if plain.isascii() else _WORD
    places = [match.span() for match in found.finditer(plain)]
    make = tuple.__new__  # what `Word(...)` calls: a third of the time, and prompts have thousands
    if isinstance(origin, range):  # every letter stands where it stood
        words = [make(Word, (plain[first:last], first, last)) for first, last in places]
    else:
        words = [
            make(Word, (plain[first:last], origin[first], origin[last - 1] + 1)) for first, last in places
        ]
    dense = [] if plain.isascii() else [match.start() for match in _DENSE.finditer(plain)]
    if runs := join_spelt(plain, places, vocabulary, unleet=_LEET):
        words = _joined(words, places, runs, origin, changes)
    known = vocabulary.known
    unknown = {word.text for word in words} - known
    mostly = _Mostly.of(unknown, words, vocabulary)
    if unknown or mostly.leet:
        seen: dict[str, tuple[str, str] | None] = {}
        words = [
            word
            if word.text in known and not mostly.leet
            else _repair(word, vocabulary, changes, seen, mostly)
            for word in words
        ]
    words = _join_split(words, vocabulary, changes)
    hidden = list(_hidden(folded, changes))
    words.extend(hidden)
    return Normalised(
        tuple(words),
        tuple(changes),
        "".join([plain[at] for at in dense]),
        tuple([origin[at] for at in dense]),
        len(hidden),
    )


def split_words(folded: str) -> Iterator[str]:
    """Yield the words of folded text, a `+` after one with it: how the lists are read."""
    for match in re.finditer(rf"[{_LETTERS}]+\+?", folded.replace("_", " ")):
        yield match.group()


def dense_part(folded: str) -> str:
    """Return what of folded text is of a script that writes no spaces, or an emoji."""
    return "".join(_DENSE.findall(folded))


def _joined(
    words: Sequence[Word],
    places: Sequence[tuple[int, int]],
    runs: Sequence[tuple[int, int, Sequence[tuple[str, int, int]]]],
    origin: Sequence[int],
    changes: list[Change],
) -> list[Word]:
    """Put what spelt-out letters say in their place; `runs` name words by number, parts by place."""
    out: list[Word] = []
    done = 0
    for first, last, parts in runs:
        out.extend(words[done:first])
        out.extend(Word(text, origin[start], origin[end - 1] + 1) for text, start, end in parts)
        changes.append(Change("spaced", origin[places[first][0]], origin[places[last - 1][1] - 1] + 1))
        done = last
    out.extend(words[done:])
    return out


@dataclass(frozen=True, slots=True)
class _Mostly:
    """What is wrong with most of a prompt's words: digits for letters, slips, letters of two scripts."""

    leet: bool = False
    slips: bool = False
    drawn: bool = False

    @classmethod
    def of(cls, unknown: Collection[str], words: Sequence[Word], vocabulary: Vocabulary) -> _Mostly:
        """Judge by the `unknown` ones among `words`. Two disguised words at least, and a good share."""
        if len(unknown) < _FEWEST:
            return cls()
        some = sorted(unknown)[:_MOST_JUDGED]
        digits = [text for text in some if not text.isalpha() and not text.isdigit()]
        leet = False
        if len(digits) >= _FEWEST:
            read = sum(len(text) >= 3 and text.translate(_LEET) in vocabulary for text in digits)
            leet = read >= _FEWEST and read >= _MOST_OF_DIGITS * len(digits)
        long = [text for text in some if len(text) >= _LONG and text.isascii() and text.isalpha()]
        slips = False
        if len(long) >= _FEWEST:
            all_long = len(long) + len({w.text for w in words if len(w.text) > _LONG} - set(unknown))
            # Long words that are spelt right speak against it; a share of names is ordinary.
            if len(long) >= _MOST_OF_LONG * all_long:
                near = sum(vocabulary.near_word(text) is not None for text in long)
                slips = near >= _FEWEST and near >= _MOST_OF_DIGITS * len(long)
        drawn = sum(_is_mixed(text) for text in some) >= _FEWEST
        return cls(leet, slips, drawn)


def _repair(
    word: Word,
    vocabulary: Vocabulary,
    changes: list[Change],
    seen: dict[str, tuple[str, str] | None],
    mostly: _Mostly,
) -> Word:
    text = word.text
    if len(text) > _MAX_REPAIRED or (
        text.isascii() and not mostly.leet and (len(text) < 2 or text.isdigit())
    ):
        return word
    if text not in seen:
        seen[text] = _plainer(text, vocabulary, mostly)
    if (plain := seen[text]) is None:
        return word
    changes.append(Change(plain[0], word.start, word.end))
    return Word(plain[1], word.start, word.end)


def _plainer(text: str, vocabulary: Vocabulary, mostly: _Mostly) -> tuple[str, str] | None:
    """Return the kind of change and the known word, or None where none is meant."""
    kind = ""
    if not text.isascii():
        drawn = _drawn(text, vocabulary, mostly.drawn)
        if drawn is None:
            return None
        text, kind = drawn, "lookalike"
    if text not in vocabulary:
        for name, undo in _UNDO:
            if better := undo(text, vocabulary):
                return name, better
    if mostly.leet and not text.isalpha() and (better := _all_leet(text, vocabulary)):
        return "leet", better
    if mostly.slips and text not in vocabulary and (better := vocabulary.near_word(text)):
        return "typo", better
    return (kind, text) if kind else None


def _all_leet(text: str, vocabulary: Vocabulary) -> str | None:
    """Read a word of a prompt in leet: known words of any length, unknown ones with few digits."""
    for table in (_LEET, _LEET_OTHER):
        plain = text.translate(table)
        if plain.isalpha() and plain in vocabulary:
            return plain
        if plain.isalpha() and (near := vocabulary.near_word(plain)):
            return near
    plain = text.translate(_LEET)
    return plain if plain.isalpha() and sum(map(str.isalpha, text)) >= max(2, len(text) / 3) else None


def _drawn(text: str, vocabulary: Vocabulary, all_drawn: bool) -> str | None:
    """Return a word in other letters as it is drawn, where that draws Latin to mislead.

    Letters of two scripts in a word do; a word all in another script only where it draws a term: Russian
    words stay Russian, unless other words of the prompt mix (`all_drawn`).
    """
    drawn = _folding.latin(text)
    if drawn is None:
        return None
    return drawn if all_drawn or _is_mixed(text) or vocabulary.is_term(drawn) else None


def _is_mixed(text: str) -> bool:
    return not text.isascii() and any(char.isascii() and char.isalpha() for char in text)


def _unleet(text: str, vocabulary: Vocabulary) -> str | None:
    if text.isalpha():
        return None
    letters = sum(char.isalpha() for char in text)
    for table in (_LEET, _LEET_OTHER):
        plain = text.translate(table)
        if not plain.isalpha() or not letters:
            continue
        if vocabulary.is_term(plain):
            return plain
        # A common word only where digits stand inside a word of some length: b4by, not 1girl.
        if letters >= 2 and len(plain) >= 4 and not text[0].isdigit() and plain in vocabulary:
            return plain
        if letters >= 2 and (short := _collapse(plain, vocabulary)) and vocabulary.is_term(short):
            return short
    return None


def _collapse(text: str, vocabulary: Vocabulary) -> str | None:
    """Undo letters that were held down: nuuuude."""
    if not re.search(r"(.)\1\1", text):
        return None
    for keep in (r"\1", r"\1\1"):
        short = re.sub(r"(.)\1{2,}", keep, text)
        if short in vocabulary:
            return short
    return None


def _slip(text: str, vocabulary: Vocabulary) -> str | None:
    return vocabulary.typo(text) if text.isalpha() else None


_UNDO = (("leet", _unleet), ("repeated", _collapse), ("typo", _slip))


def _join_split(words: list[Word], vocabulary: Vocabulary, changes: list[Change]) -> list[Word]:
    """Join a term that was cut in two where neither half is a word: `po rn`."""
    crumbs = [vocabulary.is_crumb(word.text) for word in words]
    if not any(map(operator.and_, crumbs, crumbs[1:])):  # as in nearly every prompt
        return words
    out: list[Word] = []
    for word in words:
        last = out[-1] if out else None
        if (
            last is not None
            and 0 < word.start - last.end <= 3
            and vocabulary.is_crumb(word.text)
            and vocabulary.is_crumb(last.text)
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
    """Yield what stands in tag characters, where three or more stand in a row."""
    run: list[tuple[str, int]] = []
    for char, at in (*folded.hidden, ("", -1)):
        if run and at != run[-1][1] + 1:
            if len(run) >= 3:
                first = run[0][1]
                changes.append(Change("tags", first, run[-1][1] + 1))
                for match in _WORD.finditer("".join(letter for letter, _ in run)):
                    yield Word(match.group().lower(), first + match.start(), first + match.end())
            run = []
        run.append((char, at))
