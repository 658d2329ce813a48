"""Words in pictures: read, looked up as brands, and judged as a prompt would be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import Box, Evidence, Finding, Guard, Match, Request, Stage, Subject
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.trademark import TextReader, find_brands, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TextGuard"]

_LONGEST = 20_000


class TextGuard:
    """Scores what the words in a picture say, by the guard of prompts, and `trademark` by brand words.

    Reading costs about as much as all default guards together, so it runs where it is asked for by name.
    """

    name = "words"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})

    def __init__(self, *, reader: TextReader | None = None, judge: Guard | None = None) -> None:
        """Read by `reader` (by default `read_text`, RapidOCR) and judge by `judge` (the guard of prompts)."""
        from clearmark.guardrails.prompt import PromptGuard

        self._read: Callable[[NDArray[np.uint8]], list[tuple[str, Box]]] = reader or read_text
        self._judge: Guard = judge or PromptGuard()
        self.categories: tuple[str, ...] = tuple(dict.fromkeys(("trademark", *self._judge.categories)))

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and picture.

        Raises:
            GuardUnavailable: when a picture cannot be read, or the reader is not installed or fails.
        """
        # The reader's libraries raise their own types.
        with unavailable(self.name, "reading words", kinds=(Exception,)):
            return [self._check(subject) for subject in batch]

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        lines = self._read(pixels_of(self.name, subject))
        said = [line.strip() for line, _ in lines if line.strip()]
        worst: dict[str, Finding] = {}
        if said:
            # Words that belong together may stand on several lines.
            text = " ".join(said)[:_LONGEST]
            asked = Subject(stage=Stage.PROMPT, request=Request(text))
            for finding in self._judge.check([asked])[0]:
                before = worst.get(finding.category)
                if before is None or before.score < finding.score:
                    worst[finding.category] = finding
        brands = [(hit.score, box, hit.name) for line, box in lines for hit in find_brands(line)]
        brand = max(brands, key=lambda one: one[0], default=None)
        ms = (time.perf_counter() - began) * 1000
        facts = {"text_lines": len(said)}
        out = []
        for number, category in enumerate(self.categories):
            judged = worst.get(category)
            score = judged.score if judged else 0.0
            evidence = Evidence()
            if category == "trademark" and brand is not None and brand[0] > score:
                score, evidence = brand[0], Evidence(box=brand[1], match=Match(brand[2], "word"))
            out.append(
                Finding(
                    category=category,
                    score=score,
                    guard=self.name,
                    guard_version=self.version,
                    model=judged.model if judged else "",
                    threshold=judged.threshold if judged else 0.5,
                    evidence=evidence,
                    facts=MappingProxyType(facts if number == 0 else {}),
                    ms=ms if number == 0 else 0.0,
                )
            )
        return out
