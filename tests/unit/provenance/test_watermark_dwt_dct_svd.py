"""The codec `dwt-dct-svd`, with the package invisible-watermark as the oracle where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from clearmark.core.errors import ExtraMissing, WatermarkFailed
from clearmark.provenance.watermark import Pixels, WatermarkCodec, get_codec
from clearmark.provenance.watermark._payload import frame

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.watermark_contract import RobustWatermarkContract, clip_art, jpeg, scene

ID = "0123456789abcdef"


class TestDwtDctSvd(RobustWatermarkContract):
    @pytest.fixture
    def codec(self) -> WatermarkCodec:
        return get_codec("dwt-dct-svd")


def test_a_key_hides_the_message() -> None:
    keyed, other, plain = (get_codec("dwt-dct-svd", key) for key in (b"a", b"b", None))
    marked = keyed.embed([scene(256, 256)], [ID])[0].pixels
    assert keyed.extract([marked])[0] is not None
    assert other.extract([marked]) == [None]
    assert plain.extract([marked]) == [None]


def test_marks_no_more_than_it_must() -> None:
    # A picture that carries its mark already is left as it is, up to blocks near an edge of their half step.
    codec = get_codec("dwt-dct-svd")
    once = codec.embed([scene(256, 256)], [ID])[0].pixels
    assert codec.embed([once], [ID])[0].psnr_db > 50


def test_bands_of_a_tall_picture_meet_without_a_seam() -> None:
    codec = get_codec("dwt-dct-svd")
    marked = codec.embed([scene(1100, 136)], [ID])[0].pixels
    found = codec.extract([marked])[0]
    assert found is not None
    assert found.confidence > 0.99


def package_bits(pixels: Pixels) -> list[int]:
    watermark = pytest.importorskip("imwatermark")
    return [int(bit) for bit in watermark.WatermarkDecoder("bits", 96).decode(bgr(pixels), "dwtDctSvd")]


def bgr(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[..., ::-1])


@pytest.mark.parametrize(
    "picture", [scene(256, 256), scene(301, 275), clip_art()], ids=["scene", "odd", "art"]
)
def test_the_package_reads_what_we_write(picture: Pixels) -> None:
    marked = get_codec("dwt-dct-svd").embed([picture], [ID])[0].pixels
    assert package_bits(marked) == frame(ID).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_we_read_what_the_package_writes(seed: int) -> None:
    watermark = pytest.importorskip("imwatermark")
    encoder = watermark.WatermarkEncoder()
    encoder.set_watermark("bits", frame(ID).tolist())
    marked = encoder.encode(bgr(scene(259, 262, seed=seed)), "dwtDctSvd")
    found = get_codec("dwt-dct-svd").extract([bgr(marked)])[0]
    assert found is not None
    assert found.mark_id == ID


def test_we_change_pictures_less_than_the_package() -> None:
    pytest.importorskip("imwatermark")
    picture = scene(256, 256)
    ours = get_codec("dwt-dct-svd").embed([picture], [ID])[0]
    theirs = get_codec("invisible:dwtDctSvd").embed([picture], [ID])[0]
    assert ours.psnr_db > theirs.psnr_db


def test_the_adapter_reads_ours_and_is_read() -> None:
    pytest.importorskip("imwatermark")
    ours, package = get_codec("dwt-dct-svd"), get_codec("invisible:dwtDctSvd")
    assert package.version
    picture = scene(256, 256)
    for writer, reader in ((ours, package), (package, ours)):
        found = reader.extract([writer.embed([picture], [ID])[0].pixels])[0]
        assert found is not None
        assert found.mark_id == ID


def test_the_adapter_refuses_what_does_not_read_back() -> None:
    pytest.importorskip("imwatermark")
    codec = get_codec("invisible:dwtDct")
    with pytest.raises(WatermarkFailed, match="did not read back"):
        codec.embed([np.full((256, 256, 3), 255, np.uint8)], [ID])
    with pytest.raises(WatermarkFailed, match="too few"):
        codec.embed([scene(200, 200)], [ID])
    assert codec.extract([scene(200, 200)]) == [None]


def test_the_adapter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(ExtraMissing) as caught:
        get_codec("invisible:dwtDctSvd")
    assert "pip install" in caught.value.hint


def test_jpeg_of_the_demo_kind_of_picture() -> None:
    codec = get_codec("dwt-dct-svd")
    pictures = [clip_art(seed=seed) for seed in range(8)]
    marked = codec.embed(pictures, [ID] * 8)
    assert all(hit and hit.mark_id == ID for hit in codec.extract([jpeg(m.pixels, 90) for m in marked]))
    assert min(m.psnr_db for m in marked) > 38
