"""One canonical form for everything that is hashed: RFC 8785, without floats.

Numbers that are not integers differ between writers; scores therefore stand as integer micro-units.

For plain values with ASCII keys the C encoder of the standard library writes just what RFC 8785 asks for: its
escapes are the same, and code points sort like UTF-16 units there. Everything else takes the general way,
which is ten times slower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from json import encoder as _json
from json.encoder import encode_basestring
from typing import Any, TypeAlias

from clearmark.core.errors import UsageError

__all__ = ["JSON", "canonical_json", "canonical_text", "digest", "micro"]

JSON: TypeAlias = "bool | int | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What canonical JSON may hold: no floats."""

_MAX_INT = 2**53 - 1
_MAX_DEPTH = 64
_SCALARS = frozenset({str, bool, type(None)})
_INTS = frozenset({int})
_encoder = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)

canonical_text = encode_basestring
"""Return the canonical form of one text, in its quotes."""


def micro(score: float) -> int:
    """Turn a score in [0, 1] into whole micro-units, for bodies that are hashed."""
    return round(score * 1_000_000)


def canonical_json(value: Any) -> bytes:
    """Serialise `value` by RFC 8785 (JCS).

    Raises:
        UsageError: on floats, integers beyond 2**53 - 1, keys that are no strings, lone surrogates.
    """
    if _is_plain(value, 0):
        try:
            return _encode(value).encode()
        except UnicodeEncodeError:
            pass
    return _general(value)


def digest(value: Any) -> str:
    """Return `sha256:` and the hex SHA-256 of the canonical form of `value`."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def _without_setup() -> Callable[[Any], str]:
    """Return `encode` of the encoder, without what it makes anew for each value."""
    make = getattr(_json, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    parts = make(None, _encoder.default, encode_basestring, None, ":", ",", True, False, False)
    return lambda value: "".join(parts(value, 0))


_encode = _without_setup()


def _general(value: Any) -> bytes:
    import rfc8785

    try:
        return rfc8785.dumps(_checked(value, 0))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as exc:
        raise UsageError(f"not canonical JSON: {exc}") from exc


def _checked(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise UsageError(f"not canonical JSON: nested more than {_MAX_DEPTH} deep")
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
        return {key: _checked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_checked(item, depth + 1) for item in value]
    raise UsageError(f"not canonical JSON: {type(value).__name__}")


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether the C encoder writes `value` canonically. Most of it is C: it runs for every event."""
    kind = type(value)
    if kind is dict:
        try:
            items, ascii_keys = value.values(), "".join(value).isascii()
        except TypeError:
            return False
    elif kind is list or kind is tuple:
        items, ascii_keys = value, True
    else:
        return kind in _SCALARS or (kind is int and -_MAX_INT <= value <= _MAX_INT)
    if not ascii_keys or depth >= _MAX_DEPTH - 4:
        return False
    kinds = set(map(type, items))
    if kinds <= _SCALARS:
        return True
    if kinds == _INTS:
        return bool(min(items) >= -_MAX_INT and max(items) <= _MAX_INT)
    depth += 1
    # A generator would cost as much again.
    return all([_is_plain(item, depth) for item in items if type(item) not in _SCALARS])  # noqa: C419
