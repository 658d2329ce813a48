"""The guard over people named in prompts: category `likeness/public-figure`.

Full names count wherever they stand, unless what follows makes them a place ("Kennedy airport"). Names that
mean other things too ("Prince", "Jordan") count beside a word that speaks of a person. Whoever died more than
seventy years ago is a fact (`historical_figure`), no finding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Match, Span, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._lists import list_entries, list_lines, list_words
from clearmark.guardrails._names import NameHit, NameTable, Reading, name_words

__all__ = ["PeopleGuard", "PersonHit", "find_people", "people_count"]

_FULL, _SHORT, _BESIDE, _DOUBTFUL, _PLACE = 0.95, 0.85, 0.6, 0.1, 0.2
_SPREAD = MappingProxyType({"people": _FULL, "short": _SHORT, "words": _SHORT, "past": 0.0})
_MOST = 8
_REACH = 3


@dataclass(frozen=True, slots=True)
class PersonHit:
    """A person at characters `start` up to `end` of the prompt. `past`: dead for more than seventy years."""

    name: str
    score: float
    start: int
    end: int
    past: bool = False


class PeopleGuard:
    """Scores `likeness/public-figure` by the names in a prompt. `names` are further people of your own."""

    name = "people"
    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = ("likeness/public-figure",)

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Add people of your own, by full name."""
        self._own: NameTable[str] = NameTable((name, "people") for name in names)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return the people named in every prompt, the surest first; a finding of score 0 where none is.

        Raises:
            GuardUnavailable: when a list cannot be read.
        """
        try:
            return [self._check(subject) for subject in batch]
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(
                f"{self.name}: {type(exc).__name__} while reading a prompt", hint="reinstall clearmark"
            ) from exc

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        hits = find_people(subject.request.prompt, own=self._own)
        found = [hit for hit in hits if not hit.past]
        facts = MappingProxyType(
            {
                "public_figure_count": len({hit.name for hit in found if hit.score >= 0.5}),
                "historical_figure": any(hit.past for hit in hits),
            }
        )
        ms = (time.perf_counter() - began) * 1000
        out: list[Finding] = []
        shown: list[PersonHit | None] = [*found[:_MOST]] or [None]
        for hit in shown:
            out.append(
                Finding(
                    category="likeness/public-figure",
                    score=hit.score if hit is not None else 0.0,
                    guard=self.name,
                    guard_version=self.version,
                    threshold=0.5,
                    evidence=Evidence(span=Span(hit.start, hit.end), match=Match(hit.name, "person"))
                    if hit is not None
                    else Evidence(),
                    facts=facts if not out else MappingProxyType({}),
                    ms=ms if not out else 0.0,
                )
            )
        return out


def find_people(prompt: str, *, own: NameTable[str] | None = None) -> list[PersonHit]:
    """Return the people that `prompt` asks for, the surest first. Time is linear in its length."""
    words = name_words(prompt)
    found: dict[tuple[int, int], PersonHit] = {}
    for table in (own, _table()):
        if table is None:
            continue
        for hit in table.find(words):
            start, end = words.place(hit.first)[0], words.place(hit.last - 1)[1]
            person = PersonHit(hit.key, _score(hit, words), start, end, hit.value == "past")
            found.setdefault((start, end), person)
    if not prompt.isascii():
        for name in _dense_names():
            if (at := prompt.find(name)) >= 0:
                found[at, at + len(name)] = PersonHit(name, _SHORT, at, at + len(name))
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.start))


def people_count() -> int:
    """Return how many names are known, aliases and people of the past included."""
    return len(_table()) + len(_dense_names())


def _score(hit: NameHit[str], words: Reading) -> float:
    person, place = _settings()
    last = hit.last
    sites = _SITES if hit.value == "people" else place
    if last < len(words) and words.texts[last] in sites and not words.breaks(last):
        return _PLACE
    if hit.value != "doubtful":
        return _SPREAD[hit.value]
    near = {*words.texts[max(0, hit.first - _REACH) : hit.first], *words.texts[last : last + _REACH]}
    if not near & person:
        return _DOUBTFUL
    named = words[hit.first]
    before = words.texts[hit.first - 1] if hit.first and not named.breaks else ""
    capital = named.capital and not named.opens
    if (capital or before in person) and before not in {"the", "a", "an"}:
        return _BESIDE
    return _DOUBTFUL


_SITES = frozenset(
    ["airport", "street", "avenue", "boulevard", "square", "university", "library", "museum", "stadium",
     "bridge", "memorial", "highway", "hospital", "theater", "theatre"]
)  # fmt: skip


@lru_cache(maxsize=1)
def _table() -> NameTable[str]:
    return NameTable(_entries())


def _entries() -> Iterator[tuple[str, str]]:
    doubtful = frozenset(line for _, line in list_lines("likeness", "doubtful.txt"))
    for group, name in list_entries("likeness", "own.txt"):
        if group != "scripts":
            yield name, group
    for file in ("labels.txt", "players.txt"):
        for _, line in list_lines("likeness", file):
            yield line, "doubtful" if line in doubtful else "people"


@lru_cache(maxsize=1)
def _dense_names() -> tuple[str, ...]:
    return tuple(name for group, name in list_entries("likeness", "own.txt") if group == "scripts")


@lru_cache(maxsize=1)
def _settings() -> tuple[frozenset[str], frozenset[str]]:
    groups = list_words("likeness", "settings.txt")
    return groups["person"], groups["place"]
