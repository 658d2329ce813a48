"""Walk a manifest store: JUMBF superboxes (ISO 19566-5) and their labels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from clearmark.core.errors import MediaError

__all__ = [
    "Superbox",
    "active_manifest",
    "active_only",
    "count_manifests",
    "find_content",
    "label_of",
    "parts_of",
    "superboxes",
]

_MAX_BOXES = 10_000


@dataclass(frozen=True)
class Superbox:
    """A labelled superbox: `body` is all behind its header, `content` what follows the description box."""

    label: str
    content: bytes = field(repr=False)
    body: bytes = field(repr=False, default=b"")

    @property
    def cbor(self) -> bytes | None:
        """The content of its first CBOR box, or None.

        Raises:
            MediaError: when lengths do not fit.
        """
        return next((body for kind, body in _boxes(self.content) if kind == b"cbor"), None)


def superboxes(data: bytes) -> Iterator[Superbox]:
    """Yield the superboxes that stand side by side in `data`.

    Raises:
        MediaError: when lengths do not fit.
    """
    for kind, body in _boxes(data):
        if kind != b"jumb":
            continue
        first, description = next(_boxes(body), (b"", b""))
        if first != b"jumd" or len(description) < 17:
            raise MediaError("broken manifest store: a superbox without a description")
        label = ""
        if description[16] & 0x02:  # the toggle says that a label follows
            label = description[17:].split(b"\x00", 1)[0].decode("utf-8", "replace")
        yield Superbox(label, body[len(body) - _rest(body) :], body)


def count_manifests(store: bytes) -> int:
    """Return how many manifests a store holds."""
    return sum(1 for outer in superboxes(store) for _ in superboxes(outer.content))


def active_manifest(store: bytes) -> str:
    """Return the label of the active manifest, the last of a store; empty where there is none.

    Raises:
        MediaError: when lengths do not fit.
    """
    labels = [inner.label for outer in superboxes(store) for inner in superboxes(outer.content)]
    return labels[-1] if labels else ""


def label_of(store: bytes) -> str:
    """Return what a store's active manifest is called; what is no store has no name."""
    try:
        return active_manifest(store)
    except MediaError:
        return ""


def active_only(store: bytes) -> bytes:
    """Return a store that holds the active manifest alone.

    Raises:
        MediaError: when lengths do not fit, or there is no manifest.
    """
    outer = next((body for kind, body in _boxes(store) if kind == b"jumb"), b"")
    parts = list(_boxes(outer))
    if len(parts) < 2 or parts[-1][0] != b"jumb":
        raise MediaError("a store without a manifest")
    return _box(b"jumb", _box(*parts[0]) + _box(*parts[-1]))


def parts_of(store: bytes, manifest: str) -> Iterator[Superbox]:
    """Yield the parts of the manifest labelled `manifest`: assertion store, claim, signature.

    Raises:
        MediaError: when lengths do not fit.
    """
    for outer in superboxes(store):
        for candidate in superboxes(outer.content):
            if candidate.label == manifest:
                yield from superboxes(candidate.content)


def find_content(store: bytes, manifest: str, name: str) -> bytes | None:
    """Return the content of the first CBOR box of `name` in the manifest labelled `manifest`, or None."""
    return next((part.cbor for part in parts_of(store, manifest) if part.label == name), None)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _rest(body: bytes) -> int:
    """Return how many bytes follow the first box."""
    (length,) = struct.unpack_from(">I", body)
    if length == 1:
        (length,) = struct.unpack_from(">Q", body, 8)
    return len(body) - (length or len(body))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    for _ in range(_MAX_BOXES):
        if position == len(data):
            return
        if position + 8 > len(data):
            raise MediaError("broken manifest store: ends inside a box")
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if length == 0:
            length = len(data) - position
        elif length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        if length < header or position + length > len(data):
            raise MediaError("broken manifest store: a box is longer than what holds it")
        yield kind, data[position + header : position + length]
        position += length
    raise MediaError("broken manifest store: too many boxes")
