"""The guard over a person's requests: does this prompt try again what was refused before?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType

from clearmark.core import Evidence, Finding, Match, Request, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails.prompt._minilm import installed
from clearmark.guardrails.sessions._sketch import Sketch, covered, likeness, overlap, sketch_of
from clearmark.guardrails.sessions._store import Kept, SessionStore

__all__ = ["ANONYMOUS", "SessionGuard", "score_of"]

ANONYMOUS = "anonymous"
"""The actor of requests that name none: everybody's, so nothing is kept of it."""

_THRESHOLD = 0.5
# Where half a score lies, and all of it; `evaluation.py` measures what they catch and what they hold up.
_OVERLAP = (0.42, 0.85)
_BOTH = (0.5, 0.85)
_OF_MEANING = 0.65
_COVERED = (0.75, 1.0)


class SessionGuard:
    """Scores `session/retry`: how like a prompt, or it together with the last few, is to one refused before.

    Whoever decides tells the guard what was refused (`remember`). A request without an actor scores 0.
    """

    name = "sessions"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = ("session/retry",)

    def __init__(self, store: SessionStore, *, sentences: bool | None = None) -> None:
        """Compare by what `store` keeps; by meaning as well where sentence embeddings are installed."""
        self._store = store
        self._sentences = installed() if sentences is None else sentences

    @property
    def version(self) -> str:
        """Names the code, and whether meanings are compared."""
        return f"1{'s' if self._sentences else 'w'}"

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding per subject.

        Raises:
            GuardUnavailable: when the store cannot be read.
        """
        try:
            return [[self._finding(subject.request)] for subject in batch]
        except GuardUnavailable:
            raise
        except (OSError, Error, LookupError, ValueError) as exc:
            raise GuardUnavailable(f"{self.name}: {type(exc).__name__} while reading a prompt") from exc

    def remember(self, request: Request, *, refused: bool) -> None:
        """Keep what was refused, and what comes after it. Nothing is kept of people never refused anything.

        Raises:
            GuardUnavailable: when the store cannot be written.
        """
        if request.actor == ANONYMOUS:
            return
        who = _person(request)
        if refused or self._store.refused(who):
            self._store.remember(who, self._sketch(request), refused=refused)

    def forget(self, actor: str, tenant: str = "default") -> int:
        """Erase what is kept of a person; returns how many prompts that was."""
        return self._store.forget(f"{tenant}/{actor}")

    def _sketch(self, request: Request) -> Sketch:
        return sketch_of(request, self._store.word_key, sentences=self._sentences)

    def _finding(self, request: Request) -> Finding:
        began = time.perf_counter()
        score, match, refusals = 0.0, None, []
        if request.actor != ANONYMOUS:
            refusals = self._store.refused(_person(request))
        if refusals:
            score, match = score_of(self._sketch(request), refusals, self._store.recent(_person(request)))
        return Finding(
            category="session/retry",
            score=score,
            guard=self.name,
            guard_version=self.version,
            threshold=_THRESHOLD,
            evidence=Evidence(match=match if score >= _THRESHOLD else None),
            facts=MappingProxyType(
                {"retry_of_refused": score >= _THRESHOLD, "refused_recently": len(refusals)}
            ),
            ms=(time.perf_counter() - began) * 1000,
        )


def score_of(sketch: Sketch, refused: Sequence[Kept], recent: Sequence[Kept]) -> tuple[float, Match | None]:
    """Return how like `sketch` is to the nearest refused one, and which it is: the nth latest, and how."""
    best, match = 0.0, None
    for number, kept in enumerate(refused, 1):
        reworded = _scaled(overlap(sketch, kept.sketch), _OVERLAP)
        if sketch.embedding and kept.sketch.embedding:
            meant = _OF_MEANING * likeness(sketch, kept.sketch)
            reworded = _scaled(meant + (1 - _OF_MEANING) * overlap(sketch, kept.sketch), _BOTH)
        later = [each.sketch for each in recent if each.at >= kept.at]
        split = _scaled(covered(kept.sketch, sketch, later), _COVERED)
        for score, kind in ((reworded, "reworded"), (split, "in parts")):
            if score > best:
                best, match = score, Match(f"refusal {number} before", kind)
    return best, match


def _scaled(value: float, points: tuple[float, float]) -> float:
    """Put `points` at one half and at one, straight between and below."""
    half, whole = points
    if value <= half:
        return 0.5 * max(0.0, value) / half * 0.98
    return min(1.0, 0.5 + 0.5 * (value - half) / (whole - half))


def _person(request: Request) -> str:
    return f"{request.tenant}/{request.actor}"
