"""Stock watermarks: a repeated pattern of words is seen, a picture without one is not."""

from __future__ import annotations

import io
import random

import numpy as np
import PIL.Image
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Guard, Request, Stage, Subject
from clearmark.guardrails.output import OverlayGuard
from clearmark.guardrails.output._overlay import LIMIT, overlay_strength
from clearmark.guardrails.output.overlay_evaluation import lay_over


class TestOverlayGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return OverlayGuard()


def _scene(seed: int) -> PIL.Image.Image:
    """Return a picture of soft shapes and some grain: nothing in it repeats."""
    draw = np.random.default_rng(seed)
    soft = PIL.Image.fromarray(draw.integers(40, 220, (9, 9, 3), dtype=np.uint8))
    pixels = np.asarray(soft.resize((512, 512), PIL.Image.Resampling.BICUBIC)).astype(float)
    pixels += draw.normal(0, 3, pixels.shape)
    return PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _check(picture: PIL.Image.Image) -> tuple[float, bool]:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=75)
    asset = Asset(data=out.getvalue(), media_type="image/jpeg")
    ((finding,),) = OverlayGuard().check([Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)])
    return finding.score, bool(finding.facts["repeated_overlay"])


@pytest.mark.parametrize("seed", range(4))
def test_words_laid_over_are_seen(seed: int) -> None:
    scene = _scene(seed)
    assert _check(scene) == (pytest.approx(0.0, abs=0.3), False)
    score, seen = _check(lay_over(scene, random.Random(seed)))
    assert seen
    assert score >= 0.5


def test_one_direction_is_no_pattern() -> None:
    rows = np.zeros((400, 400), dtype=np.float32)
    rows[::40] = 40
    assert overlay_strength(rows + 100) < LIMIT


def test_small_and_plain_pictures_show_nothing() -> None:
    assert overlay_strength(np.full((500, 300), 7, dtype=np.float32)) == 0.0
    assert overlay_strength(np.zeros((50, 500), dtype=np.float32)) == 0.0
