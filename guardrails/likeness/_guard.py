"""The guard over faces in pictures: category `likeness/registered`, and how many faces there are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import Evidence, Finding, Match, Stage, Subject
from clearmark.guardrails._media import pixels_of, read_rgb, unavailable
from clearmark.guardrails.likeness._faces import Face, embed_faces, find_faces
from clearmark.guardrails.likeness._registry import LikenessRegistry, RegistryMatch
from clearmark.guardrails.models import entry
from clearmark.guardrails.output._change import edit_facts
from clearmark.guardrails.output._look import look_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MATCH_DISTANCE", "LikenessGuard"]

MATCH_DISTANCE = 0.5
"""Faces nearer than this are one person's; the card says how often that is wrong."""


class LikenessGuard:
    """Counts faces, and looks each up in a registry where one is given. Needs the extra `faces` only then.

    Of a picture that was edited it also says what the edit did to the people in it (`EditFacts`).
    """

    name = "faces"
    version = "2"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("likeness/registered",)

    def __init__(self, registry: LikenessRegistry | None = None) -> None:
        """Look faces up in `registry`; without one, only count them."""
        self._registry = registry

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return the enrolled people of every picture, one finding of score 0 where there are none.

        Raises:
            GuardUnavailable: when a picture or a weight cannot be read, or the extra is missing.
        """
        with unavailable(self.name, "looking at a picture"):
            return [self._check(subject) for subject in batch]

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        rgb = pixels_of(self.name, subject)
        faces = find_faces(rgb)
        matches = self._look_up(rgb, faces)
        near = [(face, match) for face, match in matches if match.distance < MATCH_DISTANCE]
        today = datetime.now(tz=UTC).date()
        request = subject.request
        allowed = bool(near) and all(
            any(one.covers(request.consent, request.purpose, today) for one in match.enrolment.consents)
            for _, match in near
        )
        height, width = rgb.shape[:2]
        largest = max((face.box.width * face.box.height for face in faces), default=0)
        facts: MappingProxyType[str, bool | int | float | str] = MappingProxyType(
            {
                "face_count": len(faces),
                "largest_face": round(largest / (height * width), 4),
                "registered_people": len({match.enrolment.person for _, match in near}),
                "registered_consent": allowed,
                **look_of(rgb).to_facts(),
                **_edited(subject),
            }
        )
        ms = (time.perf_counter() - began) * 1000
        model = entry("face-dlib" if matches else "face-yunet").ref
        shown: list[tuple[Face, RegistryMatch] | None] = [*matches] or [None]
        return [
            Finding(
                category="likeness/registered",
                score=0.0 if pair is None else max(0.0, 1 - pair[1].distance / (2 * MATCH_DISTANCE)),
                guard=self.name,
                guard_version=self.version,
                model=model,
                threshold=0.5,
                evidence=Evidence()
                if pair is None
                else Evidence(
                    box=pair[0].box,
                    match=Match(pair[1].enrolment.person, "face", round(pair[1].distance, 4)),
                ),
                facts=facts if number == 0 else MappingProxyType({}),
                ms=ms if number == 0 else 0.0,
            )
            for number, pair in enumerate(shown)
        ]

    def _look_up(self, rgb: NDArray[np.uint8], faces: Sequence[Face]) -> list[tuple[Face, RegistryMatch]]:
        registry = self._registry
        if registry is None or not len(registry) or not faces:
            return []
        found = [
            (face, match)
            for face, row in zip(faces, embed_faces(rgb, faces), strict=True)
            if (match := registry.match(row)) is not None
        ]
        return sorted(found, key=lambda pair: pair[1].distance)


def _edited(subject: Subject) -> dict[str, bool | float]:
    """Return what an edit did, by the faces of the picture that was given; nothing where none was."""
    given, made, mask = subject.request.init_image, subject.asset, subject.request.mask
    if subject.stage is not Stage.OUTPUT or given is None or made is None:
        return {}
    boxes = [face.box for face in find_faces(read_rgb(given.data))]
    return edit_facts(given.data, made.data, mask.data if mask else None, boxes).to_facts()
