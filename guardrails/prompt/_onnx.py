"""Write ONNX files: the few protobuf messages that a graph needs, byte for byte the same on every machine.

The field numbers are those of `onnx.proto3` (ONNX IR version 8). Writing them ourselves keeps a compiler of
models out of the install and makes the digest of what is written one that can be put on record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Graph"]

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_IR, _OPSET = 8, 17


class Graph:
    """A graph under construction: add constants and nodes in order, then take the bytes."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        dims = b"".join(_number(1, size) for size in value.shape)
        kind = _number(2, _TYPES[value.dtype.name])
        self._constants.append(
            _field(
                5, dims + kind + _text(8, name) + _field(9, value.astype(value.dtype, order="C").tobytes())
            )
        )
        return name

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, int | float | Sequence[int]] | None = None,
    ) -> str:
        """Add a node and return the name of its first output."""
        body = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
        body += _text(4, kind)
        body += b"".join(_field(5, _attribute(name, value)) for name, value in (attributes or {}).items())
        self._nodes.append(_field(1, body))
        return outputs[0]

    def to_bytes(
        self, inputs: Mapping[str, tuple[str, Sequence[str]]], output: tuple[str, str, Sequence[str]]
    ) -> bytes:
        """Return the model; every input and the output with its type and the names of its axes."""
        parts = [*self._nodes, _text(2, "graph"), *self._constants]
        parts += [_field(11, _value(name, kind, axes)) for name, (kind, axes) in inputs.items()]
        parts.append(_field(12, _value(*output)))
        opset = _field(8, _text(1, "") + _number(2, _OPSET))
        return _number(1, _IR) + _text(2, "clearmark") + _field(7, b"".join(parts)) + opset


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _field(field, value.encode())


def _attribute(name: str, value: float | Sequence[int]) -> bytes:
    import struct

    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7)


def _value(name: str, kind: str, axes: Sequence[str]) -> bytes:
    shape = b"".join(_field(1, _number(1, int(axis)) if axis.isdigit() else _text(2, axis)) for axis in axes)
    return _text(1, name) + _field(2, _field(1, _number(1, _TYPES[kind]) + _field(2, shape)))
