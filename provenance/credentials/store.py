"""Take the manifest store out of a picture without judging it (C2PA 2.4, annex A, says where it is)."""

from __future__ import annotations

import base64
import itertools
import re
import struct
from collections.abc import Iterator

from clearmark.core.containers import jpeg_segments, png_chunks, webp_chunks
from clearmark.core.errors import MediaError
from clearmark.core.pixels import sniff
from clearmark.provenance._containers import strip_parts

__all__ = ["MAX_STORE", "extract_store", "extract_stores", "strip_store"]

_FIRST_BOX = re.compile(rb"....jumb....jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71", re.DOTALL)
_GIF_EXTENSION = b"\x21\xff\x0bC2PA_GIF\x01\x00\x00"
_SVG_MANIFEST = re.compile(rb"<c2pa:manifest[^>]{0,256}>([A-Za-z0-9+/=\s]+)</c2pa:manifest>")

_MAX_STORES = 16

MAX_STORE = 32 * 1024 * 1024
"""Largest manifest store that is looked at, in bytes."""


def extract_store(data: bytes) -> bytes | None:
    """Return the manifest store of a file, or None.

    Raises:
        MediaError: when the container is broken before a store was found, or the store is too large.
    """
    return next(extract_stores(data), None)


def extract_stores(data: bytes) -> Iterator[bytes]:
    """Yield every manifest store of a file: one, or in a file that was added to several times, several.

    PNG, JPEG, WebP, GIF and SVG are taken apart; in every other container the store stands in one piece and
    is found by its first bytes.


    Raises:
        MediaError: when the container is broken before a store was found, or the store is too large.
    """
    try:
        kind = sniff(data)
    except MediaError:
        kind = ""
    if kind == "image/png":
        parts: Iterator[bytes] = (data[start:end] for name, start, end in png_chunks(data) if name == b"caBX")
    elif kind == "image/webp":
        parts = (data[start:end] for name, start, end in webp_chunks(data) if name == b"C2PA")
    elif kind == "image/jpeg":
        parts = _jpeg_parts(data)
    else:
        parts = _other_parts(data)
    for store in itertools.islice(parts, _MAX_STORES):
        if len(store) > MAX_STORE:
            raise MediaError(f"a manifest store of {len(store):,} bytes; at most {MAX_STORE:,} are read")
        yield store


def _other_parts(data: bytes) -> Iterator[bytes]:
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        start = data.find(_GIF_EXTENSION)
        if start >= 0:
            yield _gif_blocks(data, start + len(_GIF_EXTENSION))
        return
    match = _SVG_MANIFEST.search(data)
    if match:
        try:
            yield base64.b64decode(match.group(1))
        except ValueError as exc:
            raise MediaError("broken SVG: a manifest that is no base64") from exc
        return
    for match in _FIRST_BOX.finditer(data):
        (length,) = struct.unpack_from(">I", data, match.start())
        yield data[match.start() : match.start() + length]


def _gif_blocks(data: bytes, position: int) -> bytes:
    out = bytearray()
    while position < len(data) and data[position]:
        out += data[position + 1 : position + 1 + data[position]]
        position += 1 + data[position]
    return bytes(out)


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """Join the APP11 segments of the JUMBF box (ISO 19566-5, annex D): `JP`, box number, packet number, box.

    Every packet repeats the box's length and type; they count once.
    """
    joined = bytearray()
    number = None
    for marker, start, end in jpeg_segments(data):
        if marker != 0xEB or data[start : start + 2] != b"JP" or end - start < 16:
            continue
        (box,) = struct.unpack_from(">H", data, start + 2)
        if number is None:
            if data[start + 12 : start + 16] != b"jumb":
                continue
            number = box
            joined += data[start + 8 : end]
        elif box == number:
            joined += data[start + 16 : end]
    if joined:
        yield bytes(joined)


def strip_store(data: bytes) -> bytes:
    """Return the picture without its manifest store.

    Raises:
        MediaError: when the container is broken.
    """
    return strip_parts(data, png={b"caBX"}, webp={b"C2PA"}, jpeg={0xEB})
