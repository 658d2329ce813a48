from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.errors import MediaError, MediaTooLarge
from clearmark.core.pixels import encode_png, open_image, read_asset, sniff


def encoded(kind: str, size=(8, 6), mode="RGB", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red" if mode != "L" else 9).save(out, kind, **options)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "media"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_the_bytes_tell_the_format(kind, media) -> None:
    asset = read_asset(encoded(kind))
    assert (asset.media_type, asset.width, asset.height) == (media, 8, 6)


def test_a_claimed_format_is_checked() -> None:
    with pytest.raises(MediaError, match="said to be image/png"):
        open_image(encoded("JPEG"), media_type="image/png")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.7", b"<svg/>", b"\x00" * 100])
def test_other_files_are_refused(data) -> None:
    with pytest.raises(MediaError):
        sniff(data)


@pytest.mark.parametrize("size", [(13_000, 13_000), (2**31 - 1, 2**31 - 1), (100_000, 1_000)])
def test_a_bomb_costs_a_header(size) -> None:
    with pytest.raises(MediaTooLarge):
        open_image(bomb(*size))


def test_too_many_bytes() -> None:
    with pytest.raises(MediaTooLarge):
        open_image(encoded("PNG"), max_bytes=10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_broken(kind) -> None:
    whole = encoded(kind, size=(64, 64))
    with pytest.raises(MediaError):
        open_image(whole[: len(whole) // 2])


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_damage_gives_a_picture_or_our_error(kind, data) -> None:
    whole = bytearray(encoded(kind, size=(16, 16)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = open_image(bytes(whole))
    except MediaError:
        return
    assert picture.width * picture.height > 0


def test_png_keeps_pixels_and_profile() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = open_image(encoded("PNG", mode="RGBA", icc_profile=profile))
    copy = open_image(encode_png(source))
    assert copy.tobytes() == source.tobytes()
    assert copy.info["icc_profile"] == profile
