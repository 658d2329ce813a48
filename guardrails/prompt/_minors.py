"""How surely a prompt speaks of a child: terms of the list, and ages written as numbers or words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearmark.guardrails.prompt._lexicon import TermHit
from clearmark.guardrails.prompt._normalise import Word

__all__ = ["AGE_WORTH", "Age", "youngest"]

AGE_WORTH = {"alone": 1.0, "strong": 0.9, "weak": 0.15, "": 0.0}
"""How much of the sexual score counts as sexual content about a minor, by the strength of the age term."""

_UNDER_18 = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
)  # fmt: skip
_YEARS = frozenset(["year", "years", "yr", "yrs", "y", "yearold", "yrold", "yo"])
_SHORT = ("yo", "yr", "yrs", "yrold", "yearold", "y")
_BEFORE = frozenset(["age", "aged", "ages"])
_OPENERS = _BEFORE | frozenset(_UNDER_18)


@dataclass(frozen=True, slots=True)
class Age:
    """The strength of the strongest age term ("" for none) and where it stands."""

    strength: str = ""
    start: int = 0
    end: int = 0


def youngest(hits: Iterable[TermHit], words: Sequence[Word]) -> Age:
    """Return the strongest sign of a minor among list terms and written ages."""
    signs = [Age(hit.term.strength, hit.start, hit.end) for hit in hits if hit.term.group == "sexual/minors"]
    signs.extend(_written(words))
    return max(signs, key=lambda age: AGE_WORTH[age.strength], default=Age())


def _written(words: Sequence[Word]) -> Iterable[Age]:
    for at, word in enumerate(words):
        if word.text not in _OPENERS and not word.text[0].isdigit():
            continue
        following = words[at + 1].text if at + 1 < len(words) else ""
        after = words[at + 2].text if at + 2 < len(words) else ""
        old = following in _YEARS and (after in {"o", "old", "olds"} or following[-1] in "od")
        if (word.text in _BEFORE and _minor(following)) or (_minor(word.text) and old):
            yield Age("strong", word.start, words[at + 1].end)
        elif word.text[:1].isdigit() and not word.text.isdecimal():
            bare = word.text.rstrip("abcdefghijklmnopqrstuvwxyz")
            unit = word.text[len(bare) :]
            if _minor(bare) and unit in _SHORT and (unit != "y" or following in {"o", "old"}):
                yield Age("strong", word.start, word.end)


def _minor(text: str) -> bool:
    return text in _UNDER_18 or (text.isdecimal() and len(text) <= 2 and 0 < int(text) < 18)
