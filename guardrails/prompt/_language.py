"""Whether a prompt is in a language that the word model was fitted on (English).

No guess at which language it is: only how many of its words are ones that we know. A prompt that we cannot
judge must not read as a harmless one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from clearmark.guardrails.prompt._lexicon import lexicon

__all__ = ["is_supported"]

_FEWEST_WORDS = 4
_KNOWN_SHARE = 0.55
_FOREIGN_SHARE = 0.3

# The shortest words tell languages apart best: known ones of English, by far the most frequent.
_ENGLISH = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "with", "and", "to", "by", "for", "from", "is", "are", "how"]
)


def is_supported(words: Sequence[str], dense: int = 0) -> bool:
    """Return whether most of `words` are English; `dense` counts characters that stand outside words."""
    _, vocabulary = lexicon()
    often = Counter(words)
    latin = sum([len(word) * count for word, count in often.items() if word.isascii() and word.isalpha()])
    foreign = dense + sum([len(word) * count for word, count in often.items() if not word.isascii()])
    if foreign > _FOREIGN_SHARE * (latin + foreign):
        return False
    told = {
        word: count for word, count in often.items() if word.isascii() and word.isalpha() and len(word) > 1
    }
    total = sum(told.values())
    if total < _FEWEST_WORDS:
        return True
    known = sum(
        [count * (2 if word in _ENGLISH else vocabulary.is_common(word)) for word, count in told.items()]
    )
    return known >= _KNOWN_SHARE * total
