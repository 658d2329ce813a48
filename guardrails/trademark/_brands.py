"""The guard over brand names in prompts: category `trademark`.

A name that means nothing else counts wherever it stands. One that is also an ordinary word ("apple",
"target") counts where its surroundings say that a mark is meant: beside "logo" or "store", or written with a
capital in the middle of a sentence and beside goods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Match, Span, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._lists import list_lines, list_words
from clearmark.guardrails._names import NameHit, NameTable, Reading, name_words

__all__ = ["Brand", "BrandGuard", "BrandHit", "find_brands"]

_SURE, _SHOWN, _BESIDE, _DOUBTFUL = 0.9, 0.75, 0.6, 0.1
_MOST = 8
_REACH = 2
_OF = frozenset(["of", "for", "the", "a", "an", "s"])


@dataclass(frozen=True, slots=True)
class Brand:
    """One entry of the list. `doubtful` ones are words of everyday language too."""

    name: str
    doubtful: bool


@dataclass(frozen=True, slots=True)
class BrandHit:
    """A brand at characters `start` up to `end` of the prompt, with how sure that is."""

    name: str
    score: float
    start: int
    end: int


class BrandGuard:
    """Scores `trademark` by the names in a prompt. `names` are further marks of your own."""

    name = "brands"
    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = ("trademark",)

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Add marks of your own: names that count wherever they stand."""
        self._own: NameTable[Brand] = NameTable((name, Brand(name, doubtful=False)) for name in names)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return the brands of every prompt, the surest first; one finding of score 0 where there are none.

        Raises:
            GuardUnavailable: when the list cannot be read.
        """
        try:
            return [self._check(subject) for subject in batch]
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(
                f"{self.name}: {type(exc).__name__} while reading a prompt", hint="reinstall clearmark"
            ) from exc

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        hits = find_brands(subject.request.prompt, own=self._own)
        facts = MappingProxyType({"brand_count": sum(hit.score >= 0.5 for hit in hits)})
        ms = (time.perf_counter() - began) * 1000
        out: list[Finding] = []
        shown: list[BrandHit | None] = [*hits[:_MOST]] or [None]
        for hit in shown:
            out.append(
                Finding(
                    category="trademark",
                    score=hit.score if hit is not None else 0.0,
                    guard=self.name,
                    guard_version=self.version,
                    threshold=0.5,
                    evidence=Evidence(span=Span(hit.start, hit.end), match=Match(hit.name, "brand"))
                    if hit is not None
                    else Evidence(),
                    facts=facts if not out else MappingProxyType({}),
                    ms=ms if not out else 0.0,
                )
            )
        return out


def find_brands(prompt: str, *, own: NameTable[Brand] | None = None) -> list[BrandHit]:
    """Return the brands that `prompt` asks for, the surest first. Time is linear in its length."""
    words = name_words(prompt)
    found: dict[tuple[int, int], BrandHit] = {}
    for table in (own, _table()):
        if table is None:
            continue
        for hit in table.find(words):
            start, end = words.place(hit.first)[0], words.place(hit.last - 1)[1]
            score = _score(hit, words)
            if (start, end) not in found and score > 0:
                found[start, end] = BrandHit(hit.value.name, score, start, end)
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.start))


def _score(hit: NameHit[Brand], words: Reading) -> float:
    if not hit.value.doubtful:
        return _SURE
    says, goods = _settings()
    if (
        hit.last - hit.first > 1
        and words.texts[hit.last - 1] in says
        and hit.key.rpartition(" ")[0] in _table()
    ):
        return _SHOWN  # "apple store" is the store of a brand; "general store" is not
    near = set(_neighbours(hit, words))
    before = words.texts[max(0, hit.first - 3) : hit.first]
    while before and before[-1] in _OF:
        before.pop()
    if near & says or (before and before[-1] in says):
        return _SHOWN if not words.is_titled else _BESIDE
    if near & goods and not words.is_titled:
        named = words[hit.first]
        if named.capital and not named.opens:
            return _BESIDE
    return _DOUBTFUL


def _neighbours(hit: NameHit[Brand], words: Reading) -> Iterator[str]:
    for at in range(hit.last, min(len(words), hit.last + _REACH)):
        if words.breaks(at):
            break
        yield words.texts[at]
    for at in range(hit.first - 1, max(-1, hit.first - 1 - _REACH), -1):
        if words.breaks(at + 1):
            break
        if words.texts[at] in {"by", "from", "of"} or at == hit.first - 1:
            yield words.texts[at]


@lru_cache(maxsize=1)
def _table() -> NameTable[Brand]:
    return NameTable(
        (line.lstrip("?"), Brand(line.lstrip("?"), line.startswith("?")))
        for _, line in list_lines("trademark", "brands.txt")
    )


@lru_cache(maxsize=1)
def _settings() -> tuple[frozenset[str], frozenset[str]]:
    groups = list_words("trademark", "settings.txt")
    return groups["says"], groups["goods"]
