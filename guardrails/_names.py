"""Names in prompts: words with their case and place, and a table of names that is looked up in one pass.

Used by the guards that know names (people, brands, characters). Reading undoes generator syntax, disguised
alphabets, leet and letters spelt out; what is only to be avoided (a negative prompt, `--no`) is left out.
The guards read the same prompts, so the last readings are kept: each prompt is read once.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar, overload

from clearmark.guardrails.prompt import parse
from clearmark.guardrails.prompt._folding import fold, latin

__all__ = ["NameHit", "NameTable", "NameWord", "Reading", "key_of", "name_words"]

Value = TypeVar("Value")

_WORD = re.compile(r"\w+(?:[@$!]+\w+)*(?:'\w{1,2}\b)?")
_LEET = (str.maketrans("013456789@$!", "oieasgtbgasi"), str.maketrans("013456789@$!", "oleasgtbgasl"))
_STOP = re.compile(r"[,;:|\n/()\[\]{}\"]|[.!?]\s")
_SPACES = {ord(char): " " for char in "_\t\n\r\v\f"}
_LONGEST_SPELT = 32
_SHORTEST_SPELT = 5
_FARTHEST_SPELT = 6  # characters between two letters of one word
_KEPT_PROMPTS, _KEPT_CHARS = 256, 400_000


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


class Reading(Sequence[NameWord]):
    """The words that a prompt asks for. Place, case and breaks are worked out where they are needed."""

    def __init__(self, prompt: str) -> None:
        """Read `prompt`, in time linear in its length."""
        parts = [part for part in parse(prompt) if not part.avoid]
        folded = [(fold(part.text.translate(_SPACES)), part.offset) for part in parts]
        self._prompt = prompt
        self._plain = "\n".join(one.text for one, _ in folded)  # a line's end stops a name
        self._origins = folded
        self.texts: list[str] = _WORD.findall(self._plain)
        self._apostrophes: dict[int, str] = {}
        if "'" in self._plain:
            for at, text in enumerate(self.texts):
                if "'" in text:
                    self._apostrophes[at] = text[: text.index("'")]
                    self.texts[at] = text.replace("'", "")

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, at: int) -> NameWord: ...
    @overload
    def __getitem__(self, at: slice) -> list[NameWord]: ...
    def __getitem__(self, at: int | slice) -> NameWord | list[NameWord]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        index = range(len(self))[at]
        start, end = self._spans[index]
        first, last = self._place(start), self._place(end - 1) + 1
        breaks = self.breaks(index)
        return NameWord(
            self.texts[index], self.bare(index), first, last, self._prompt[first].isupper(), breaks, breaks
        )

    def bare(self, index: int) -> str:
        """Return a word without its possessive."""
        return self._apostrophes.get(index, self.texts[index])

    def breaks(self, index: int) -> bool:
        """Whether punctuation stands before a word."""
        if index == 0:
            return True
        return _STOP.search(self._plain, self._spans[index - 1][1], self._spans[index][0]) is not None

    def place(self, index: int) -> tuple[int, int]:
        """Return where a word stands in the prompt: start and end."""
        start, end = self._spans[index]
        return self._place(start), self._place(end - 1) + 1

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [match.span() for match in _WORD.finditer(self._plain)]

    def _place(self, at: int) -> int:
        for one, offset in self._origins:
            if at < len(one.text):
                return one.origin[at] + offset
            at -= len(one.text) + 1
        raise IndexError(at)

    @cached_property
    def is_titled(self) -> bool:
        """Whether it is written like a title, or all in capitals: then a capital says nothing."""
        if self._prompt.islower():
            return False
        long = [at for at, text in enumerate(self.texts) if len(text) > 3 and not self.breaks(at)]
        capital = sum(self._prompt[self.place(at)[0]].isupper() for at in long)
        return len(long) >= 3 and capital > 0.6 * len(long)

    @cached_property
    def odd(self) -> dict[int, tuple[str, ...]]:
        """The words that may be read in more than one way, with every way."""
        out: dict[int, tuple[str, ...]] = {}
        for text in set(self.texts):
            if not text.isalpha() or not text.isascii() or self._apostrophes:
                break
        else:
            return out
        known: dict[tuple[str, str], tuple[str, ...]] = {}
        for at, text in enumerate(self.texts):
            if at not in self._apostrophes and text.isascii() and (text.isalpha() or text.isdigit()):
                continue
            key = (text, self.bare(at))
            if key not in known:
                known[key] = _readings(*key)
            if len(known[key]) > 1:
                out[at] = known[key]
        return out

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where each word stands, by every way in which it may be read."""
        out: dict[str, list[int]] = {}
        for at, text in enumerate(self.texts):
            if text in out:
                out[text].append(at)
            else:
                out[text] = [at]
        for at, ways in self.odd.items():
            for way in ways[1:]:
                out.setdefault(way, []).append(at)
        return out

    @cached_property
    def letters(self) -> list[tuple[int, str]]:
        """Runs of four and more letters that stand apart: number of the first, and the letters together."""
        out: list[tuple[int, str]] = []
        first = last = -2
        for at in (at for at, text in enumerate(self.texts) if len(text) == 1):
            near = at == last + 1 and self._spans[at][0] - self._spans[last][1] <= _FARTHEST_SPELT
            if not near:
                if last - first >= 3:
                    out.append((first, "".join(self.texts[first : last + 1])))
                first = at
            last = at
        if last - first >= 3:
            out.append((first, "".join(self.texts[first : last + 1])))
        return out


# Prompts are kept here for as long as a few hundred others take to come: in memory, never written.
_readings_kept: OrderedDict[str, Reading] = OrderedDict()
_lock = threading.Lock()


def name_words(prompt: str) -> Reading:
    """Return the words that `prompt` asks for. The guards that ask for the same prompt share one reading."""
    with _lock:
        kept = _readings_kept.get(prompt)
        if kept is not None:
            _readings_kept.move_to_end(prompt)
            return kept
        made = _readings_kept[prompt] = Reading(prompt)
        while len(_readings_kept) > _KEPT_PROMPTS or sum(map(len, _readings_kept)) > _KEPT_CHARS:
            _readings_kept.popitem(last=False)
        return made


def key_of(name: str) -> str:
    """Return `name` as a table keys it: folded words with one space between."""
    return " ".join(text.replace("'", "") for text in _WORD.findall(fold(name.translate(_SPACES)).text))


class NameTable(Generic[Value]):
    """Names of one and more words. Looking up costs the same, however many there are."""

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        """Take names with what each carries; the first of equal names wins."""
        self._values: dict[str, Value] = {}
        lengths: dict[str, set[int]] = {}
        self._seconds: dict[str, set[str]] = {}
        for name, value in entries:
            key = key_of(name)
            if not key:
                continue
            self._values.setdefault(key, value)
            first, _, rest = key.partition(" ")
            if rest:
                lengths.setdefault(first, set()).add(rest.count(" ") + 2)
                self._seconds.setdefault(first, set()).add(rest.partition(" ")[0])
        self._lengths = {first: sorted(counts, reverse=True) for first, counts in lengths.items()}
        # Written in one word, as handles and spelt-out letters have it.
        self._joined = {
            joined: key
            for key in self._values
            if len(joined := key.replace(" ", "")) >= _SHORTEST_SPELT and joined not in self._values
        }
        spelt: dict[str, set[int]] = {}
        for joined in self._joined.keys() | {key for key in self._values if " " not in key}:
            spelt.setdefault(joined[:4], set()).add(len(joined))
        self._spellings = {
            beginning: sorted((count for count in counts if 4 <= count <= _LONGEST_SPELT), reverse=True)
            for beginning, counts in spelt.items()
        }
        self._starts = self._lengths.keys() | self._joined.keys() | self._values.keys()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def find(self, words: Reading) -> Iterator[NameHit[Value]]:
        """Yield the longest name from each word on, none inside another."""
        spelt = self._spelt(words)
        last = 0
        for at in sorted({*self._candidates(words), *spelt}):
            if at < last:
                continue
            hit = self._at(words, at) or spelt.get(at)
            if hit is not None:
                yield hit
                last = hit.last

    def _candidates(self, words: Reading) -> Iterator[int]:
        """Yield the words with which a name may begin: the next word must be one that follows it."""
        texts, odd = words.texts, words.odd
        for start in self._starts & words.places.keys():
            places = words.places[start]
            if start in self._values or start in self._joined:
                yield from places
            elif (seconds := self._seconds.get(start)) is not None:
                for at in places:
                    if at + 1 < len(texts) and (texts[at + 1] in seconds or at + 1 in odd):
                        yield at

    def _at(self, words: Reading, first: int) -> NameHit[Value] | None:
        texts, odd = words.texts, words.odd
        for start in odd.get(first) or (texts[first],):
            for count in self._lengths.get(start, ()):
                last = first + count - 1
                if last >= len(texts):
                    continue
                middle = texts[first + 1 : last]
                for end in odd.get(last) or (texts[last],):
                    key = " ".join([start, *middle, end])
                    if key in self._values and not any(map(words.breaks, range(first + 1, last + 1))):
                        return NameHit(first, last + 1, key, self._values[key])
            # A plain word joined of two ("bestbuy") is a name only as the table has it.
            key = start if start in self._values else self._joined.get(start, "")
            if key:
                return NameHit(first, first + 1, key, self._values[key])
        return None

    def _spelt(self, words: Reading) -> dict[int, NameHit[Value]]:
        """Return the longest name by first letter from letters that stand apart: `n i k e`, `a.d.i.d.a.s`."""
        out: dict[int, NameHit[Value]] = {}
        for first, letters in words.letters:
            for at in range(len(letters) - 3):
                for count in self._spellings.get(letters[at : at + 4], ()):
                    text = letters[at : at + count]
                    key = text if text in self._values else self._joined.get(text, "")
                    if key:
                        out[first + at] = NameHit(first + at, first + at + len(text), key, self._values[key])
                        break
        return out


def _readings(text: str, bare: str) -> tuple[str, ...]:
    """Return how a word may be read: as it stands, without its possessive, with leet undone."""
    out = [text]
    if bare != text:
        out.append(bare)
    if not text.isascii() and (drawn := latin(text)):
        out.append(drawn)
    if not text.isalpha() and not text.isdigit():
        out.extend(plain for table in _LEET if (plain := text.translate(table)).isalpha())
    return tuple(dict.fromkeys(out))
