"""WebDataset shards: tar files in which the files of one sample stand together and share their stem.

Nothing is ever extracted. Names that climb out of a folder, links and devices are put on record as unsafe.
Uncompressed shards are read lazily at their offsets; compressed ones within bounds of growth.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from clearmark.core.errors import MediaTooLarge, UsageError
from clearmark.core.pixels import MAX_BYTES
from clearmark.provenance.training_data.importers.columns import Columns
from clearmark.provenance.training_data.importers.source import files_under, fingerprint_of, split_cursor
from clearmark.provenance.training_data.items import Candidate, Fault

__all__ = ["WebDataset"]

_PICTURES = ("png", "jpg", "jpeg", "webp")
_MAX_TEXT = 1_000_000
_MAX_READ = 80 * 1024 * 1024
_MAX_GROWTH = 100
_BASE_GROWTH = 256 * 1024 * 1024
_MAX_PARTS = 64


class WebDataset:
    """One shard, or every `.tar` and `.tar.gz` of a folder. The cursor is shard number and byte offset."""

    kind = "webdataset"
    method = "WebDataset shards"
    total: int | None = None
    batch = 64

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self.root = path if path.is_dir() else path.parent
        names = files_under(path, (".tar", ".tar.gz", ".tgz")) if path.is_dir() else [path.name]
        if not names:
            raise UsageError(f"{path} holds no .tar file")
        self._names = names
        self.fingerprint = fingerprint_of(self.root, names, self.kind)

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield one candidate per sample, and one per member that is unsafe."""
        start, offset = split_cursor(cursor, 2)
        for number, name in enumerate(self._names[start:], start):
            yield from self._shard(number, name, offset)
            offset = 0

    def _shard(self, number: int, name: str, offset: int) -> Iterator[Candidate]:
        path = self.root / name
        last = f"{number}:{offset}"
        try:
            with path.open("rb") as raw, _opened(raw, path) as stream:
                stream.seek(offset)
                for candidate in self._samples(stream, path, number, name):
                    last = candidate.cursor
                    yield candidate
        except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError, _Refused) as exc:
            fault = Fault("broken", f"behind {last}: {type(exc).__name__}: {exc}")
            yield Candidate(key=f"{name}/rest", cursor=f"{number + 1}:0", fault=fault)

    def _samples(self, stream: IO[bytes], path: Path, number: int, name: str) -> Iterator[Candidate]:
        sample: dict[str, tuple[tarfile.TarInfo, Callable[[], bytes]]] = {}
        stem = ""
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                # The list that tarfile keeps would grow with the shard; the stubs do not know it.
                tar.members = []  # type: ignore[attr-defined]
                begins = f"{number}:{member.offset}"
                fault = _unsafe(member)
                if fault is not None:
                    if sample:
                        yield _candidate(sample, f"{name}/{stem}", begins)
                        sample = {}
                    yield Candidate(
                        key=f"{name}/{member.name}", cursor=f"{number}:{_behind(member)}", fault=fault
                    )
                    continue
                if not member.isfile():
                    continue
                folder, _, base = member.name.rpartition("/")
                first, _, ending = base.partition(".")
                its_stem = f"{folder}/{first}" if folder else first
                if sample and (its_stem != stem or len(sample) >= _MAX_PARTS):
                    yield _candidate(sample, f"{name}/{stem}", begins)
                    sample = {}
                stem = its_stem
                sample[ending.lower()] = (member, _loader(path, tar, member))
            if sample:
                yield _candidate(sample, f"{name}/{stem}", f"{number + 1}:0")


class _Refused(Exception):
    """A shard is not read any further."""


class _Bounded:
    """A stream that refuses reads as large as only a lying header asks for, and growth without end."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _MAX_READ:
            raise _Refused("a header that asks for more than is read at once")
        if self._stream.tell() > self._limit:
            raise _Refused("a compressed shard that grows beyond its bounds")
        data: bytes = self._stream.read(size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset > self._limit:
            raise _Refused("a member that ends behind the bounds of its shard")
        at: int = self._stream.seek(offset, whence)
        return at

    def tell(self) -> int:
        at: int = self._stream.tell()
        return at

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._stream, gzip.GzipFile):
            self._stream.close()


def _opened(raw: IO[bytes], path: Path) -> Any:
    size = os.fstat(raw.fileno()).st_size
    if path.name.lower().endswith((".gz", ".tgz")):
        return _Bounded(gzip.GzipFile(fileobj=raw), _BASE_GROWTH + _MAX_GROWTH * size)
    return _Bounded(raw, size)


def _unsafe(member: tarfile.TarInfo) -> Fault | None:
    if member.issym() or member.islnk() or member.isdev():
        return Fault("unsafe-member", "a link or a device")
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        return Fault("unsafe-member", "a name that leads out of the folder")
    return None


def _behind(member: tarfile.TarInfo) -> int:
    blocks = -(-member.size // tarfile.BLOCKSIZE) if member.isreg() else 0
    return member.offset_data + blocks * tarfile.BLOCKSIZE


def _loader(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], bytes]:
    size, offset = member.size, member.offset_data
    if size > MAX_BYTES:

        def refuse() -> bytes:
            raise MediaTooLarge(f"{size:,} bytes; at most {MAX_BYTES:,} are read")

        return refuse
    if path.name.lower().endswith((".gz", ".tgz")):
        held = tar.extractfile(member)
        data = held.read() if held is not None else b""
        return lambda: data

    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    return read


def _candidate(
    sample: dict[str, tuple[tarfile.TarInfo, Callable[[], bytes]]], key: str, cursor: str
) -> Candidate:
    picture = next((sample[ending] for ending in _PICTURES if ending in sample), None)
    described = _description(sample)
    columns = Columns(tuple(described))
    made = columns.candidate(list(described.values()), key=key, cursor=cursor)
    made.key = key
    if made.fault is None and picture is not None:
        made.load = picture[1]
    elif made.fault is None:
        made.fault = Fault("no-picture", "no .png, .jpg or .webp among " + ", ".join(sorted(sample))[:200])
    return made


def _description(sample: dict[str, tuple[tarfile.TarInfo, Callable[[], bytes]]]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for ending in ("txt", "json"):
        if ending not in sample or sample[ending][0].size > _MAX_TEXT:
            continue
        try:
            text = sample[ending][1]().decode("utf-8", "replace")
            found = {"caption": text.strip()} if ending == "txt" else json.loads(text)
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            described |= {str(name): value for name, value in list(found.items())[:500]}
    return described
