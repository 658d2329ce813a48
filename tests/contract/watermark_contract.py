"""What every watermark codec must do, whoever wrote it. Subclass `WatermarkContract` and give it a codec."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from clearmark.core.errors import UsageError, WatermarkFailed
from clearmark.provenance.watermark import Pixels, WatermarkCodec

IDS = ("0123456789abcdef", "ffffffffffffffff", "0000000000000000", "8000000000000001")


def scene(height: int, width: int, *, seed: int = 0) -> Pixels:
    """A picture between a photo and a drawing: smooth shading, fine grain, and shapes with hard edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((5, 5, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 180 + 40
    picture += rng.normal(0, 3, (height, width, 1))
    for _ in range(12):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(picture, at, int(rng.integers(6, 40)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return np.clip(picture, 0, 255).astype(np.uint8)


def clip_art(size: int = 256, *, seed: int = 0) -> Pixels:
    """A flat drawing on white: what the small reference model makes."""
    rng = np.random.default_rng(seed)
    picture = np.full((size, size, 3), 255, np.uint8)
    for _ in range(5):
        points = rng.integers(size // 5, size * 4 // 5, (5, 2)).astype(np.int32)
        cv2.fillPoly(picture, [points], rng.integers(0, 256, 3).tolist(), cv2.LINE_AA)
    return picture


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


class WatermarkContract:
    @pytest.fixture
    def codec(self) -> WatermarkCodec:
        raise NotImplementedError

    def test_is_a_codec(self, codec: WatermarkCodec) -> None:
        assert isinstance(codec, WatermarkCodec)
        assert codec.name
        assert codec.version

    def test_batches_keep_their_order(self, codec: WatermarkCodec) -> None:
        pictures = [scene(256, 256, seed=seed) for seed in range(3)]
        marked = codec.embed(pictures, IDS[:3])
        assert [found and found.mark_id for found in codec.extract([m.pixels for m in marked])] == list(
            IDS[:3]
        )

    def test_empty_batch(self, codec: WatermarkCodec) -> None:
        assert codec.embed([], []) == []
        assert codec.extract([]) == []

    def test_leaves_the_argument_alone(self, codec: WatermarkCodec) -> None:
        picture = scene(256, 256)
        kept = picture.copy()
        marked = codec.embed([picture], [IDS[0]])[0]
        assert np.array_equal(picture, kept)
        assert not np.array_equal(marked.pixels, kept)
        assert marked.pixels.dtype == np.uint8
        assert marked.pixels.shape == picture.shape
        assert 30 < marked.psnr_db < 100
        assert 0.8 < marked.ssim <= 1

    @pytest.mark.parametrize(("height", "width"), [(256, 256), (257, 391), (300, 281)])
    def test_any_size(self, codec: WatermarkCodec, height: int, width: int) -> None:
        marked = codec.embed([scene(height, width)], [IDS[0]])[0]
        assert marked.pixels.shape == (height, width, 3)
        found = codec.extract([marked.pixels])[0]
        assert found is not None
        assert found.mark_id == IDS[0]
        assert 0.5 < found.confidence <= 1

    def test_the_same_picture_and_id_give_the_same_pixels(self, codec: WatermarkCodec) -> None:
        first, second = codec.embed([scene(256, 256)] * 2, [IDS[0]] * 2)
        assert np.array_equal(first.pixels, second.pixels)

    def test_nothing_in_unmarked_pictures(self, codec: WatermarkCodec) -> None:
        pictures = [scene(256, 256, seed=seed) for seed in range(3)]
        pictures += [clip_art(seed=seed) for seed in range(2)]
        pictures.append(np.full((256, 256, 3), 255, np.uint8))
        pictures.append(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
        assert codec.extract(pictures) == [None] * len(pictures)

    def test_nothing_in_a_picture_smaller_than_a_mark(self, codec: WatermarkCodec) -> None:
        pictures = [np.zeros((1, 1, 3), np.uint8), np.zeros((7, 300, 3), np.uint8), scene(16, 16)]
        assert codec.extract(pictures) == [None] * 3

    @pytest.mark.parametrize("size", [1, 16, 100])
    def test_too_small_is_an_error_with_a_reason(self, codec: WatermarkCodec, size: int) -> None:
        with pytest.raises(WatermarkFailed, match=str(size)) as caught:
            codec.embed([scene(size, size)], [IDS[0]])
        assert caught.value.hint

    @pytest.mark.parametrize(
        "kind", ["white", "black", "grey", "red", "blue", "noise", "checkers", "stripes"]
    )
    def test_hostile_extremes_read_back_or_fail_clearly(self, codec: WatermarkCodec, kind: str) -> None:
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[:] = {"white": 255, "grey": 128, "red": (255, 0, 0), "blue": (0, 0, 255)}.get(kind, 0)
        if kind == "noise":
            picture = np.random.default_rng(1).integers(0, 256, picture.shape, np.uint8)
        if kind == "checkers":
            picture[(np.add.outer(np.arange(256), np.arange(256)) % 2) == 0] = 255
        if kind == "stripes":
            picture[:, ::2] = 255
        try:
            marked = codec.embed([picture], [IDS[1]])[0]
        except WatermarkFailed as failed:
            assert failed.hint  # noqa: PT017 - either outcome is right, but not silence
            return
        found = codec.extract([marked.pixels])[0]
        assert found is not None
        assert found.mark_id == IDS[1]

    @pytest.mark.parametrize(
        "mark_id", ["", "0123456789ABCDEF", "0123456789abcde", "g" * 16, "0123456789abcdef\n"]
    )
    def test_ids_of_another_form_are_refused(self, codec: WatermarkCodec, mark_id: str) -> None:
        with pytest.raises(UsageError):
            codec.embed([scene(256, 256)], [mark_id])

    def test_arrays_of_another_form_are_refused(self, codec: WatermarkCodec) -> None:
        bad = [
            np.zeros((256, 256), np.uint8),
            np.zeros((256, 256, 4), np.uint8),
            np.zeros((256, 256, 3), np.float32),
            np.zeros((0, 256, 3), np.uint8),
        ]
        for array in bad:
            with pytest.raises(UsageError):
                codec.embed([array], [IDS[0]])
            with pytest.raises(UsageError):
                codec.extract([array])

    def test_batches_of_unequal_length_are_refused(self, codec: WatermarkCodec) -> None:
        with pytest.raises(UsageError):
            codec.embed([scene(256, 256)], [])

    def test_views_and_orders_of_memory(self, codec: WatermarkCodec) -> None:
        picture = scene(256, 256)
        turned = np.asfortranarray(picture)
        flipped = np.ascontiguousarray(picture[:, ::-1])[:, ::-1]
        plain, other, view = codec.embed([picture, turned, flipped], [IDS[0]] * 3)
        assert np.array_equal(plain.pixels, other.pixels)
        assert np.array_equal(plain.pixels, view.pixels)


class RobustWatermarkContract(WatermarkContract):
    """For a codec that may be a policy's only mark: clip art and JPEG must be survived."""

    @pytest.mark.parametrize("seed", range(4))
    def test_clip_art_on_white_survives_jpeg_90(self, codec: WatermarkCodec, seed: int) -> None:
        marked = codec.embed([clip_art(seed=seed)], [IDS[0]])[0]
        found = codec.extract([marked.pixels, jpeg(marked.pixels, 90)])
        assert [hit and hit.mark_id for hit in found] == [IDS[0]] * 2

    @pytest.mark.parametrize("size", [128, 129, 160])
    def test_small_pictures(self, codec: WatermarkCodec, size: int) -> None:
        marked = codec.embed([scene(size, size)], [IDS[3]])[0]
        found = codec.extract([marked.pixels])[0]
        assert found is not None
        assert found.mark_id == IDS[3]
