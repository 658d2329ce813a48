"""One canonical form for everything that is hashed: RFC 8785, without floats.

Numbers that are not integers differ between writers; scores therefore stand as integer micro-units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from clearmark.core.errors import UsageError

__all__ = ["JSON", "canonical_json", "digest", "micro"]

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What canonical JSON may hold: no floats."""

_MAX_INT = 2**53 - 1


def micro(score: float) -> int:
    """Turn a score in [0, 1] into whole micro-units, for bodies that are hashed."""
    return round(score * 1_000_000)


def canonical_json(value: Any) -> bytes:
    """Serialise `value` by RFC 8785 (JCS).

    Raises:
        UsageError: on floats, integers beyond 2**53 - 1, keys that are no strings, lone surrogates.
    """
    import rfc8785

    try:
        return rfc8785.dumps(_plain(value, 0))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as exc:
        raise UsageError(f"not canonical JSON: {exc}") from exc


def digest(value: Any) -> str:
    """Return `sha256:` and the hex SHA-256 of the canonical form of `value`."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def _plain(value: Any, depth: int) -> Any:
    if depth > 64:
        raise UsageError("not canonical JSON: nested more than 64 deep")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise UsageError(f"not canonical JSON: {value} is beyond 2**53 - 1; write it as a string")
        return value
    if isinstance(value, float):
        raise UsageError("not canonical JSON: floats are not allowed; use micro() for scores")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UsageError("not canonical JSON: every key must be a string")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, depth + 1) for item in value]
    raise UsageError(f"not canonical JSON: {type(value).__name__}")
