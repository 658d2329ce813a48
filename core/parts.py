"""Count what a file is made of before a parser sees it.

Several parsers, the one of the C2PA library among them, take time with the square of the number of chunks,
boxes or blocks: half a megabyte of empty boxes would keep them busy for minutes. Files of more parts than any
picture needs are refused here, by walks that take linear time.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping

from clearmark.core.containers import jpeg_segments, png_chunks, webp_chunks
from clearmark.core.errors import MediaError

__all__ = ["MAX_PARTS", "check_parts"]

MAX_PARTS = 8_000
"""Most chunks, boxes or blocks; a picture of 64 MB in chunks of 8 kB has as many."""

_MAX_SUBBLOCKS = 300_000
_MAX_SCANS = 64
_MAX_SCAN_PIXELS = 2_000_000_000
_BMFF_PARENTS = {
    name.encode()
    for name in (
        [
            "moov",
            "trak",
            "edts",
            "mdia",
            "minf",
            "dinf",
            "stbl",
            "mvex",
            "moof",
            "traf",
            "mfra",
            "meta",
            "iprp",
            "ipco",
            "udta",
            "sinf",
            "skip",
        ]
    )
}
_TIFF_POINTERS = {330, 34665, 34853, 40965}  # sub-IFDs, Exif, GPS, interoperability


def check_parts(data: bytes, media_type: str) -> None:
    """Return when the container has few enough parts and their lengths fit.

    Raises:
        MediaError: otherwise. Kinds that no walk is known for pass.
    """
    walk = _WALKS.get(media_type)
    if walk is not None:
        try:
            walk(data)
        except (struct.error, IndexError) as exc:
            raise MediaError(f"broken {media_type}: cut short") from exc


def _limit(number: int, most: int = MAX_PARTS) -> None:
    if number > most:
        raise MediaError(f"made of more than {most:,} parts")


def _png(data: bytes) -> None:
    for number, _ in enumerate(png_chunks(data)):
        _limit(number)


def _jpeg(data: bytes) -> None:
    pixels = 0
    for number, (marker, start, _) in enumerate(jpeg_segments(data)):
        _limit(number)
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", data, start + 1)
            pixels = height * width
    # A progressive picture is decoded once for each scan, and an empty scan costs a few bytes.
    scans = data.count(b"\xff\xda")
    if scans > _MAX_SCANS and scans * pixels > _MAX_SCAN_PIXELS:
        raise MediaError(f"a JPEG of {scans:,} scans")


def _webp(data: bytes) -> None:
    for number, _ in enumerate(webp_chunks(data)):
        _limit(number)


def _riff(data: bytes) -> None:
    position, number = 12, 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length + (length & 1)
        number += 1
        _limit(number)


def _bmff(data: bytes) -> None:
    """Walk the boxes of ISO 14496-12, level by level."""
    todo = deque([(0, len(data))])
    number = 0
    while todo:
        position, end = todo.popleft()
        while position + 8 <= end:
            number += 1
            _limit(number)
            length, kind = struct.unpack_from(">I4s", data, position)
            header = 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", data, position + 8)
                header = 16
            elif length == 0:
                length = end - position
            if length < header:
                break  # nothing after it can be found, by whatever parser
            if kind in _BMFF_PARENTS:
                inner = position + header
                # In ISO files a version stands before the boxes of `meta`, in QuickTime files none does.
                if kind == b"meta" and data[inner + 4 : inner + 8] != b"hdlr":
                    inner += 4
                todo.append((inner, min(position + length, end)))
            position += length


def _gif(data: bytes) -> None:
    position = 13 + _colours(data[10])
    blocks = pieces = 0
    while position < len(data) and data[position] != 0x3B:
        blocks += 1
        _limit(blocks)
        if data[position] == 0x21:
            position += 2
        elif data[position] == 0x2C:
            position += 11 + _colours(data[position + 9])
        else:
            raise MediaError("broken image/gif: a block of no kind")
        while data[position]:
            position += 1 + data[position]
            pieces += 1
            _limit(pieces, _MAX_SUBBLOCKS)
        position += 1


def _colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _tiff(data: bytes) -> None:
    order = "<" if data[:2] == b"II" else ">"
    todo = deque(struct.unpack_from(f"{order}I", data, 4))
    seen: set[int] = set()
    entries = 0
    while todo:
        position = todo.popleft()
        if position in seen or not 8 <= position <= len(data) - 2:
            continue
        seen.add(position)
        (count,) = struct.unpack_from(f"{order}H", data, position)
        entries += count + 1
        _limit(entries)
        for place in range(position + 2, min(position + 2 + 12 * count, len(data) - 11), 12):
            tag, _, number, value = struct.unpack_from(f"{order}HHII", data, place)
            if tag in _TIFF_POINTERS and number == 1:
                todo.append(value)
            elif tag in _TIFF_POINTERS and value + 4 * number <= len(data):
                _limit(number, 64)
                todo.extend(struct.unpack_from(f"{order}{number}I", data, value))
        if position + 6 + 12 * count <= len(data):
            todo.extend(struct.unpack_from(f"{order}I", data, position + 2 + 12 * count))


_WALKS: Mapping[str, Callable[[bytes], None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/tiff": _tiff,
    "audio/wav": _riff,
    "image/avif": _bmff,
    "image/heic": _bmff,
    "image/heif": _bmff,
    "video/mp4": _bmff,
    "video/quicktime": _bmff,
    "audio/mp4": _bmff,
}
