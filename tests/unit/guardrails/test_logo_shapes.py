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
from clearmark.core.errors import ModelCorrupt, UsageError
from clearmark.guardrails.trademark import LogoIndex, MarkGuard, find_logos, logo_index, read_text
from clearmark.guardrails.trademark._logos import candidates
from clearmark.guardrails.trademark._regions import regions
from clearmark.guardrails.trademark._shapes import FEATURES, FINE


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
    return LogoIndex.of({"Ringfork": np.asarray(_shape(128))})


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
    assert len(index.vectors) == len(index.names) == len(index)
    assert 0 < index.usual.min() <= index.usual.max() < 1
    with pytest.raises(ModelCorrupt):
        LogoIndex(("a", "b"), np.zeros((1, FINE, FINE), np.bool_), np.zeros(1, np.float32))
    with pytest.raises(UsageError):
        LogoIndex.of({"nothing": np.zeros((20, 20), np.uint8)})


def test_marks_of_ones_own_are_looked_for_beside_those_that_ship() -> None:
    picture = PIL.Image.linear_gradient("L").resize((512, 512)).convert("RGB")
    picture.paste((200, 30, 40), (100, 220), _shape(150, 5))
    out = io.BytesIO()
    picture.save(out, "PNG")
    asset = Asset(data=out.getvalue(), media_type="image/png")
    findings = MarkGuard(own=_index()).check(
        [Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)]
    )[0]
    assert findings[0].evidence.match is not None
    assert findings[0].evidence.match.item == "Ringfork"
    assert findings[0].score >= 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 5), (33, 40), (640, 96)])
def test_pictures_of_any_shape_have_regions_within_them(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[: size[1] // 2] = 40
    for region in regions(pixels):
        assert 0 <= region.box.x < size[0]
        assert 0 <= region.box.y < size[1]
    for one in candidates(pixels, _index()):
        assert one.features.shape == (len(FEATURES),)
        assert np.isfinite(one.features).all()


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
