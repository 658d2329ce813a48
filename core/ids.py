"""Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import secrets
import time
import uuid

__all__ = ["uuid7"]


def uuid7(ts_ms: int | None = None) -> str:
    """Return a new UUIDv7 in its 36-character form; `ts_ms` is Unix time in milliseconds.

    74 bits are random, from the operating system (RFC 9562, section 5.7).
    """
    ms = time.time_ns() // 1_000_000 if ts_ms is None else ts_ms
    value = (ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return str(uuid.UUID(int=value))
