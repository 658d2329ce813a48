"""Logos by shape, and words in pictures."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Box, Guard, Request, Stage, Subject
from clearmark.core.errors import ModelCorrupt
from clearmark.guardrails.trademark import LogoIndex, MarkGuard, find_logos, logo_index, read_text
from clearmark.guardrails.trademark._logos import FRAME, frame


class TestMarkGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return MarkGuard()


def _shape(side: int, angle: float = 0.0) -> PIL.Image.Image:
    """An odd shape of our own: a ring with a fork."""
    mask = PIL.Image.new("L", (side, side))
    draw = PIL.ImageDraw.Draw(mask)
    s = side / 100
    draw.ellipse((5 * s, 5 * s, 95 * s, 95 * s), fill=255)
    draw.ellipse((20 * s, 20 * s, 80 * s, 80 * s), fill=0)
    draw.rectangle((44 * s, 10 * s, 56 * s, 70 * s), fill=255)
    draw.rectangle((20 * s, 62 * s, 80 * s, 72 * s), fill=255)
    return mask.rotate(angle, PIL.Image.Resampling.BICUBIC)


def _index() -> LogoIndex:
    mask = frame(np.asarray(_shape(128)))
    return LogoIndex(("Ringfork",), mask[None], np.array([0.9], dtype=np.float32))


@pytest.mark.parametrize(("side", "angle", "quality"), [(80, 0, 50), (150, 12, 50), (200, -9, 30)])
def test_a_mark_is_found_in_a_picture(side: int, angle: float, quality: int) -> None:
    picture = PIL.Image.linear_gradient("L").resize((512, 512)).convert("RGB")
    picture.paste((200, 30, 40), (100, 220), _shape(side, angle))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    (hit,) = find_logos(np.asarray(PIL.Image.open(out)), _index())
    assert hit.name == "Ringfork"
    assert abs(hit.box.x - 100) < 0.25 * side
    assert abs(hit.box.y - 220) < 0.25 * side


def test_other_shapes_are_not_the_mark() -> None:
    picture = PIL.Image.new("RGB", (512, 512), "white")
    draw = PIL.ImageDraw.Draw(picture)
    draw.rectangle((50, 50, 200, 200), fill="red")
    draw.ellipse((250, 250, 400, 400), fill="blue")
    assert find_logos(np.asarray(picture), _index()) == []


def test_the_index_that_ships_holds_together() -> None:
    index = logo_index()
    assert len(index) > 3000
    assert index.vectors.shape == (len(index), FRAME * FRAME)
    assert 0 < index.limits.min() <= index.limits.max() < 1
    with pytest.raises(ModelCorrupt):
        LogoIndex(("a", "b"), np.zeros((1, FRAME, FRAME), np.uint8), np.zeros(1, np.float32))


def _check(guard: MarkGuard) -> list:
    out = io.BytesIO()
    PIL.Image.new("RGB", (64, 64), "white").save(out, "PNG")
    asset = Asset(data=out.getvalue(), media_type="image/png")
    return guard.check([Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)])[0]


def test_words_are_brands_and_go_to_the_judge() -> None:
    heard: list[str] = []

    def judge(text: str) -> dict[str, bool | int | float | str]:
        heard.append(text)
        return {"text_sexual": 0.2}

    guard = MarkGuard(
        reader=lambda _: [("Coca-Cola", Box(1, 2, 3, 4)), ("fresh", Box(1, 9, 3, 4))], judge=judge
    )
    (finding,) = _check(guard)
    assert finding.score >= 0.5
    assert finding.evidence.box == Box(1, 2, 3, 4)
    assert finding.facts["text_lines"] == 2
    assert finding.facts["text_sexual"] == 0.2
    assert heard == ["Coca-Cola\nfresh"]


def test_text_is_read_from_pixels() -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    picture = PIL.Image.new("RGB", (480, 160), "white")

    PIL.ImageDraw.Draw(picture).text((40, 40), "STARBUCKS", fill="black", font=PIL.ImageFont.load_default(60))
    lines = read_text(np.asarray(picture))
    assert "STARBUCKS" in " ".join(text for text, _ in lines).upper()
