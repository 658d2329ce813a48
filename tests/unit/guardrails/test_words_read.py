"""The guard `words` with its reader, and the pictures that it is measured on."""

from __future__ import annotations

import io
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFont
import pytest

from clearmark.core import Asset, Finding, Request, Stage, Subject
from clearmark.guardrails import get_guard
from clearmark.guardrails.output.words_evaluation import names, write_on

needs_reader = pytest.mark.skipif(
    not find_spec("rapidocr_onnxruntime"), reason="rapidocr-onnxruntime is not installed"
)


@pytest.fixture
def font(tmp_path: Path) -> Path:
    found = PIL.ImageFont.load_default(24)
    path = tmp_path / "default.ttf"
    path.write_bytes(found.font_bytes)  # type: ignore[union-attr]
    return path


def _ground() -> PIL.Image.Image:
    rough = np.random.default_rng(3).integers(90, 200, (12, 16, 3), dtype=np.uint8)
    return PIL.Image.fromarray(rough).resize((512, 384), PIL.Image.Resampling.BICUBIC)


def _mark(picture: PIL.Image.Image) -> Finding:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=75)
    asset = Asset(data=out.getvalue(), media_type="image/jpeg", width=picture.width, height=picture.height)
    (findings,) = get_guard("words").check([Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)])
    return next(finding for finding in findings if finding.category == "trademark")


def test_a_name_is_written_on_the_picture_and_made_to_fit(font: Path) -> None:
    draw = random.Random(1)
    before = _ground()
    after, height = write_on(before, "Starbucks", font, 40, draw)
    changed = np.abs(np.asarray(after, dtype=int) - np.asarray(before)).max(axis=2) > 40
    assert after.size == before.size
    assert height == 40
    assert 0.01 < changed.mean() < 0.5
    _, smaller = write_on(before, "a name that is much too long for it", font, 80, draw)
    assert smaller < 80


def test_names_to_write_are_of_one_kind() -> None:
    sure, doubtful = set(names(doubtful=False)), set(names(doubtful=True))
    assert {"starbucks", "mercedes benz"} <= {name.lower() for name in sure}
    assert "apple" in {name.lower() for name in doubtful}
    assert not sure & doubtful


@needs_reader
@pytest.mark.parametrize("height", [22, 36, 60])
def test_a_brand_is_read_on_a_picture(font: Path, height: int) -> None:
    assert _mark(_ground()).score < 0.5
    picture, _ = write_on(_ground(), "Starbucks", font, height, random.Random(height))
    mark = _mark(picture)
    assert mark.score >= 0.5
    assert mark.evidence.match is not None
    assert mark.evidence.match.item.lower() == "starbucks"
    assert mark.evidence.box is not None
    assert mark.evidence.box.width > 2 * height


@needs_reader
def test_everyday_words_on_a_picture_are_no_brand(font: Path) -> None:
    picture, _ = write_on(_ground(), "fresh apple juice", font, 36, random.Random(5))
    assert _mark(picture).score < 0.5
