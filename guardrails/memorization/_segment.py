"""A segment: an immutable file of codes that is mapped into memory, and beside it the small pictures.

Layout, little-endian: 8 bytes magic, items, rows, postings (uint64 each); PDQ [items, 32] uint8, item ids
[items] int64, sign codes [rows, 64] uint8, signatures [postings] uint64, the place of each row's item [rows]
uint32, words and places [postings] uint32 each, turns and octaves [postings] uint8 each. Postings are sorted
by word; of a search, only those of a few words are read.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from clearmark.core.errors import Error
from clearmark.guardrails.memorization._words import Postings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FileWriter", "IndexDamaged", "Segment", "read_segment", "sync_folder", "write_segment"]

_MAGIC = b"CLMSEG01"
_HEAD = struct.Struct("<8sQQQ")
_MOST = 1 << 40


class IndexDamaged(Error):
    """What an index holds is not what was written."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A mapped segment: PDQ [items, 32], ids [items], codes [rows, 64], owner [rows] (a place in ids), and
    the inverted file of its key points."""

    name: str
    pdq: NDArray[np.uint8]
    ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    owner: NDArray[np.uint32]
    postings: Postings


def write_segment(  # noqa: PLR0917  the parts of a segment, in its order
    path: Path,
    pdq: NDArray[np.uint8],
    ids: NDArray[np.int64],
    codes: NDArray[np.uint8],
    owner: NDArray[np.uint32],
    postings: Postings,
) -> tuple[str, int]:
    """Write a segment durably; return the SHA-256 of the file and its size."""
    import numpy as np

    with FileWriter(path) as stream:
        stream.write(_HEAD.pack(_MAGIC, len(ids), len(owner), len(postings)))
        arrays = (
            (pdq, "u1"),
            (ids, "<i8"),
            (codes, "u1"),
            (postings.signatures, "<u8"),
            (owner, "<u4"),
            (postings.words, "<u4"),
            (postings.places, "<u4"),
            (postings.turns, "u1"),
            (postings.octaves, "u1"),
        )
        for array, kind in arrays:
            stream.write(np.ascontiguousarray(array, dtype=kind).reshape(-1).view(np.uint8).data)
    return stream.sha256, stream.size


def read_segment(path: Path, *, sha256: str, size: int) -> Segment:
    """Map a segment.

    Raises:
        IndexDamaged: it is missing, or its bytes are not those on record.
    """
    import numpy as np

    hint = "restore the index from its backup, or build it again"
    try:
        if path.stat().st_size != size or size < _HEAD.size:
            raise IndexDamaged(f"{path.name}: not of the size on record", hint=hint)
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as exc:
        raise IndexDamaged(f"{path.name}: {exc.strerror}", hint=hint) from exc
    if hashlib.sha256(data.data).hexdigest() != sha256:
        raise IndexDamaged(f"{path.name}: its digest is not the one on record", hint=hint)
    magic, items, rows, posted = _HEAD.unpack(data[: _HEAD.size].tobytes())
    ends = [_HEAD.size]
    counts = (items, items, rows, posted, rows, posted, posted, posted, posted)
    for width, count in zip((32, 8, 64, 8, 4, 4, 4, 1, 1), counts, strict=True):
        ends.append(ends[-1] + width * count)
    if magic != _MAGIC or max(items, rows, posted) > _MOST or ends[-1] != size:
        raise IndexDamaged(f"{path.name}: not a segment of this version", hint=hint)
    parts = [data[a:b] for a, b in itertools.pairwise(ends)]
    pdq, ids, codes, signatures, owner, words, places, turns, octaves = parts
    owners, items_of = owner.view("<u4"), places.view("<u4")
    if max(int(owners.max(initial=0)), int(items_of.max(initial=0))) >= max(1, items):
        raise IndexDamaged(f"{path.name}: a row without an item", hint=hint)
    postings = Postings(words.view("<u4"), items_of, signatures.view("<u8"), turns, octaves)
    return Segment(path.stem, pdq.reshape(-1, 32), ids.view("<i8"), codes.reshape(-1, 64), owners, postings)


class FileWriter:
    """Writes a new file and forces it to the disk when it is closed; `sha256` and `size` are of its bytes."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        self._stream.write(data)
        self._digest.update(data)
        self.size += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stream:
            if kind is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
