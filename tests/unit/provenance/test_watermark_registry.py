"""Codecs by name, and reading with all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmark.core.errors import MediaTooLarge, UsageError
from clearmark.provenance.watermark import codecs, extract_any, get_codec
from clearmark.provenance.watermark._payload import BITS, check_pixels, frame, keystream, unframe
from clearmark.provenance.watermark._quality import psnr, ssim

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.watermark_contract import scene

ID = "feedfacecafebeef"


def test_every_name_gives_a_codec_of_that_name() -> None:
    assert [get_codec(name).name for name in codecs()] == list(codecs())
    assert get_codec().name == codecs()[0]


def test_an_unknown_name_lists_the_known_ones() -> None:
    for name in ("nope", "", "invisible:rivaGan", "invisible:"):
        with pytest.raises(UsageError) as caught:
            get_codec(name)
        assert "dwt-dct-svd" in caught.value.hint


def test_extract_any_finds_keyed_and_plain_marks() -> None:
    picture = scene(256, 256)
    for name in codecs():
        for key in (None, b"secret"):
            marked = get_codec(name, key).embed([picture], [ID])[0].pixels
            found = extract_any(marked, keys=[b"wrong", b"secret"])
            assert [(hit.codec, hit.mark_id) for hit in found] == [(name, ID)]
    assert extract_any(picture, keys=[b"secret"]) == []
    with pytest.raises(UsageError):
        extract_any(picture[..., 0])


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, clearmark.provenance.watermark as w; w.get_codec(); "
        "print([m for m in ('torch', 'cv2', 'scipy', 'imwatermark', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(st.integers(0, 2**64 - 1), st.binary(max_size=8))
def test_frames_round_trip(number: int, salt: bytes) -> None:
    mark_id = f"{number:016x}"
    bits = frame(mark_id, salt=salt)
    assert bits.shape == (BITS,)
    assert unframe(bits, salt=salt) == mark_id


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, BITS - 1), min_size=1, max_size=4))
def test_few_wrong_bits_never_pass(number: int, wrong: set[int]) -> None:
    bits = frame(f"{number:016x}")
    bits[sorted(wrong)] ^= 1
    assert unframe(bits) is None


def test_keystreams_differ_by_key_label_and_split() -> None:
    streams = {
        keystream(key, label).tobytes()
        for key, label in ((b"a", b"x"), (b"b", b"x"), (b"a", b"y"), (b"ax", b""), (b"", b"ax"), (b"", b""))
    }
    assert len(streams) == 6
    assert not keystream(None, b"x").any()


def test_too_many_pixels_are_refused_before_any_work() -> None:
    broad = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (8193, 8192, 3))
    with pytest.raises(MediaTooLarge):
        check_pixels(broad)


def test_quality_measures() -> None:
    picture = scene(1100, 140)
    assert psnr(picture, picture) == 100
    assert ssim(picture, picture) == pytest.approx(1)
    off = np.clip(picture.astype(int) + 1, 0, 255).astype(np.uint8)
    assert psnr(picture, off) == pytest.approx(48.13, abs=0.2)
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
    assert ssim(picture, noisy) < 0.8
