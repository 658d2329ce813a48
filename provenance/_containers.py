"""Where PNG, JPEG and WebP keep their XMP packet: found and written without touching the pixels.

PNG: an `iTXt` chunk `XML:com.adobe.xmp` (XMP part 3, 1.1.5). JPEG: an APP1 segment (1.1.3). WebP: an `XMP `
chunk and a flag in `VP8X` (WebP container specification). Every length is checked against the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Set

from clearmark.core.containers import jpeg_segments, png_chunks, webp_chunks
from clearmark.core.errors import MediaError, MetadataFailed
from clearmark.core.pixels import sniff

__all__ = [
    "MAX_PACKET",
    "get_text",
    "get_xmp",
    "set_xmp",
    "strip_parts",
]

MAX_PACKET = 1024 * 1024
"""Largest XMP packet that is read, in bytes."""

_PNG_KEYWORD = b"XML:com.adobe.xmp"
_JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\x00"
_JPEG_MAX = 65_533 - len(_JPEG_HEADER)


def get_xmp(data: bytes) -> bytes | None:
    """Return the XMP packet of a picture, or None.

    Raises:
        MediaError: when the container is broken before a packet was found, or the packet is too large.
    """
    kind = sniff(data)
    if kind == "image/png":
        return _png_xmp(data)
    if kind == "image/jpeg":
        for marker, start, end in jpeg_segments(data):
            if marker == 0xE1 and data.startswith(_JPEG_HEADER, start):
                return data[start + len(_JPEG_HEADER) : end]
        return None
    for name, start, end in webp_chunks(data):
        if name == b"XMP ":
            return _bounded(data[start:end])
    return None


def get_text(data: bytes, keyword: bytes) -> str | None:
    """Return the value of a PNG's `tEXt` chunk `keyword` (Latin-1 or, as many write it, UTF-8), or None."""
    for name, start, end in png_chunks(data):
        if name == b"tEXt" and data.startswith(keyword + b"\x00", start):
            value = _bounded(data[start + len(keyword) + 1 : end])
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return value.decode("latin-1")
    return None


def set_xmp(data: bytes, packet: bytes) -> bytes:
    """Return the picture with `packet` in place of its XMP; every other byte of it stays as it is.

    Raises:
        MetadataFailed: when the packet does not fit into the container.
        MediaError: when the container is broken.
    """
    kind = sniff(data)
    if kind == "image/png":
        return _set_png(data, packet)
    if kind == "image/jpeg":
        return _set_jpeg(data, packet)
    return _set_webp(data, packet)


def strip_parts(data: bytes, *, png: Set[bytes], webp: Set[bytes], jpeg: Set[int]) -> bytes:
    """Return the picture without the chunks or segments named; its pixels stay as they are.

    Raises:
        MediaError: when the container is broken.
    """
    kind = sniff(data)
    if kind == "image/png":
        kept = [data[start - 8 : end + 4] for name, start, end in png_chunks(data) if name not in png]
        return data[:8] + b"".join(kept)
    if kind == "image/jpeg":
        out, position = [data[:2]], 2
        for marker, _, end in jpeg_segments(data):
            if marker not in jpeg:
                out.append(data[position:end])
            position = end
        return b"".join([*out, data[position:]])
    chunks = [
        _webp_chunk(name, data[start:end]) for name, start, end in webp_chunks(data) if name not in webp
    ]
    body = b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _bounded(packet: bytes) -> bytes:
    if len(packet) > MAX_PACKET:
        raise MediaError(f"a metadata packet of {len(packet):,} bytes; at most {MAX_PACKET:,} are read")
    return packet


def _png_xmp(data: bytes) -> bytes | None:
    for name, start, end in png_chunks(data):
        if name == b"iTXt" and data.startswith(_PNG_KEYWORD + b"\x00", start):
            return _itxt_value(data[start + len(_PNG_KEYWORD) + 1 : end])
    return None


def _itxt_value(rest: bytes) -> bytes:
    """Read what follows the keyword: compression flag and method, language, translated keyword, text."""
    parts = rest[2:].split(b"\x00", 2)
    if len(rest) < 2 or len(parts) != 3:
        raise MediaError("broken image/png: an iTXt chunk without its fields")
    if not rest[0]:
        return _bounded(parts[2])
    inflate = zlib.decompressobj()
    try:
        value = inflate.decompress(parts[2], MAX_PACKET + 1)
    except zlib.error as exc:
        raise MediaError("broken image/png: an iTXt chunk that does not decompress") from exc
    return _bounded(value)


def _set_png(data: bytes, packet: bytes) -> bytes:
    body = b"iTXt" + _PNG_KEYWORD + b"\x00\x00\x00\x00\x00" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    out = [data[:8]]
    for name, start, end in png_chunks(data):
        if name == b"iTXt" and data.startswith(_PNG_KEYWORD + b"\x00", start):
            continue
        out.append(data[start - 8 : end + 4])
        if name == b"IHDR":
            out.append(chunk)
    return b"".join(out)


def _set_jpeg(data: bytes, packet: bytes) -> bytes:
    if len(packet) > _JPEG_MAX:
        raise MetadataFailed(
            f"the XMP packet has {len(packet):,} bytes; a JPEG holds {_JPEG_MAX:,}",
            hint="write PNG or WebP, or remove metadata from the input",
        )
    content = _JPEG_HEADER + packet
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    position = 2
    out = [data[:2]]
    head = True
    for marker, start, end in jpeg_segments(data):
        is_xmp = marker == 0xE1 and data.startswith(_JPEG_HEADER, start)
        # JFIF and Exif want to be first; the packet follows them.
        if head and not (marker == 0xE0 or (marker == 0xE1 and data.startswith(b"Exif\x00", start))):
            out.append(segment)
            head = False
        if not is_xmp:
            out.append(data[position:end])
        position = end
    if head:
        out.append(segment)
    out.append(data[position:])
    return b"".join(out)


def _set_webp(data: bytes, packet: bytes) -> bytes:
    chunks = [(name, data[start:end]) for name, start, end in webp_chunks(data) if name != b"XMP "]
    if not chunks:
        raise MediaError("broken image/webp: no picture in it")
    name, content = chunks[0]
    if name == b"VP8X":
        if len(content) < 10:
            raise MediaError("broken image/webp: a short VP8X chunk")
        chunks[0] = name, bytes([content[0] | 0x04]) + content[1:]
    else:
        chunks.insert(0, (b"VP8X", _vp8x(name, content)))
    body = b"".join(_webp_chunk(*chunk) for chunk in [*chunks, (b"XMP ", packet)])
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) & 1)


def _vp8x(name: bytes, content: bytes) -> bytes:
    """Make the extended header for a simple WebP, with its size from the bit stream's own header."""
    flags = 0x04
    if name == b"VP8 " and len(content) >= 10 and content[3:6] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", content, 6))
    elif name == b"VP8L" and len(content) >= 5 and content[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", content, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= 0x10 if bits >> 28 & 1 else 0
    else:
        raise MediaError("broken image/webp: no picture in it")
    sides: bytes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return struct.pack("<I", flags) + sides
