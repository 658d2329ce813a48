"""What an importer is, and what all of them need: files in a fixed order, read within bounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from clearmark.core.errors import MediaTooLarge, UsageError
from clearmark.core.pixels import MAX_BYTES
from clearmark.provenance.training_data.items import Candidate

__all__ = [
    "PICTURE_SUFFIXES",
    "Source",
    "bounded_reader",
    "files_under",
    "fingerprint_of",
    "inside",
    "split_cursor",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of files that are imported as pictures; what they are is told by their bytes."""

_MAX_FILES = 20_000_000


class Source(Protocol):
    """Something that holds items. Reading it twice gives the same items in the same order.

    `kind` names the importer, `location` what is read, `method` how it was acquired, `fingerprint` the state
    of its files: a resumed import goes on only where it is the same. `total` is the number of items where
    that is known beforehand; `batch` how many are put on record at once.
    """

    kind: str
    location: str
    method: str
    fingerprint: str
    total: int | None
    batch: int

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield the items behind `cursor` (as written by this importer; empty for the beginning).

        What is broken is yielded as a candidate with a fault, so that it stands on record.
        """
        ...


def files_under(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files below `root` with one of `suffixes`, as sorted POSIX paths relative to it.

    Raises:
        UsageError: when `root` is no folder, or holds more files than can be listed in memory.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder")
    found: list[str] = []
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        found.extend(
            (Path(folder) / name).relative_to(root).as_posix()
            for name in names
            if name.lower().endswith(suffixes)
        )
        if len(found) > _MAX_FILES:
            raise UsageError(f"{root} holds more than {_MAX_FILES:,} files", hint="import it in parts")
    return sorted(found)


def fingerprint_of(root: Path, names: Iterable[str], *options: str) -> str:
    """Return a digest over the names, sizes and times of files, and over the options of the import."""
    state = hashlib.sha256(repr(options).encode())
    for name in names:
        try:
            found = (root / name).stat()
            line = f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n"
        except OSError:
            line = f"{name}\0missing\n"
        state.update(line.encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def inside(root: Path, name: str) -> Path | None:
    """Return `root / name` when that is a plain file below `root`, links followed; else None."""
    try:
        path = (root / name).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def bounded_reader(path: Path, limit: int = MAX_BYTES) -> Callable[[], bytes]:
    """Return a function that reads `path` whole, and raises `MediaTooLarge` beyond `limit` bytes."""

    def read() -> bytes:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(limit + 1) if size <= limit else b""
        if size > limit or len(data) > limit:
            raise MediaTooLarge(f"{size:,} bytes; at most {limit:,} are read")
        return data

    return read


def split_cursor(cursor: str, parts: int) -> tuple[int, ...]:
    """Read a cursor of whole numbers; all zero for the beginning."""
    if not cursor:
        return (0,) * parts
    try:
        numbers = tuple(int(part) for part in cursor.split(":"))
    except ValueError:
        numbers = ()
    if len(numbers) != parts or min(numbers) < 0:
        raise UsageError("the register holds a cursor that this importer did not write")
    return numbers


def text_of(value: Any) -> str:
    """Return the text form of a cell or of a JSON value; nested values have none."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, dict | list | tuple | bytes):
        return ""
    return str(value)
