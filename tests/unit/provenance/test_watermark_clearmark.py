"""The codec `clearmark`: what pictures go through, keys, code and search."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from clearmark.core.errors import WatermarkFailed
from clearmark.provenance.watermark import Pixels, WatermarkCodec, get_codec
from clearmark.provenance.watermark._carrier import TILE, carrier_for
from clearmark.provenance.watermark._convolution import CODE_BITS, decode, encode
from clearmark.provenance.watermark._front import equalised, fold, spectrum, whiten
from clearmark.provenance.watermark._geometry import Pose, poses, straightened
from clearmark.provenance.watermark._mask import edges, ink, mask, near, outline
from clearmark.provenance.watermark._payload import BITS, frame
from clearmark.provenance.watermark._quality import luma, noise, quiet_areas

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.watermark_contract import RobustWatermarkContract, clip_art, jpeg, scene

ID = "0123456789abcdef"


class TestClearmark(RobustWatermarkContract):
    @pytest.fixture
    def codec(self) -> WatermarkCodec:
        return get_codec("clearmark")


@pytest.fixture(scope="module")
def marked() -> Pixels:
    return get_codec("clearmark", b"key").embed([scene(512, 640, seed=5)], [ID])[0].pixels


def scaled(pixels: Pixels, across: float, down: float) -> Pixels:
    size = (round(pixels.shape[1] * across), round(pixels.shape[0] * down))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if across < 1 else cv2.INTER_CUBIC)


def cut(pixels: Pixels, share: float, top: float = 0.5, left: float = 0.5) -> Pixels:
    height, width = (round(side * share) for side in pixels.shape[:2])
    row, column = round((pixels.shape[0] - height) * top), round((pixels.shape[1] - width) * left)
    return np.ascontiguousarray(pixels[row : row + height, column : column + width])


def turned(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 10, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


ATTACKS: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg 50": lambda p: jpeg(p, 50),
    "jpeg 30": lambda p: jpeg(p, 30),
    "halved": lambda p: scaled(p, 0.5, 0.5),
    "enlarged": lambda p: scaled(p, 1.7, 1.7),
    "cropped to 75%": lambda p: cut(p, 0.75, 0.2, 0.9),
    "cropped to 50%": lambda p: cut(p, 0.5),
    "turned by 5 degrees": lambda p: turned(p, 5),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "upside down": lambda p: np.ascontiguousarray(p[::-1, ::-1]),
    "turned by a quarter": lambda p: np.ascontiguousarray(np.rot90(p)),
    "mirrored and cropped": lambda p: cut(np.ascontiguousarray(p[:, ::-1]), 0.8),
    "stretched": lambda p: scaled(p, 1.15, 1),
    "noisy": noisy,
    "blurred": lambda p: cv2.GaussianBlur(p, (0, 0), 1.5),
    "brighter": lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8),
    "screenshot": lambda p: jpeg(cut(scaled(p, 0.8, 0.8), 0.9, 0.3, 0.7), 70),
    "cropped, halved, jpeg 50": lambda p: jpeg(scaled(cut(p, 0.75), 0.5, 0.5), 50),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_survives(marked: Pixels, attack: Callable[[Pixels], Pixels]) -> None:
    found = get_codec("clearmark", b"key").extract([attack(marked)])[0]
    assert found is not None
    assert found.mark_id == ID


def test_only_the_key_reads(marked: Pixels) -> None:
    for key in (None, b"", b"key "):
        assert get_codec("clearmark", key).extract([marked]) == [None]


@pytest.mark.parametrize("quality", [90, 75])
def test_small_drawings_survive_compression(quality: int) -> None:
    codec = get_codec("clearmark")
    found = codec.extract(
        [jpeg(m.pixels, quality) for m in codec.embed([clip_art(), clip_art(seed=3)], [ID] * 2)]
    )
    assert [hit and hit.mark_id for hit in found] == [ID] * 2


def test_flat_areas_stay_quiet() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    marked = get_codec("clearmark").embed([grey], [ID])[0].pixels
    assert (marked.astype(float) - grey).std() < 1.0


def test_large_and_long_pictures() -> None:
    codec = get_codec("clearmark")
    for height, width in ((128, 900), (1100, 1500)):
        marked = codec.embed([scene(height, width, seed=2)], [ID])[0].pixels
        found = codec.extract([marked])[0]
        assert found is not None
        assert found.mark_id == ID


def test_the_mark_lies_elsewhere_in_every_picture() -> None:
    # So the average over many marked pictures holds none of it: below, of 8 flat pictures of one key.
    codec = get_codec("clearmark", b"key")
    flat = np.full((256, 256, 3), 128, np.uint8)
    marked = codec.embed([flat] * 8, [f"{number:016x}" for number in range(8)])
    residues = [luma(m.pixels) - 128 for m in marked]
    template = np.mean(residues, 0)
    alone = float(np.mean([residue.std() for residue in residues]))
    assert template.std() < 1.5 * alone / math.sqrt(8)
    victim = codec.embed([scene(256, 256)], [ID])[0].pixels
    stripped = np.clip(np.rint(victim - (template * alone / template.std())[..., None]), 0, 255).astype(
        np.uint8
    )
    found = codec.extract([stripped])[0]
    assert found is not None
    assert found.mark_id == ID


def test_noise_fails_or_reads_back() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (128, 128, 3), np.uint8)
    codec = get_codec("clearmark")
    try:
        marked = codec.embed([noise], [ID])[0]
    except WatermarkFailed:
        return
    assert codec.extract([marked.pixels])[0] is not None


def test_the_code_is_linear_and_of_its_length() -> None:
    one, other = frame(ID), frame("feedfacecafebeef")
    assert encode(one).shape == (CODE_BITS,)
    assert np.array_equal(encode(one) ^ encode(other), encode(one ^ other))
    assert not encode(np.zeros(BITS, np.uint8)).any()


def test_the_code_corrects_at_one_decibel() -> None:
    rng = np.random.default_rng(0)
    message = frame(ID)
    clean = 1 - 2 * encode(message).astype(np.float32)
    # Eb/N0 of 1 dB at rate 1/6: noise of variance 6 / (2 * 10**0.1) on each code bit.
    for _ in range(5):
        soft = clean + rng.normal(0, math.sqrt(3 / 10**0.1), CODE_BITS).astype(np.float32)
        assert any(np.array_equal(found, message) for found in decode(soft.astype(np.float32)))


def test_the_code_returns_for_anything() -> None:
    for soft in (np.zeros(CODE_BITS), np.full(CODE_BITS, 1e6), np.full(CODE_BITS, -1e-6)):
        assert decode(soft.astype(np.float32))


def test_the_carrier_follows_from_the_key_alone() -> None:
    carrier = carrier_for(b"key")
    # Frozen: a change of these values is a change of the format, and old pictures would no longer be read.
    assert (len(carrier.fy), len(carrier.sync), carrier.bit[:6].tolist()) == (
        3534,
        504,
        [546, 162, 452, 201, 126, 213],
    )
    assert carrier.count.min() == 10
    assert carrier.count.max() - carrier.count.min() <= 1


def test_a_moved_tile_is_found_where_it_was_moved() -> None:
    carrier = carrier_for(b"key")
    tile = carrier.tile(carrier.coefficients(np.ones(CODE_BITS, np.float32)))
    assert tile.shape == (TILE, TILE)
    assert tile.std() == pytest.approx(1, abs=0.1)
    values = equalised(spectrum(fold(np.roll(tile, (37, 201), (0, 1))), carrier), carrier.radius)
    assert divmod(int(carrier.position(values).argmax()), TILE) == (37, 201)


def test_poses_undo_what_they_say() -> None:
    picture = luma(scene(300, 400))
    there = cv2.resize(picture, (520, 300))
    back = straightened(there, Pose(across=1.3))
    assert back.shape == picture.shape
    assert np.abs(back - picture)[10:-10, 10:-10].mean() < 3
    flipped = straightened(np.ascontiguousarray(picture[:, ::-1]), Pose(mirrored=True))
    assert np.abs(flipped - picture)[2:-2, 2:-2].mean() < 4


def test_the_search_is_bounded() -> None:
    assert len(poses()) < 1600


def line_art() -> Pixels:
    """Grey and coloured shapes with black outlines on white."""
    picture = np.full((512, 512, 3), 255, np.uint8)
    cv2.circle(picture, (190, 200), 110, (120, 160, 190), -1, cv2.LINE_AA)
    cv2.circle(picture, (190, 200), 110, (0, 0, 0), 5, cv2.LINE_AA)
    cv2.rectangle(picture, (280, 260), (430, 440), (150, 60, 40), -1)
    cv2.rectangle(picture, (280, 260), (430, 440), (0, 0, 0), 5, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize(
    "attack",
    [
        "brighter",
        "jpeg 30",
        "cropped to 50%",
        "cropped, halved, jpeg 50",
    ],
)
def test_a_drawing_survives_light_and_compression(attack: str) -> None:
    # Light leaves only the ink, compression little but the paper's low frequencies.
    codec = get_codec("clearmark", b"key")
    marked = codec.embed([line_art()], [ID])[0]
    found = codec.extract([ATTACKS[attack](marked.pixels)])[0]
    assert found is not None
    assert found.mark_id == ID
    assert marked.psnr_db >= 38


def test_flat_areas_of_a_drawing_stay_quiet_though_outlines_are_loud() -> None:
    picture = line_art()
    marked = get_codec("clearmark", b"key").embed([picture], [ID])[0]
    plane = luma(picture)
    assert noise(picture, marked.pixels, quiet_areas(plane)) <= 0.99
    beside = near(plane) > 0.5
    added = (luma(marked.pixels) - plane)[beside]
    assert added.std() > 1.2


def test_a_loud_mask_adds_near_edges_and_in_the_dark_alone() -> None:
    plane = np.full((256, 256), 250, np.float32)
    plane[:, 128:] = 40
    quiet, loud = mask(plane), mask(plane, 1.0)
    assert np.all(loud >= quiet - 1e-5)
    assert loud[128, 120] > 1.4 * quiet[128, 120]
    assert loud[128, 20] == pytest.approx(quiet[128, 20], abs=0.01)
    assert loud[128, 240] > 1.3 * quiet[128, 240]


def test_pure_colours_hold_a_mark() -> None:
    # Each channel gives way by itself: red has no room above, green and blue have none below.
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[:, :, 0] = 255
    picture[64:192, 64:192] = (0, 0, 255)
    codec = get_codec("clearmark", b"key")
    marked = codec.embed([picture], [ID])[0]
    found = codec.extract([jpeg(marked.pixels, 75)])[0]
    assert found is not None
    assert found.mark_id == ID


def test_edges_do_not_count_as_noise() -> None:
    step = np.full((128, 128), 40, np.float32)
    step[:, 64:] = 220
    assert np.abs(whiten(step)).max() < 0.01


def test_the_second_layer_keeps_to_ink_and_its_outline() -> None:
    plane = luma(line_art())
    share = ink(plane)
    assert share[200, 190] == pytest.approx(1)
    assert share[20:40, 20:40].max() == pytest.approx(0, abs=1e-6)
    assert edges(plane)[20:40, 20:40].max() == 0


def test_an_outline_is_what_contrast_leaves_of_an_edge() -> None:
    plane = luma(line_art())
    found = outline(plane)
    assert found[20:40, 20:40].max() == 0
    assert found[300:400, 300:400].max() < 1
    # Beside the black outline, where it is smoothed into white.
    assert found[195:205, 70:90].max() > 60
    step = np.zeros((64, 64), np.float32)
    step[:, 32:] = 255
    assert outline(step).max() == 0


def ring() -> Pixels:
    """A soft grey ring on white: light leaves nothing but it."""
    picture = np.full((512, 512, 3), 255, np.uint8)
    cv2.circle(picture, (256, 256), 190, (150, 150, 150), 5, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 2)


@pytest.mark.parametrize("light", ["contrast", "brightness"])
def test_an_outline_alone_holds_the_mark_when_light_takes_all_else(light: str) -> None:
    codec = get_codec("clearmark", b"key")
    marked = codec.embed([ring()], [ID])[0]
    values = marked.pixels.astype(np.float32)
    values = (values - 128) * 1.4 + 128 if light == "contrast" else values * 1.3
    found = codec.extract([np.clip(np.rint(values), 0, 255).astype(np.uint8)])[0]
    assert found is not None
    assert found.mark_id == ID
    assert marked.psnr_db >= 38
    assert noise(ring(), marked.pixels, quiet_areas(luma(ring()))) <= 0.99
