"""Identifiers: UUIDv7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import time

__all__ = ["uuid7"]

_DRAWN: list[int] = []
"""Random numbers of 74 bits, each for one id. To ask the system for each would let another thread in."""

_AT_ONCE = 256
_BYTES = 10
_BITS = 74


def uuid7(ts_ms: int | None = None) -> str:
    """Return a new UUIDv7 in its 36-character form; `ts_ms` is Unix time in milliseconds.

    74 bits are random, from the operating system (RFC 9562, section 5.7).
    """
    ms = time.time_ns() // 1_000_000 if ts_ms is None else ts_ms
    try:
        drawn = _DRAWN.pop()
    except IndexError:
        drawn = _draw()
    time_part = f"{ms & (1 << 48) - 1:012x}"
    rest = f"{drawn & (1 << 62) - 1 | 1 << 63:016x}"
    return f"{time_part[:8]}-{time_part[8:]}-7{drawn >> 62:03x}-{rest[:4]}-{rest[4:]}"


def _draw() -> int:
    block = os.urandom(_AT_ONCE * _BYTES)
    first, *others = (
        int.from_bytes(block[at : at + _BYTES], "big") & (1 << _BITS) - 1
        for at in range(0, len(block), _BYTES)
    )
    _DRAWN.extend(others)
    return first


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_DRAWN.clear)  # a child must not make its parent's ids
