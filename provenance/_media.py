"""Which kind of file these bytes are, beyond the pictures that are marked: for reading their credentials."""

from __future__ import annotations

import re

from clearmark.core.pixels import sniff

__all__ = ["PICTURES", "media_type_of"]

PICTURES = {"image/avif": "AVIF", "image/gif": "GIF"}
"""Further pictures whose pixels are read for a watermark, and what Pillow calls them. Not TIFF: one tag may
claim the whole file, and Pillow keeps what each of 65,535 tags claims."""

_STARTS = (
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}
_SVG = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:[a-z]+:)?svg[\s>]", re.DOTALL)


def media_type_of(data: bytes) -> str:
    """Return the media type that the first bytes tell.

    Raises:
        MediaError: for a kind that no credentials are read from.
    """
    for start, media_type in _STARTS:
        if data.startswith(start):
            return media_type
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video/mp4")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    if _SVG.match(data[:4096]):
        return "image/svg+xml"
    return sniff(data)
