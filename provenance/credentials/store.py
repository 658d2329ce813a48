"""Take the manifest store out of a picture without judging it (C2PA 2.4, annex A, says where it is)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from clearmark.core.errors import MediaError
from clearmark.core.pixels import sniff
from clearmark.provenance._containers import jpeg_segments, png_chunks, strip_parts, webp_chunks

__all__ = ["MAX_STORE", "extract_store", "strip_store"]

MAX_STORE = 32 * 1024 * 1024
"""Largest manifest store that is looked at, in bytes."""


def extract_store(data: bytes) -> bytes | None:
    """Return the manifest store of a PNG, JPEG or WebP, or None.

    Raises:
        MediaError: when the container is broken before a store was found, or the store is too large.
    """
    kind = sniff(data)
    if kind == "image/png":
        parts: Iterator[bytes] = (data[start:end] for name, start, end in png_chunks(data) if name == b"caBX")
    elif kind == "image/webp":
        parts = (data[start:end] for name, start, end in webp_chunks(data) if name == b"C2PA")
    else:
        parts = _jpeg_parts(data)
    store = next(parts, None)
    if store is not None and len(store) > MAX_STORE:
        raise MediaError(f"a manifest store of {len(store):,} bytes; at most {MAX_STORE:,} are read")
    return store


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
