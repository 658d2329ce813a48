"""Names in prompts: words with their case and place, and a table of names that is looked up in one pass.

Used by the guards that know names (people, brands, characters). Reading undoes generator syntax, disguised
alphabets, leet and letters spelt out; what is only to be avoided (a negative prompt, `--no`) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from clearmark.guardrails.prompt import parse
from clearmark.guardrails.prompt._folding import fold, latin

__all__ = ["NameHit", "NameTable", "NameWord", "key_of", "name_words"]

Value = TypeVar("Value")

_WORD = re.compile(r"\w(?:[\w@$!]*\w)?(?:'\w{1,2}\b)?|\w")
_LEET = (str.maketrans("013456789@$!", "oieasgtbgasi"), str.maketrans("013456789@$!", "oleasgtbgasl"))
_STOP = re.compile(r"[,;:|\n/()\[\]{}\"]|[.!?]\s")
_LONGEST_SPELT = 32
_SHORTEST_SPELT = 5


class NameWord(NamedTuple):
    """One word: folded text, the same without a possessive `s`, its place, and how it was written.

    `capital` says that the original begins with a capital letter; `opens` that it begins a sentence or part,
    so that a capital says nothing; `breaks` that punctuation stands before it.
    """

    text: str
    bare: str
    start: int
    end: int
    capital: bool
    opens: bool
    breaks: bool


class NameHit(NamedTuple, Generic[Value]):
    """Words `first` up to `last` are a name that carries `value`; `key` is the name as the table has it."""

    first: int
    last: int
    key: str
    value: Value


def name_words(prompt: str) -> list[NameWord]:
    """Return the words that `prompt` asks for. Time is linear in its length."""
    out: list[NameWord] = []
    for part in parse(prompt):
        if part.avoid:
            continue
        folded = fold(part.text.replace("_", " "))
        plain, origin = folded.text, folded.origin
        last = 0
        for match in _WORD.finditer(plain):
            start, end = origin[match.start()], origin[match.end() - 1] + 1
            gap = plain[last : match.start()]
            breaks = last == 0 or _STOP.search(gap) is not None
            last = match.end()
            text = match.group()
            bare = text[: text.index("'")] if "'" in text else text
            text = text.replace("'", "")
            shown = part.text[start : start + 1]
            out.append(
                NameWord(text, bare, start + part.offset, end + part.offset, shown.isupper(), breaks, breaks)
            )
    return out


def key_of(name: str) -> str:
    """Return `name` as a table keys it: folded words with one space between."""
    return " ".join(
        match.group().replace("'", "") for match in _WORD.finditer(fold(name.replace("_", " ")).text)
    )


class NameTable(Generic[Value]):
    """Names of one and more words. Looking up costs the same, however many there are."""

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        """Take names with what each carries; the first of equal names wins."""
        self._values: dict[str, Value] = {}
        self._lengths: dict[str, int] = {}
        for name, value in entries:
            key = key_of(name)
            if not key:
                continue
            self._values.setdefault(key, value)
            first, _, rest = key.partition(" ")
            self._lengths[first] = max(self._lengths.get(first, 0), rest.count(" ") + 1 + bool(rest))
        # Written in one word, as handles and spelt-out letters have it.
        self._joined = {
            joined: key
            for key in self._values
            if len(joined := key.replace(" ", "")) >= _SHORTEST_SPELT and joined not in self._values
        }
        self._beginnings = frozenset(key.replace(" ", "")[:4] for key in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def find(self, words: Sequence[NameWord]) -> Iterator[NameHit[Value]]:
        """Yield the longest name from each word on, none inside another."""
        index = 0
        while index < len(words):
            hit = self._at(words, index) or self._spelt(words, index)
            if hit is None:
                index += 1
            else:
                yield hit
                index = hit.last

    def _at(self, words: Sequence[NameWord], first: int) -> NameHit[Value] | None:
        for start in _readings(words[first]):
            most = self._lengths.get(start, 1)
            limit = 1
            while limit < most and first + limit < len(words) and not words[first + limit].breaks:
                limit += 1
            for count in range(limit, 0, -1):
                middle = [word.text for word in words[first + 1 : first + count]]
                ends = _readings(words[first + count - 1]) if count > 1 else ("",)
                for end in ends:
                    key = " ".join([start, *middle[:-1], end]) if count > 1 else start
                    # A plain word joined of two ("bestbuy") is a name only as the table has it.
                    key = key if key in self._values else self._joined.get(key, "") if count == 1 else ""
                    if key:
                        return NameHit(first, first + count, key, self._values[key])
        return None

    def _spelt(self, words: Sequence[NameWord], first: int) -> NameHit[Value] | None:
        """Read letters that stand apart: `n i k e`, `a.d.i.d.a.s`."""
        if len(words[first].text) != 1:
            return None
        letters = ""
        best: NameHit[Value] | None = None
        for at in range(first, min(len(words), first + _LONGEST_SPELT)):
            word = words[at]
            if len(word.text) != 1 or (at > first and word.start - words[at - 1].end > 6):
                break
            letters += word.text
            if len(letters) == 4 and letters not in self._beginnings:
                return None
            if len(letters) >= 4:
                key = letters if letters in self._values else self._joined.get(letters, "")
                if key:
                    best = NameHit(first, at + 1, key, self._values[key])
        return best


def _readings(word: NameWord) -> tuple[str, ...]:
    """Return how a word may be read: as it stands, without its possessive, with leet undone."""
    out = [word.text]
    if word.bare != word.text:
        out.append(word.bare)
    if not word.text.isascii() and (drawn := latin(word.text)):
        out.append(drawn)
    if not word.text.isalpha() and not word.text.isdigit():
        out.extend(plain for table in _LEET if (plain := word.text.translate(table)).isalpha())
    return tuple(dict.fromkeys(out))
