"""The words that we know: terms of the lists, and the common words of ordinary captions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["Vocabulary"]

_LONGEST = 18
_MIN_TYPO = 5
_MIN_CHANGED = 8
_MIN_NEAR = 6  # shorter words have too many neighbours
_PARTICLES = 120  # words of one or two letters are words among so many of the commonest, and crumbs after
_CRUMB = 5.0
_UNKNOWN = 14.0  # the price of a letter that belongs to no word: dearer than any word


class Vocabulary:
    """Common words (most frequent first), terms with their strength, and the other words of terms.

    Answers membership, splits letters into words, and finds near misses of strong terms.
    """

    def __init__(
        self, *, common: Iterable[str], terms: Mapping[str, str], words: Collection[str] = ()
    ) -> None:
        self._terms = dict(terms)
        self._cost = {
            word: math.log(rank + 10) + (_CRUMB if len(word) <= 2 and rank >= _PARTICLES else 0)
            for rank, word in enumerate(common)
        }
        self._common = frozenset(self._cost)
        self._rarity = dict(self._cost)
        self._rarest = math.log(len(self._cost) + 10)
        rare = (word for rank, word in enumerate(self._cost) if len(word) <= 2 and rank >= _PARTICLES)
        self._crumbs = frozenset(rare)
        self._known = frozenset({*self._terms, *self._cost, *words})
        for word in (*self._terms, *words):
            self._cost.setdefault(word, math.log(2000))
        self._starts = frozenset(word[:size] for word in self._cost for size in range(1, len(word) + 1))
        self._near: dict[str, str] = {}
        for term, strength in sorted(self._terms.items()):
            if strength == "strong" and len(term) >= _MIN_TYPO and term.isascii() and term.isalpha():
                for key in (term, *_deletions(term)):
                    self._near.setdefault(key, term)
        self._near_words: dict[str, str] | None = None

    def __contains__(self, word: str) -> bool:
        return word in self._known

    def is_common(self, word: str) -> bool:
        """Whether `word` is one of ordinary captions."""
        return word in self._common

    def is_crumb(self, word: str) -> bool:
        """Whether `word` is unknown, or one or two letters that are rarely a word."""
        return word in self._crumbs or word not in self._known

    def rarity(self, word: str) -> float:
        """Return the logarithm of a word's rank among the common ones, plus ten; the last's for others."""
        return self._rarity.get(word, self._rarest)

    @property
    def known(self) -> frozenset[str]:
        """Every word that we know."""
        return self._known

    def is_term(self, word: str, *, strong: bool = False) -> bool:
        """Whether a list holds `word`, and as a strong term where `strong` is asked for."""
        strength = self._terms.get(word)
        return strength == "strong" if strong else strength is not None

    def typo(self, word: str) -> str | None:
        """Return the term that `word` misses by one letter dropped, added, changed or two swapped.

        Symmetric deletes (Garbe, SymSpell, 2012): constant time for a word, whatever the number of terms.
        The first letter must be right, as it is in most slips, and rarely is in chance neighbours.
        """
        if not _MIN_TYPO - 1 <= len(word) <= _LONGEST or not word.isascii() or not word.isalpha():
            return None
        for key in (word, *_deletions(word)):
            term = self._near.get(key)
            if term and term[0] == word[0] and abs(len(term) - len(word)) <= 1 and _slip(term, word):
                return term
        return None

    def near_word(self, word: str) -> str | None:
        """Return the known word, of six letters and more, that `word` misses by one slip.

        The commonest one first. For prompts that are full of slips only: among all words, chance
        neighbours are many.
        """
        if not _MIN_NEAR - 1 <= len(word) <= _LONGEST or not word.isascii() or not word.isalpha():
            return None
        if self._near_words is None:
            near: dict[str, str] = {}
            for known in (*self._terms, *self._cost):
                if _MIN_NEAR <= len(known) <= _LONGEST and known.isascii() and known.isalpha():
                    for key in (known, *_deletions(known)):
                        near.setdefault(key, known)
            self._near_words = near
        for key in (word, *_deletions(word)):
            found = self._near_words.get(key)
            if found and found[0] == word[0] and abs(len(found) - len(word)) <= 1 and _slip(found, word):
                return found
        return None

    def segment(self, letters: str) -> list[tuple[int, int]]:
        """Split `letters` into the likeliest words: (start, end) of each. Unknown letters stand alone."""
        count = len(letters)
        best = [math.inf] * (count + 1)
        came = list(range(-1, count))
        best[0] = 0.0
        cost, starts = self._cost, self._starts
        for start in range(count):
            here = best[start]
            if here + _UNKNOWN < best[start + 1]:
                best[start + 1], came[start + 1] = here + _UNKNOWN, start
            for end in range(start + 1, min(count, start + _LONGEST) + 1):
                piece = letters[start:end]
                if piece not in starts:
                    break
                price = cost.get(piece)
                if price is not None and here + price < best[end]:
                    best[end], came[end] = here + price, start
        parts: list[tuple[int, int]] = []
        end = count
        while end:
            start = came[end]
            parts.append((start, end))
            end = start
        return parts[::-1]


def _deletions(word: str) -> Sequence[str]:
    return [word[:i] + word[i + 1 :] for i in range(1, len(word))]


def _slip(term: str, word: str) -> bool:
    """Whether one edit (Damerau: drop, add, change, swap) leads from `term` to `word`."""
    first = 0
    while first < min(len(term), len(word)) and term[first] == word[first]:
        first += 1
    a, b = term[first:], word[first:]
    # One letter for another leads from too many short words to others: invest, export, stats.
    changed = len(term) >= _MIN_CHANGED and a[1:] == b[1:]
    return changed or a[1:] == b or a == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])
