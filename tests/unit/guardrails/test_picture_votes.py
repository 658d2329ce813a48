"""What the whole hides: parts, paintings, looks, and two models that are at odds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Finding, Guard, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails import get_guard
from clearmark.guardrails.output import NudityGuard, VoteGuard, _nudity, look_of

PORTRAIT = (Path(__file__).parents[2] / "assets" / "faces" / "astronaut.jpg").read_bytes()
SKIN = (224, 172, 140)


def _subject(picture: PIL.Image.Image) -> Subject:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return Subject(
        stage=Stage.OUTPUT, request=Request("x"), asset=Asset(data=out.getvalue(), media_type="image/png")
    )


class Says:
    """A guard that gives one score for each of its categories."""

    version = "1"
    stages = frozenset({Stage.OUTPUT})

    def __init__(self, name: str, score: float, *categories: str) -> None:
        self.name, self.score, self.categories = name, score, categories or ("sexual",)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        return [
            [
                Finding(category=c, score=self.score, guard=self.name, guard_version="1", threshold=0.5)
                for c in self.categories
            ]
            for _ in batch
        ]


class TestVoteGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return VoteGuard(get_guard("nudity"), NudityGuard())


@pytest.mark.parametrize(
    ("first", "second", "score", "odds"),
    [(0.9, 0.1, 0.9, True), (0.1, 0.6, 0.6, True), (0.9, 0.7, 0.9, False), (0.6, 0.4, 0.6, False)],
)
def test_the_worse_counts_and_disagreement_is_told(
    first: float, second: float, score: float, odds: bool
) -> None:
    vote = VoteGuard(Says("a", first, "sexual", "violence"), Says("b", second))
    assert vote.categories == ("sexual",)
    (finding,) = vote.check([_subject(PIL.Image.new("RGB", (8, 8)))])[0]
    assert (finding.score, finding.facts["guards_disagree"]) == (score, odds)


def test_two_opinions_are_two() -> None:
    with pytest.raises(UsageError):
        VoteGuard(Says("a", 0.1, "violence"), Says("b", 0.1))
    silent = Says("b", 0.1)
    silent.check = lambda batch: [[] for _ in batch]  # type: ignore[method-assign]
    with pytest.raises(GuardUnavailable):
        VoteGuard(Says("a", 0.1), silent).check([_subject(PIL.Image.new("RGB", (8, 8)))])


def test_a_part_that_is_worse_than_the_whole_is_held_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = PIL.Image.new("RGB", (512, 512), (20, 80, 170))
    picture.paste(SKIN, (0, 0, 220, 220))
    sizes: list[tuple[int, ...]] = []

    def scores(_: object, pictures: Sequence[np.ndarray]) -> list[float]:
        sizes.extend(one.shape for one in pictures)
        return [0.1 if one.shape[0] == 512 else 0.9 for one in pictures]

    monkeypatch.setattr(_nudity, "_scores", scores)
    (finding,) = NudityGuard().check([_subject(picture)])[0]
    assert sizes == [(512, 512, 3), (307, 307, 3)]  # of five parts, the one that is mostly skin
    assert finding.score == _nudity.DOUBT
    assert finding.facts["nudity_unsure"] is True
    assert finding.facts["nudity_part"] == pytest.approx(0.9)


def test_a_plain_whole_costs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def scores(_: object, pictures: Sequence[np.ndarray]) -> list[float]:
        seen.append(len(pictures))
        return [0.01 for _ in pictures]

    monkeypatch.setattr(_nudity, "_scores", scores)
    (finding,) = NudityGuard().check([_subject(PIL.Image.new("RGB", (512, 512), SKIN))])[0]
    assert seen == [1, 0]
    assert finding.facts["nudity_unsure"] is False


def test_a_painted_nude_is_one_for_a_person_and_a_photograph_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = PIL.Image.new("RGB", (512, 512), "white")
    pen = PIL.ImageDraw.Draw(drawn)
    pen.ellipse((120, 60, 400, 500), fill=SKIN, outline="black", width=6)
    monkeypatch.setattr(_nudity, "_scores", lambda _, pictures: [0.2 for _ in pictures])
    (finding,) = NudityGuard().check([_subject(drawn)])[0]
    assert finding.facts["nudity_painted"] is True
    assert finding.score == _nudity.DOUBT
    (photo,) = NudityGuard().check([_subject(PIL.Image.open(io.BytesIO(PORTRAIT)).convert("RGB"))])[0]
    assert photo.facts["nudity_painted"] is False


def test_a_photograph_looks_like_one_and_a_drawing_does_not() -> None:
    drawn = PIL.Image.new("RGB", (512, 512), "white")
    pen = PIL.ImageDraw.Draw(drawn)
    for number in range(8):
        colour = ("red", "green", "blue", "orange")[number % 4]
        pen.ellipse((40 * number, 30 * number, 40 * number + 150, 30 * number + 190), fill=colour)
    assert not look_of(np.asarray(drawn)).photorealistic
    assert look_of(np.asarray(PIL.Image.open(io.BytesIO(PORTRAIT)).convert("RGB"))).photorealistic


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 2), (31, 40)])
def test_pictures_of_any_size_have_a_look(size: tuple[int, int]) -> None:
    assert 0 <= look_of(np.asarray(PIL.Image.new("RGB", size, "green"))).photograph <= 1
