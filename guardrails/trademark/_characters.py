"""The guard over characters and styles under copyright: `copyright/character` and `copyright/style`.

A character is recognised by name, or by its looks: each profile is a set of features ("round glasses",
"lightning scar"), and a prompt scores by the features that it tells, each worth as much as its words
are rare in ordinary captions. Words are compared by stem and by a table of words that mean the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import Evidence, Finding, Match, Span, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._lists import list_entries, list_lines
from clearmark.guardrails._names import NameTable, Reading, key_of, name_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    stems: frozenset[str] | None = None
    hits: list[CharacterHit] = []
    for hit in table.find(words):
        start, end = words.place(hit.first)[0], words.place(hit.last - 1)[1]
        score = _NAMED
        if hit.value:
            stems = frozenset(map(stem, words.places)) if stems is None else stems
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
        before = set(words.texts[max(0, hit.first - 4) : hit.first])
        after = words.texts[hit.last] if hit.last < len(words) else ""
        asked = bool(before & _STYLE_BEFORE) or after in _STYLE_AFTER
        score = _ESTATE if hit.value == "estate" else _STYLE if asked else _ARTIST
        start, end = words.place(hit.first)[0], words.place(hit.last - 1)[1]
        hits.append(CharacterHit(hit.key, score, start, end))
    return sorted(hits, key=lambda hit: (-hit.score, hit.start))


def describe(words: Reading) -> CharacterHit | None:
    """Return the character that `words` describe best, with a calibrated score; None where none is."""
    best = _best_description(words)
    if best is None:
        return None
    score, number, first, last = best
    profile = profiles()[number]
    own = {word for feature in profile.features for word in feature}
    places = [at for at in range(first, min(last, len(words))) if stem(words.texts[at]) in own]
    return CharacterHit(
        profile.title,
        _calibrated(score, _weights()[1]),
        words.place(places[0])[0],
        words.place(places[-1])[1],
        described=True,
    )


def raw_description(prompt: str) -> float:
    """Return the uncalibrated description score of `prompt`: what the calibration is fitted on."""
    best = _best_description(name_words(prompt))
    return 0.0 if best is None else best[0]


def _best_description(words: Reading) -> tuple[float, int, int, int] | None:
    """Return the best score over all windows, its profile, and the window (first word, one past the last).

    What a window can reach with a profile at most is the worth of its words there; a profile is matched
    feature by feature only where that is more than the best so far.
    """
    import numpy as np

    worth, rows, most = _bounds()
    known = {text: row for text in words.places if (row := rows.get(stem(text))) is not None}
    if len(known) < 2:
        return None
    told = [(at, known[text]) for at, text in enumerate(words.texts) if text in known]
    windows: dict[tuple[int, ...], int] = {}
    begin = 0
    for first in range(0, max(1, len(words) - _WINDOW // 2), _WINDOW // 2):
        while begin < len(told) and told[begin][0] < first:
            begin += 1
        end = begin
        while end < len(told) and told[end][0] < first + _WINDOW:
            end += 1
        inside = {row for _, row in told[begin:end]}
        if len(inside) >= 2:  # one word describes nobody
            windows.setdefault(tuple(sorted(inside)), first)
    if not windows:
        return None
    flat = np.concatenate([np.array(rows_of, dtype=np.intp) for rows_of in windows])
    starts = np.cumsum([0, *map(len, windows)])[:-1]
    limits = np.add.reduceat(most[flat], starts, axis=0)
    stems, order = _stem_list(), np.argsort(-limits, axis=None, kind="stable")
    each, firsts = list(windows), list(windows.values())
    best: tuple[float, int, int, int] | None = None
    for place in order:
        window, number = divmod(int(place), limits.shape[1])
        if limits[window, number] <= (best[0] if best else 0.0):
            break
        score = _match({stems[row] for row in each[window]}, profiles()[number], worth)
        if score > (best[0] if best else 0.0):
            best = (score, number, firsts[window], firsts[window] + _WINDOW)
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
    """Return the score on the guard's scale: 0.5 where one caption in four hundred would be flagged."""
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
    return tuple(_profile(line) for _, line in list_lines("trademark", "characters.txt"))


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
    return NameTable((name, group) for group, name in list_entries("trademark", "artists.txt"))


@lru_cache(maxsize=1)
def _weights() -> tuple[Mapping[str, float], tuple[tuple[float, float], ...]]:
    """Return what each stem is worth, and the calibration points (raw score, score)."""
    path = files("clearmark.guardrails") / "trademark" / "lists" / "descriptions.json"
    document = json.loads(path.read_bytes())
    known = document["worth"]
    worth = {word: float(known.get(word, _RARE)) for word in _by_stem()}
    return worth, tuple((float(raw), float(score)) for raw, score in document["points"])


@lru_cache(maxsize=1)
def _stem_list() -> tuple[str, ...]:
    return tuple(_by_stem())


@lru_cache(maxsize=1)
def _bounds() -> tuple[Mapping[str, float], Mapping[str, int], NDArray[np.float32]]:
    """Return worths, the row of each stem, and what a stem may add to a profile's score [stems, profiles]."""
    import numpy as np

    worth, _ = _weights()
    rows = {word: row for row, word in enumerate(_stem_list())}
    most = np.zeros((len(_stem_list()), len(profiles())), dtype=np.float32)
    for number, profile in enumerate(profiles()):
        weights = [worth[word] for feature in profile.features for word in feature]
        total = sum(weights) ** 0.5
        for feature in profile.features:
            for word in feature:
                # Counted once for every feature that has it; a hair more, so that rounding cuts nothing off.
                most[rows[word], number] += worth[word] / total * 1.0001
    return worth, rows, most


def feature_stems() -> Iterable[str]:
    """Return every stem of every feature."""
    return _by_stem().keys()
