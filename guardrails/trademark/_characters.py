"""The guard over characters and styles under copyright: `copyright/character` and `copyright/style`.

A character is recognised by name, or by its looks: each profile is a set of features ("round glasses",
"lightning scar"), and a prompt scores by the features that it tells, each worth as much as its words
are rare in ordinary captions. Words are compared by stem and by a table of words that mean the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Match, Span, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._names import NameTable, NameWord, key_of, name_words
from clearmark.guardrails.trademark._brands import list_lines

__all__ = [
    "CharacterGuard",
    "CharacterHit",
    "Profile",
    "describe",
    "find_characters",
    "find_styles",
    "profiles",
    "stem",
]

_NAMED, _WITH_WORLD, _STYLE, _ARTIST, _ESTATE, _ALONE = 0.9, 0.75, 0.9, 0.7, 0.4, 0.2
_MOST = 8
_WINDOW = 40
_PARTLY = 0.35
_RARE = 9.0  # the worth of a word that no caption used


@dataclass(frozen=True)
class Profile:
    """One character: names (doubtful ones with `?`), words of its world, and features as sets of stems."""

    names: tuple[str, ...]
    world: frozenset[str]
    features: tuple[frozenset[str], ...]

    @property
    def title(self) -> str:
        """The first name."""
        return self.names[0].lstrip("?")


@dataclass(frozen=True, slots=True)
class CharacterHit:
    """A character or artist at characters `start` up to `end`; a description spans the words that told it."""

    name: str
    score: float
    start: int
    end: int
    described: bool = False


class CharacterGuard:
    """Scores characters by name and by description, and styles of living artists."""

    name = "characters"
    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = ("copyright/character", "copyright/style")

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return the characters and artists of every prompt, the surest first.

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
        prompt = subject.request.prompt
        found = {
            "copyright/character": find_characters(prompt),
            "copyright/style": find_styles(prompt),
        }
        characters = found["copyright/character"]
        facts = MappingProxyType(
            {"character_described": any(hit.described and hit.score >= 0.5 for hit in characters)}
        )
        ms = (time.perf_counter() - began) * 1000
        out: list[Finding] = []
        for category, hits in found.items():
            shown: list[CharacterHit | None] = [*hits[:_MOST]] or [None]
            for hit in shown:
                out.append(
                    Finding(
                        category=category,
                        score=hit.score if hit is not None else 0.0,
                        guard=self.name,
                        guard_version=self.version,
                        threshold=0.5,
                        evidence=_evidence(hit),
                        facts=facts if not out else MappingProxyType({}),
                        ms=ms if not out else 0.0,
                    )
                )
        return out


def find_characters(prompt: str) -> list[CharacterHit]:
    """Return the characters that `prompt` names or describes, the surest first."""
    words = name_words(prompt)
    table, by_name = _names()
    stems = {stem(word.text) for word in words}
    hits: list[CharacterHit] = []
    for hit in table.find(words):
        start, end = words[hit.first].start, words[hit.last - 1].end
        score = _NAMED
        if hit.value:
            own = {stem(part) for part in hit.key.split()}
            score = _WITH_WORLD if by_name[hit.key].world & (stems - own) else _ALONE
        hits.append(CharacterHit(by_name[hit.key].title, score, start, end))
    if (told := describe(words)) is not None:
        hits.append(told)
    return sorted(hits, key=lambda hit: (-hit.score, hit.start))


def find_styles(prompt: str) -> list[CharacterHit]:
    """Return the artists whose style `prompt` asks for, the surest first. An estate's scores low."""
    words = name_words(prompt)
    hits: list[CharacterHit] = []
    for hit in _artists().find(words):
        before = {word.text for word in words[max(0, hit.first - 4) : hit.first]}
        after = words[hit.last].text if hit.last < len(words) else ""
        asked = bool(before & _STYLE_BEFORE) or after in _STYLE_AFTER
        score = _ESTATE if hit.value == "estate" else _STYLE if asked else _ARTIST
        hits.append(CharacterHit(hit.key, score, words[hit.first].start, words[hit.last - 1].end))
    return sorted(hits, key=lambda hit: (-hit.score, hit.start))


def describe(words: Sequence[NameWord]) -> CharacterHit | None:
    """Return the character that `words` describe best, with a calibrated score; None where none is."""
    worth, points = _weights()
    by_stem = _by_stem()
    best: tuple[float, int, int, int] | None = None
    stems = [stem(word.text) for word in words]
    for first in range(0, max(1, len(stems) - _WINDOW // 2), _WINDOW // 2):
        window = stems[first : first + _WINDOW]
        told = {word for word in window if word in worth}
        candidates = {number for word in told for number in by_stem.get(word, ())}
        for number in candidates:
            score = _match(told, profiles()[number], worth)
            if best is None or score > best[0]:
                best = (score, number, first, first + len(window))
    if best is None or best[0] <= 0:
        return None
    score, number, first, last = best
    own = {word for feature in profiles()[number].features for word in feature}
    places = [at for at in range(first, last) if stems[at] in own]
    return CharacterHit(
        profiles()[number].title,
        _calibrated(score, points),
        words[places[0]].start,
        words[places[-1]].end,
        described=True,
    )


def raw_description(prompt: str) -> float:
    """Return the uncalibrated description score of `prompt`: what the calibration is fitted on."""
    worth, _ = _weights()
    by_stem = _by_stem()
    stems = [stem(word.text) for word in name_words(prompt)]
    best = 0.0
    for first in range(0, max(1, len(stems) - _WINDOW // 2), _WINDOW // 2):
        told = {word for word in stems[first : first + _WINDOW] if word in worth}
        for number in {number for word in told for number in by_stem.get(word, ())}:
            best = max(best, _match(told, profiles()[number], worth))
    return best


def _match(told: set[str], profile: Profile, worth: Mapping[str, float]) -> float:
    """Sum what the told features are worth, over the root of what all are: long profiles win nothing."""
    total = got = 0.0
    hit = 0
    for feature in profile.features:
        weight = sum(worth[word] for word in feature)
        total += weight
        have = feature & told
        if not have:
            continue
        if len(have) == len(feature):
            got += weight
            hit += 1
        else:
            got += _PARTLY * sum(worth[word] for word in have)
            hit += len(have) / len(feature) >= 0.5
    # Two everyday features (a brown dog, a blue collar) describe nobody, unless they are most of a profile.
    return got / total**0.5 if hit >= 3 or (hit >= 2 and got >= 0.45 * total) else 0.0


def _calibrated(score: float, points: Sequence[tuple[float, float]]) -> float:
    """Return the score on the guard's scale: 0.5 where one caption in a hundred would be flagged."""
    low = (0.0, 0.0)
    for point in points:
        if score < point[0]:
            return round(low[1] + (point[1] - low[1]) * (score - low[0]) / (point[0] - low[0]), 4)
        low = point
    return points[-1][1]


def _evidence(hit: CharacterHit | None) -> Evidence:
    if hit is None:
        return Evidence()
    kind = "description" if hit.described else "name"
    return Evidence(span=Span(hit.start, hit.end), match=Match(hit.name, kind))


_STYLE_BEFORE = frozenset(
    ["style", "by", "like", "manner", "inspired", "artstation", "influenced", "and", "art"]
)
_STYLE_AFTER = frozenset(
    ["style", "styled", "inspired", "art", "artstyle", "aesthetic", "painting", "drawing"]
)

# Words that mean the same here; every one of a line is read as its first.
_SAME = """boy kid lad youngster
girl lass
mouse rodent
trousers pants shorts dungarees overalls jeans pant short trouser
red crimson scarlet
blue azure navy
turquoise teal aqua cyan
purple violet lavender
yellow golden gold
blond blonde fair flaxen
grey gray
glasses spectacles goggles eyeglasses
hat cap beanie
shoes footwear sneakers boots heels sandals shoe boot sneaker
huge giant enormous gigantic big large colossal towering
small little tiny mini
fat chubby plump round overweight
dress gown robe robes skirt
shirt tee t-shirt top polo tunic jersey
vest waistcoat
sweater jumper jumpsuit cardigan
scary evil villain wicked
moustache mustache moustached
braid plait braids
pigtail twin-tail pigtails ponytail tails
hair haired hairdo
spiky spiked spikes spike
cloak cape coat
smile grin smiling grinning cheerful
muscular strong buff
furry fur shaggy hairy
skinny thin slender lanky emaciated lean
knife blade dagger bladed
sword katana rapier swords katanas lightsaber
laser lightsaber
gun pistol rifle blaster
tyre tire tyres
doll toy
bald hairless
circle circular round
puffy puffball
fast speedy quick
car vehicle automobile
rabbit bunny
dog puppy beagle
cat kitten feline
bird canary
wizard sorcerer magician
sea ocean underwater
bow ribbon bowtie
lion cub
man guy male
woman lady female
monster creature beast
soldier trooper
inflatable balloon
scar scarred
ear eared
nose nosed
bounty mercenary
jar pot
eat eating"""


@lru_cache(maxsize=1)
def _same() -> dict[str, str]:
    return {
        _bare(word): _bare(line.split()[0]) for line in reversed(_SAME.splitlines()) for word in line.split()
    }


def _bare(word: str) -> str:
    """Cut what inflects a word, roughly: equal words of a profile and a prompt must meet, no more."""
    for end in ("iness", "ing", "ed", "es", "s", "y"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            word = word[: -len(end)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """Return what stands for `word` in comparisons: its stem, or that of the word it means the same as."""
    bare = _bare(word)
    return _same().get(bare, bare)


@lru_cache(maxsize=1)
def profiles() -> tuple[Profile, ...]:
    """Return the profiles that ship."""
    return tuple(_profile(line) for line in list_lines("trademark", "characters.txt"))


def _profile(line: str) -> Profile:
    names, world, looks = (part.strip() for part in line.split(";"))
    features = (
        frozenset(stem(word) for word in key_of(part).split() if word not in _EMPTY)
        for part in looks.split(",")
    )
    return Profile(
        tuple(name.strip() for name in names.split(",")),
        frozenset(stem(word) for word in key_of(world).split()),
        tuple(feature for feature in features if feature),
    )


_EMPTY = frozenset(
    ["a", "an", "the", "of", "on", "in", "with", "and", "to", "for", "like", "under", "no", "from", "at"]
)


@lru_cache(maxsize=1)
def _by_stem() -> dict[str, tuple[int, ...]]:
    out: dict[str, list[int]] = {}
    for number, profile in enumerate(profiles()):
        for word in {word for feature in profile.features for word in feature}:
            out.setdefault(word, []).append(number)
    return {word: tuple(numbers) for word, numbers in out.items()}


@lru_cache(maxsize=1)
def _names() -> tuple[NameTable[bool], dict[str, Profile]]:
    entries = [(name, profile) for profile in profiles() for name in profile.names]
    table = NameTable((name.lstrip("?"), name.startswith("?")) for name, _ in entries)
    by_name: dict[str, Profile] = {}
    for name, profile in entries:
        by_name.setdefault(key_of(name.lstrip("?")), profile)
    return table, by_name


@lru_cache(maxsize=1)
def _artists() -> NameTable[str]:
    return NameTable(_artist_entries())


def _artist_entries() -> Iterator[tuple[str, str]]:
    group = ""
    for line in list_lines("trademark", "artists.txt"):
        if line.startswith("["):
            group = line.strip("[]")
        else:
            yield from ((name.strip(), group) for name in line.split(","))


@lru_cache(maxsize=1)
def _weights() -> tuple[Mapping[str, float], tuple[tuple[float, float], ...]]:
    """Return what each stem is worth, and the calibration points (raw score, score)."""
    path = files("clearmark.guardrails") / "trademark" / "lists" / "descriptions.json"
    document = json.loads(path.read_bytes())
    known = document["worth"]
    worth = {word: float(known.get(word, _RARE)) for word in _by_stem()}
    return worth, tuple((float(raw), float(score)) for raw, score in document["points"])


def feature_stems() -> Iterable[str]:
    """Return every stem of every feature."""
    return _by_stem().keys()
