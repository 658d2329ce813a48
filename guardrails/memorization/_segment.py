"""A segment: an immutable file of codes that is mapped into memory, and beside it the small pictures.

Layout, little-endian: 8 bytes magic, items, rows (uint64 each), 8 bytes zero; PDQ [items, 32] uint8, item ids
[items] int64, sign codes [rows, 64] uint8, the place of each row's item [rows] uint32.
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FileWriter", "IndexDamaged", "Segment", "read_segment", "sync_folder", "write_segment"]

_MAGIC = b"CLMSEG01"
_HEAD = struct.Struct("<8sQQ8x")
_MOST = 1 << 40


class IndexDamaged(Error):
    """What an index holds is not what was written."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """A mapped segment: PDQ [items, 32], ids [items], codes [rows, 64], owner [rows] (a place in ids)."""

    name: str
    pdq: NDArray[np.uint8]
    ids: NDArray[np.int64]
    codes: NDArray[np.uint8]
    owner: NDArray[np.uint32]


def write_segment(
    path: Path,
    pdq: NDArray[np.uint8],
    ids: NDArray[np.int64],
    codes: NDArray[np.uint8],
    owner: NDArray[np.uint32],
) -> tuple[str, int]:
    """Write a segment durably; return the SHA-256 of the file and its size."""
    import numpy as np

    with FileWriter(path) as stream:
        stream.write(_HEAD.pack(_MAGIC, len(ids), len(owner)))
        for array, kind in ((pdq, "u1"), (ids, "<i8"), (codes, "u1"), (owner, "<u4")):
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
    magic, items, rows = _HEAD.unpack(data[: _HEAD.size].tobytes())
    ends = [_HEAD.size]
    for width, count in ((32, items), (8, items), (64, rows), (4, rows)):
        ends.append(ends[-1] + width * count)
    if magic != _MAGIC or max(items, rows) > _MOST or ends[-1] != size:
        raise IndexDamaged(f"{path.name}: not a segment of this version", hint=hint)
    pdq, ids, codes, owner = (data[a:b] for a, b in itertools.pairwise(ends))
    owners = owner.view("<u4")
    if rows and int(owners.max()) >= items:
        raise IndexDamaged(f"{path.name}: a row without an item", hint=hint)
    return Segment(path.stem, pdq.reshape(-1, 32), ids.view("<i8"), codes.reshape(-1, 64), owners)


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
