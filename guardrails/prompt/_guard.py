"""The prompt guard: every category of a prompt, with where in the original it was read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Span, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails.prompt._language import is_supported
from clearmark.guardrails.prompt._reading import Located, Reading, read
from clearmark.guardrails.prompt._scoring import CATEGORIES, calibration, scores

__all__ = ["PromptGuard"]

_STRENGTHS = ("alone", "strong", "medium", "weak")
_MOST_SPANS = 8


class PromptGuard:
    """Normalisation, term lists and calibration. Needs no weights beside this package and no network."""

    name = "prompt"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = CATEGORIES

    @property
    def version(self) -> str:
        """Names the code and the fitted numbers."""
        return f"1+{calibration()['sexual'].version}"

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return a finding for every category of every subject; more where several places say the same.

        Raises:
            GuardUnavailable: when the lists or fitted numbers cannot be read.
        """
        try:
            return [self._check(subject) for subject in batch]
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(
                f"{self.name}: {type(exc).__name__} while reading a prompt", hint="reinstall clearmark"
            ) from exc

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        reading = read(subject.request.prompt, subject.request.negative_prompt)
        measured = scores(reading)
        table = calibration()
        facts = MappingProxyType(
            {
                "prompt_changes": len(reading.changes),
                "prompt_obfuscated": bool(reading.changes),
                "prompt_language_supported": is_supported(
                    [word.text for word in reading.words], reading.dense
                ),
            }
        )
        ms = (time.perf_counter() - began) * 1000
        out: list[Finding] = []
        for category in CATEGORIES:
            threshold = table[category].threshold
            spans = _spans(reading, category)
            over = measured[category] >= threshold
            for number, span in enumerate(spans[: _MOST_SPANS if over else 1] or [None]):
                out.append(
                    Finding(
                        category=category,
                        score=measured[category],
                        guard=self.name,
                        guard_version=self.version,
                        threshold=threshold,
                        message=_message(spans) if number == 0 else "",
                        evidence=Evidence(span=span),
                        facts=facts if not out else MappingProxyType({}),
                        ms=ms if not out else 0.0,
                    )
                )
        return out


def _spans(reading: Reading, category: str) -> list[Span]:
    """Return the places that speak for `category`, the strongest first, without repeats."""
    found = [located for located in reading.terms if located.hit.term.group == category]
    found.sort(key=_order)
    spans = [Span(located.hit.start, located.hit.end, located.field) for located in found]
    if category == "sexual/minors" and reading.age.strength:
        spans.insert(0, Span(reading.age.start, reading.age.end))
    return list(dict.fromkeys(spans))


def _order(located: Located) -> tuple[int, int]:
    return _STRENGTHS.index(located.hit.term.strength), located.hit.start


def _message(spans: Sequence[Span]) -> str:
    if not spans:
        return ""
    return "1 place" if len(spans) == 1 else f"{len(spans)} places"
