"""Whether a prompt is in a language that the word model was fitted on (English).

No guess at which language it is: only how many of its words are ones that we know. A prompt that we cannot
judge must not read as a harmless one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from operator import sub

from clearmark.guardrails.prompt._lexicon import lexicon

__all__ = ["is_supported"]

_FEWEST_WORDS = 4
_KNOWN_SHARE = 0.55
_FOREIGN_SHARE = 0.3
_FOREIGN_LETTERS = 16
"""So many letters of other scripts say a sentence, whatever stands around it."""

_STRETCH = 8
_KNOWN_OF_STRETCH = 0.35
"""English words of any eight in a row: below that the eight are a sentence of another language."""

# The shortest words tell languages apart best: known ones of English, by far the most frequent.
_ENGLISH = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "with", "and", "to", "by", "for", "from", "is", "are", "how"]
)


def is_supported(words: Sequence[str], dense: int = 0) -> bool:
    """Return whether `words`, and every stretch of them, are English.

    `dense` counts characters that stand outside words. English around it makes no sentence of another
    language one that we can judge.
    """
    _, vocabulary = lexicon()
    latin, foreign = 0, dense
    often = Counter(words)
    worth = {
        word: 2 if word in _ENGLISH else int(vocabulary.is_common(word))
        for word in often
        if len(word) > 1 and word.isascii() and word.isalpha()
    }
    for word, count in often.items():
        if not word.isascii():
            foreign += len(word) * count
        elif word.isalpha():
            latin += len(word) * count
    if foreign >= _FOREIGN_LETTERS or foreign > _FOREIGN_SHARE * (latin + foreign):
        return False
    known = [worth[word] for word in words if word in worth]
    if len(known) < _FEWEST_WORDS:
        return True
    if sum(known) < _KNOWN_SHARE * len(known):
        return False
    sums = [0, *accumulate(known)]
    stretches = map(sub, sums[_STRETCH:], sums)
    return min(stretches, default=_STRETCH) >= _KNOWN_OF_STRETCH * _STRETCH
