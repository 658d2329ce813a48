"""The noun `Finding`: what one guard saw. A finding measures; it never decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clearmark.core.errors import UsageError

__all__ = ["CATEGORIES", "Box", "Evidence", "Finding", "Match", "Span"]

CATEGORIES: tuple[str, ...] = (
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
    "hate",
    "harassment",
    "self-harm",
    "illicit",
    "deception",
    "likeness/public-figure",
    "likeness/registered",
    "trademark",
    "copyright/character",
    "copyright/style",
    "memorization",
    "session/retry",
)
"""Every category that a guard may report. The first eight are named as the moderation APIs name them."""


@dataclass(frozen=True)
class Span:
    """Characters `start` up to `end` of the original text of `field` ("prompt" or "negative_prompt")."""

    start: int
    end: int
    field: str = "prompt"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"start": self.start, "end": self.end, "field": self.field}


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the picture, origin top left."""

    x: int
    y: int
    width: int
    height: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}


@dataclass(frozen=True)
class Match:
    """An entry of a list or index that the subject matched, and how far away it is."""

    item: str
    kind: str = ""
    distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {"item": self.item}
        if self.kind:
            out["kind"] = self.kind
        if self.distance is not None:
            out["distance"] = self.distance
        return out


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Where the guard saw it: a span of text, a box in a picture, an entry that matched."""

    span: Span | None = None
    box: Box | None = None
    match: Match | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without what is absent."""
        parts = {"span": self.span, "box": self.box, "match": self.match}
        return {name: part.to_dict() for name, part in parts.items() if part is not None}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One measurement: a calibrated probability in [0, 1] that the subject belongs to `category`.

    A guard reports every category that it measures, low scores too: a policy replayed later needs them.
    `model` is the weights' catalogue id with their digest (`id@sha256:…`), empty for guards without weights;
    `facts` are further things that the guard measured (face count, photorealism) for the policy's CEL.

    Raises:
        UsageError: for a category that is not in `CATEGORIES`, or a score outside [0, 1].
    """

    category: str
    score: float
    guard: str
    guard_version: str
    model: str = ""
    threshold: float | None = None
    message: str = ""
    evidence: Evidence = field(default_factory=Evidence)
    facts: Mapping[str, bool | int | float | str] = field(default_factory=lambda: MappingProxyType({}))
    ms: float = 0.0

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise UsageError(f"unknown category {self.category!r}", hint=f"one of {', '.join(CATEGORIES)}")
        if not 0.0 <= self.score <= 1.0:  # also refuses NaN
            raise UsageError(f"{self.guard}: score {self.score} is outside [0, 1]")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that the command line prints: scores as floats."""
        out: dict[str, Any] = {
            "category": self.category,
            "score": round(self.score, 6),
            "guard": self.guard,
            "guard_version": self.guard_version,
            "model": self.model,
            "message": self.message,
            "evidence": self.evidence.to_dict(),
            "ms": round(self.ms, 3),
        }
        if self.threshold is not None:
            out["threshold"] = self.threshold
        if self.facts:
            out["facts"] = dict(self.facts)
        return out
