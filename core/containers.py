"""Walk the containers of PNG, JPEG and WebP: chunk by chunk, in linear time, with bounds on every length."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from clearmark.core.errors import MediaError

__all__ = ["jpeg_segments", "png_chunks", "webp_chunks"]

_FILL = re.compile(rb"\xff+")
_MAX_JUNK = 4096
_MAX_PARTS = 20_000


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk's content."""
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            raise MediaError("broken image/png: ends before its IEND chunk")
        (length,) = struct.unpack_from(">I", data, position)
        name, start = data[position + 4 : position + 8], position + 8
        if start + length + 4 > len(data):
            raise MediaError("broken image/png: a chunk is longer than the file")
        yield name, start, start + length
        if name == b"IEND":
            return
        position = start + length + 4
    raise MediaError("broken image/png: too many chunks")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the content of each segment before the picture's data."""
    position = 2
    for _ in range(_MAX_PARTS):
        # Some cameras leave a few bytes between segments, and any number of fill bytes is allowed; readers
        # that go through them one by one can be kept busy, so only few are.
        junk = position
        position = data.find(b"\xff", position, position + _MAX_JUNK)
        filled = _FILL.match(data, position) if position >= 0 else None
        if filled is None or filled.end() - junk > _MAX_JUNK:
            raise MediaError("broken image/jpeg: a segment is missing")
        position = filled.end() - 1  # the last of the fill bytes begins the marker
        if position + 4 > len(data) or data[position] != 0xFF:
            raise MediaError("broken image/jpeg: a segment is missing")
        marker = data[position + 1]
        if marker in {0xDA, 0xD9}:
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            raise MediaError("broken image/jpeg: a segment is longer than the file")
        yield marker, position + 4, end
        position = end
    raise MediaError("broken image/jpeg: too many segments")


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk's content; chunks are padded to even length."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise MediaError("broken image/webp: shorter than its header says")
    position, last = 12, size + 8
    for _ in range(_MAX_PARTS):
        if position + 8 > last:
            return
        (length,) = struct.unpack_from("<I", data, position + 4)
        start = position + 8
        if start + length > last:
            raise MediaError("broken image/webp: a chunk is longer than the file")
        yield data[position : position + 4], start, start + length
        position = start + length + (length & 1)
    raise MediaError("broken image/webp: too many chunks")
