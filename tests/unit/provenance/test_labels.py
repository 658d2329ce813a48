"""The visible label: readable on anything, in the corner asked for, or an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.errors import LabelFailed, UsageError
from clearmark.provenance.labels import LabelSettings, draw_label
from clearmark.provenance.labels.contrast import contrast, luminance


def flat(colour, size=(256, 256), mode="RGB"):
    return Image.new(mode, size, colour)


def noise(seed=0, size=256):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_contrast_is_the_one_of_wcag():
    assert float(contrast((0, 0, 0), (255, 255, 255))) == pytest.approx(21)
    assert float(contrast((119, 119, 119), (255, 255, 255))) == pytest.approx(4.48, abs=0.01)
    assert float(luminance((255, 0, 0))) == pytest.approx(0.2126)


@pytest.mark.parametrize(
    "colour", [(250, 250, 250), (5, 5, 5), (128, 128, 128), (200, 30, 30), (30, 80, 220)]
)
def test_on_a_flat_ground_no_plate_is_drawn(colour):
    out, mark = draw_label(flat(colour), LabelSettings())
    assert mark.contrast >= 4.5
    assert mark.text == "AI-generated"
    box = mark.box
    corner = np.asarray(out)[box.y : box.y + 3, box.x : box.x + 3]
    assert (corner == colour).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["top-left", "top-right", "bottom-left", "bottom-right"]))
def test_on_a_busy_ground_the_contrast_holds(seed, corner):
    picture = noise(seed)
    out, mark = draw_label(picture, LabelSettings(corner=corner))
    assert mark.contrast >= 4.5
    changed = np.argwhere((np.asarray(out) != np.asarray(picture)).any(-1))
    box = mark.box
    assert changed[:, 0].min() >= box.y
    assert changed[:, 0].max() < box.y + box.height
    assert changed[:, 1].min() >= box.x
    assert changed[:, 1].max() < box.x + box.width
    vertical, horizontal = corner.split("-")
    assert (box.y > 128) == (vertical == "bottom")
    assert (box.x > 100) == (horizontal == "right")


def test_the_letters_grow_with_the_picture():
    heights = [draw_label(noise(1, size), LabelSettings())[1].box.height for size in (256, 512, 1024)]
    assert heights[0] < heights[1] < heights[2]
    assert 1.8 < heights[2] / heights[1] < 2.2


def test_a_narrow_picture_gets_the_short_text():
    _, mark = draw_label(flat((9, 9, 9), (64, 64)), LabelSettings())
    assert mark.text == "AI"


def test_no_room_is_an_error():
    with pytest.raises(LabelFailed, match="no room"):
        draw_label(flat((9, 9, 9), (16, 16)), LabelSettings())


def test_a_transparent_ground_gets_an_opaque_plate():
    out, mark = draw_label(flat((0, 0, 0, 0), mode="RGBA"), LabelSettings())
    box = mark.box
    alpha = np.asarray(out)[..., 3]
    assert (alpha[box.y + 6 : box.y + box.height - 6, box.x + 6 : box.x + box.width - 6] == 255).all()
    assert (alpha[: box.y] == 0).all()
    assert mark.contrast >= 4.5


def test_the_original_is_not_drawn_on():
    picture = noise()
    before = picture.tobytes()
    draw_label(picture, LabelSettings())
    assert picture.tobytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"corner": "middle"},
        {"size": 0.001},
        {"size": 0.5},
        {"min_contrast": 30},
        {"text": ""},
        {"text": "a\nb"},
        {"text": "x" * 65},
    ],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(UsageError):
        LabelSettings(**changes)


def test_a_font_file_that_is_none_is_an_error(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(LabelFailed, match="font"):
        draw_label(noise(), LabelSettings(font=tmp_path / "font.ttf"))


@pytest.mark.parametrize(
    "text",
    [
        "Généré par une IA",
        "KI-generiert",
        "Wygenerowane przez SI",
        "Сгенерировано ИИ",
        "Δημιουργήθηκε από ΤΝ",
        "Tạo bởi AI",
        "נוצר בבינה מלאכותית",
        "تم إنشاؤه بالذكاء الاصطناعي",
        "AI生成",
        "人工智能生成合成",
        "AIによる生成",
        "AI 생성 이미지",
    ],
)
def test_labels_in_other_languages(text):
    out, mark = draw_label(flat((240, 240, 240), (512, 512)), LabelSettings(text=text))
    assert mark.text == text
    box = mark.box
    drawn = np.asarray(out)[box.y : box.y + box.height, box.x : box.x + box.width, 0] < 128
    assert drawn.mean() > 0.04


def test_a_letter_that_no_font_has_is_an_error():
    with pytest.raises(LabelFailed, match="glyph"):
        draw_label(flat((240, 240, 240)), LabelSettings(text="\U00012000 AI"))


def test_letters_stand_on_a_quiet_ground_whatever_is_behind():
    """Contrast alone lets a checkerboard show through the plate, and it breaks the letters up."""
    cells = np.kron(np.indices((32, 32)).sum(0) % 2 * 255, np.ones((8, 8)))
    noise = np.random.default_rng(1).integers(0, 256, (256, 256))
    for plane in (cells, noise):
        picture = Image.fromarray(np.stack([plane] * 3, -1).astype(np.uint8))
        drawn, label = draw_label(picture, LabelSettings(text="AI-generated"))
        box = label.box
        # The left margin of the plate holds no letters.
        edge = np.asarray(drawn)[box.y + 6 : box.y + box.height - 6, box.x + 1 : box.x + 4]
        shades = luminance(edge) + 0.05
        assert shades.max() / shades.min() <= 2.1
