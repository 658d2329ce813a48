"""The message that every codec carries: 64 bits of mark id and a CRC-32 over them."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clearmark.core.errors import MediaTooLarge, UsageError
from clearmark.provenance.watermark.codec import MAX_PIXELS, Pixels

__all__ = ["BITS", "Bits", "check_batch", "check_pixels", "frame", "keystream", "unframe"]

ID_BITS = 64
CRC_BITS = 32
BITS = ID_BITS + CRC_BITS
"""Bits of a framed message."""

Bits = npt.NDArray[np.uint8]
"""A vector of zeros and ones."""

_MARK_ID = re.compile(r"[0-9a-f]{16}\Z")


def frame(mark_id: str, *, salt: bytes = b"") -> Bits:
    """Return the 96 bits of `mark_id` and its CRC-32, most significant first.

    `salt` tells apart messages of codecs or keys whose carriers are the same.

    Raises:
        UsageError: when `mark_id` is not 16 lower-case hex digits.
    """
    if not _MARK_ID.match(mark_id):
        raise UsageError(
            f"not a mark id: {mark_id[:32]!r}",
            hint="a mark id is 16 lower-case hex digits; see new_mark_id()",
        )
    body = bytes.fromhex(mark_id)
    return np.unpackbits(np.frombuffer(body + zlib.crc32(salt + body).to_bytes(4), np.uint8))


def unframe(bits: Bits, *, salt: bytes = b"") -> str | None:
    """Return the mark id of 96 `bits`, or None when its CRC-32 does not fit."""
    data = np.packbits(bits).tobytes()
    body, crc = data[:8], int.from_bytes(data[8:12])
    return body.hex() if zlib.crc32(salt + body) == crc else None


def keystream(key: bytes | None, label: bytes, *, length: int = BITS) -> Bits:
    """Return `length` bits that only the holder of `key` can make (zeros without a key).

    The bits are those of SHAKE-256 over label and key, both with their lengths before them.
    """
    if key is None:
        return np.zeros(length, np.uint8)
    prefix = len(label).to_bytes(4) + label + len(key).to_bytes(4) + key
    data = hashlib.shake_256(prefix).digest((length + 7) // 8)
    return np.unpackbits(np.frombuffer(data, np.uint8))[:length]


def check_pixels(pixels: Any) -> Pixels:
    """Return `pixels` when it is height x width x 3 of uint8 within `MAX_PIXELS`.

    Raises:
        UsageError: any other array.
        MediaTooLarge: beyond `MAX_PIXELS`.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise UsageError("pixels must be an array of uint8, height x width x 3")
    if pixels.shape[2] != 3 or 0 in pixels.shape:
        raise UsageError(f"pixels of shape {pixels.shape}; height x width x 3 is needed")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise MediaTooLarge(f"{pixels.shape[1]} x {pixels.shape[0]} pixels; at most {MAX_PIXELS:,} are read")
    checked: Pixels = pixels
    return checked


def check_batch(pixels: Sequence[Pixels], mark_ids: Sequence[str]) -> None:
    """Raise `UsageError` unless there is one well-formed id per well-formed picture."""
    if len(pixels) != len(mark_ids):
        raise UsageError(f"{len(pixels)} pictures, but {len(mark_ids)} mark ids")
    for picture, mark_id in zip(pixels, mark_ids, strict=True):
        check_pixels(picture)
        frame(mark_id)
