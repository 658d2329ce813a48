"""Decode as much CBOR (RFC 8949) as a COSE signature needs, bounded in depth and items."""

from __future__ import annotations

import struct
from typing import Any

from clearmark.core.errors import MediaError

__all__ = ["Tagged", "decode", "encode", "members"]

_MAX_DEPTH = 16
_MAX_ITEMS = 10_000


class Tagged:
    """A tagged value; what the tag means is the caller's business."""

    __slots__ = ("tag", "value")

    def __init__(self, tag: int, value: Any) -> None:
        self.tag = tag
        self.value = value


def decode(data: bytes) -> Any:
    """Return the first item: int, bytes, str, list, dict, `Tagged`, bool or None.

    Raises:
        MediaError: for anything that is cut short, too deep, or of a kind that COSE does not use.
    """
    return _Decoder(data).item(0)


def members(data: bytes) -> dict[Any, bytes]:
    """Return the bytes of each value of a map, as they stand: what was signed is bytes, not values.

    Raises:
        MediaError: as for `decode`; for what is no map, names a key twice, or has bytes behind it.
    """
    return _Decoder(data).members()


def encode(value: str | bytes | list[Any]) -> bytes:
    """Return the shortest form of text, bytes, or an array of them: all that a signature structure has."""
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(encode(one) for one in value)
    data = value.encode() if isinstance(value, str) else value
    return _head(3 if isinstance(value, str) else 2, len(data)) + data


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + number.to_bytes(size, "big")


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._items = 0

    def item(self, depth: int) -> Any:
        self._items += 1
        if depth > _MAX_DEPTH or self._items > _MAX_ITEMS:
            raise MediaError("CBOR nested too deep, or with too many items")
        first = self._take(1)[0]
        major, info = first >> 5, first & 0x1F
        if info == 31 and major in {2, 3, 4, 5}:
            return self._indefinite(major, depth)
        if major == 7:
            return self._simple(info)
        number = self._number(info)
        if major in {0, 1}:
            return number if major == 0 else -1 - number
        if major in {2, 3}:
            piece = self._take(number)
            return piece if major == 2 else piece.decode("utf-8", "replace")
        return self._container(major, number, depth)

    def members(self) -> dict[Any, bytes]:
        first = self._take(1)[0]
        if first >> 5 != 5 or first & 0x1F == 31:
            raise MediaError("CBOR that is no map of a known size")
        out: dict[Any, bytes] = {}
        for _ in range(self._at_most(self._number(first & 0x1F))):
            key = self.item(1)
            start = self._at
            self.item(1)
            if not isinstance(key, int | str | bytes) or key in out:
                raise MediaError("CBOR with a key twice, or one that is no simple value")
            out[key] = self._data[start : self._at]
        if self._at != len(self._data):
            raise MediaError("CBOR with bytes behind it")
        return out

    def _container(self, major: int, number: int, depth: int) -> Any:
        if major == 4:
            return [self.item(depth + 1) for _ in range(self._at_most(number))]
        if major == 5:
            return dict(self._pair(depth) for _ in range(self._at_most(number)))
        return Tagged(number, self.item(depth + 1))

    def _pair(self, depth: int) -> tuple[Any, Any]:
        key = self.item(depth + 1)
        if not isinstance(key, int | str | bytes):
            raise MediaError("CBOR with a key that is no simple value")
        return key, self.item(depth + 1)

    def _indefinite(self, major: int, depth: int) -> Any:
        parts: list[Any] = []
        while self._data[self._at : self._at + 1] != b"\xff":
            parts.append(self._pair(depth) if major == 5 else self.item(depth + 1))
        self._at += 1
        if major == 4:
            return parts
        if major == 5:
            return dict(parts)
        if not all(isinstance(part, bytes if major == 2 else str) for part in parts):
            raise MediaError("CBOR text or bytes in pieces of another kind")
        return b"".join(parts) if major == 2 else "".join(parts)

    def _simple(self, info: int) -> Any:
        known = {20: False, 21: True, 22: None, 23: None}
        if info in known:
            return known[info]
        sizes = {25: ">e", 26: ">f", 27: ">d"}
        if info in sizes:
            return struct.unpack(sizes[info], self._take(struct.calcsize(sizes[info])))[0]
        raise MediaError("CBOR of a kind that is not read")

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise MediaError("CBOR with a broken length")
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _at_most(self, count: int) -> int:
        if count > len(self._data) - self._at:  # every item takes a byte at least
            raise MediaError("CBOR that is cut short")
        return count

    def _take(self, count: int) -> bytes:
        out = self._data[self._at : self._at + count]
        if len(out) != count:
            raise MediaError("CBOR that is cut short")
        self._at += count
        return out
