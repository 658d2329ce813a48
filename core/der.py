"""Write and read the little DER (X.690) that a time stamp needs."""

from __future__ import annotations

from datetime import datetime

from clearmark.core.errors import MediaError

__all__ = [
    "children",
    "generalized_time",
    "integer",
    "null",
    "octets",
    "oid",
    "sequence",
    "set_of",
    "tagged",
    "tlv",
]


def tlv(tag: int, content: bytes) -> bytes:
    """Return tag, length and content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*items: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(0x30, b"".join(items))


def set_of(*items: bytes) -> bytes:
    """Return a SET OF, in the order that DER asks for."""
    return tlv(0x31, b"".join(sorted(items)))


def tagged(number: int, content: bytes) -> bytes:
    """Return a constructed value with a context tag."""
    return tlv(0xA0 | number, content)


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octets(value: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tlv(0x04, value)


def null() -> bytes:
    """Return a NULL."""
    return b"\x05\x00"


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    out = bytearray()
    for number in (first * 40 + second, *rest):
        part = [number & 0x7F]
        while number := number >> 7:
            part.append(0x80 | (number & 0x7F))
        out += bytes(reversed(part))
    return tlv(0x06, bytes(out))


def generalized_time(when: datetime) -> bytes:
    """Return a GeneralizedTime in UTC, to the second."""
    return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())


def children(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return tag, content and the whole encoding of each value that stands in `data`.

    Raises:
        MediaError: when lengths do not fit.
    """
    out = []
    position = 0
    while position < len(data):
        start = position
        if position + 2 > len(data):
            raise MediaError("broken DER: ends inside a value")
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or position + size > len(data):
                raise MediaError("broken DER: a length that is not read")
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        if position + length > len(data):
            raise MediaError("broken DER: a value is longer than what holds it")
        out.append((tag, data[position : position + length], data[start : position + length]))
        position += length
    return out
