"""From untrusted bytes to pixels, with bounds: the one place where pictures are opened.

The format is told by the bytes, never by a name; size is read from the header before anything is
decompressed, so a decompression bomb costs a header and an error.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from clearmark.core.assets import Asset
from clearmark.core.errors import MediaError, MediaTooLarge
from clearmark.core.parts import check_parts

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_BYTES", "MAX_PIXELS", "encode_png", "open_image", "read_asset", "sniff"]

MAX_BYTES = 64 * 1024 * 1024
"""Largest file that is opened, in bytes."""

MAX_PIXELS = 64 * 1024 * 1024
"""Largest picture that is decoded, in pixels (8192 x 8192)."""

_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def sniff(data: bytes) -> str:
    """Return the media type that the first bytes tell.

    Raises:
        MediaError: when they are none of PNG, JPEG, WebP.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise MediaError(
        "not a PNG, JPEG or WebP picture", hint="the file's name is not looked at; convert it first"
    )


def open_image(
    data: bytes, *, media_type: str | None = None, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> Image:
    """Decode `data` completely and return the picture in its own mode.

    Raises:
        MediaTooLarge: beyond `max_bytes` or `max_pixels`, before pixels are decompressed.
        MediaError: truncated, broken, unknown, or not of `media_type`.
    """
    import PIL.Image

    if len(data) > max_bytes:
        raise MediaTooLarge(f"{len(data):,} bytes; at most {max_bytes:,} are read")
    kind = sniff(data)
    if media_type is not None and media_type != kind:
        raise MediaError(f"said to be {media_type}, but its bytes are {kind}")
    check_parts(data, kind)
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb limit is lower than ours and only warns; ours is checked below.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(io.BytesIO(data), formats=[_FORMATS[kind]])
        width, height = picture.size
        if width * height > max_pixels:
            raise MediaTooLarge(f"{width} x {height} pixels; at most {max_pixels:,} are decoded")
        picture.load()
    except MediaError:
        raise
    except PIL.Image.DecompressionBombError as exc:
        raise MediaTooLarge(f"{exc}; at most {max_pixels:,} pixels are decoded") from exc
    except Exception as exc:  # Pillow's plugins raise anything on hostile bytes
        raise MediaError(f"broken {kind}: {type(exc).__name__}: {exc}") from exc
    return picture


def read_asset(data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Asset:
    """Check that `data` decodes and return it as an `Asset` with its media type and size."""
    picture = open_image(data, max_bytes=max_bytes, max_pixels=max_pixels)
    return Asset(data=data, media_type=sniff(data), width=picture.width, height=picture.height)


def encode_png(picture: Image) -> bytes:
    """Encode losslessly as PNG, without text chunks, keeping the colour profile."""
    out = io.BytesIO()
    picture.save(out, "PNG", icc_profile=picture.info.get("icc_profile"))
    return out.getvalue()
