"""Walk a manifest store: JUMBF superboxes (ISO 19566-5) and their labels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from clearmark.core.errors import MediaError

__all__ = ["Superbox", "count_manifests", "find_content", "superboxes"]

_MAX_BOXES = 10_000


@dataclass(frozen=True)
class Superbox:
    """A labelled superbox; `content` is what follows its description box."""

    label: str
    content: bytes = field(repr=False)


def superboxes(data: bytes) -> Iterator[Superbox]:
    """Yield the superboxes that stand side by side in `data`.

    Raises:
        MediaError: when lengths do not fit.
    """
    for kind, body in _boxes(data):
        if kind != b"jumb":
            continue
        inner = _boxes(body)
        first = next(inner, None)
        if first is None or first[0] != b"jumd" or len(first[1]) < 17:
            raise MediaError("broken manifest store: a superbox without a description")
        description = first[1]
        label = ""
        if description[16] & 0x02:  # the toggle says that a label follows
            label = description[17:].split(b"\x00", 1)[0].decode("utf-8", "replace")
        # Its own header is 8 bytes; longer forms are refused by `_boxes`.
        yield Superbox(label, body[8 + len(description) :])


def count_manifests(store: bytes) -> int:
    """Return how many manifests a store holds."""
    return sum(1 for outer in superboxes(store) for _ in superboxes(outer.content))


def find_content(store: bytes, manifest: str, name: str) -> bytes | None:
    """Return the content of the first CBOR box of `name` in the manifest labelled `manifest`, or None."""
    for outer in superboxes(store):
        for candidate in superboxes(outer.content):
            if candidate.label != manifest:
                continue
            for part in superboxes(candidate.content):
                if part.label == name:
                    return next((body for kind, body in _boxes(part.content) if kind == b"cbor"), None)
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    for _ in range(_MAX_BOXES):
        if position == len(data):
            return
        if position + 8 > len(data):
            raise MediaError("broken manifest store: ends inside a box")
        length, kind = struct.unpack_from(">I4s", data, position)
        if length == 0:
            length = len(data) - position
        if length < 8 or position + length > len(data):
            raise MediaError("broken manifest store: a box is longer than what holds it")
        yield kind, data[position + 8 : position + length]
        position += length
    raise MediaError("broken manifest store: too many boxes")
