"""Parquet and Arrow files: img2dataset's and LAION's tables, and what Hugging Face `datasets` writes.

Only the columns that mean something are read, a batch at a time. A file says how large its row groups are;
those that would not fit into memory are refused before they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.core.optional import import_optional
from clearmark.provenance.training_data.importers.columns import Columns
from clearmark.provenance.training_data.importers.source import files_under, fingerprint_of, split_cursor
from clearmark.provenance.training_data.items import Candidate, Fault

__all__ = ["MAX_GROUP_BYTES", "Tables"]

MAX_GROUP_BYTES = 512 * 1024 * 1024
"""Largest row group that is read, in bytes of the columns that are used, uncompressed."""

_ROWS = 1000
_ROWS_WITH_PICTURES = 32
_THRIFT = 64 * 1024 * 1024


class Tables:
    """One `.parquet` or `.arrow` file, or all of a folder. The cursor is the file's number and the row."""

    batch = 1000

    def __init__(self, path: Path, kind: str = "parquet", *, method: str = "rows of a table") -> None:
        import_optional("pyarrow", extra="data")
        self.kind = kind
        self.location = str(path)
        self.method = method
        self.root = path if path.is_dir() else path.parent
        self._names = files_under(path, (".parquet", ".arrow")) if path.is_dir() else [path.name]
        if not self._names:
            raise UsageError(f"{path} holds no .parquet and no .arrow file")
        self.fingerprint = fingerprint_of(self.root, self._names, kind)
        self.total = self._count()

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield one candidate per row."""
        start, row = split_cursor(cursor, 2)
        for number, name in enumerate(self._names[start:], start):
            yield from self._file(number, name, row)
            row = 0

    def _file(self, number: int, name: str, start: int) -> Iterator[Candidate]:
        import pyarrow as pa

        read = self._arrow if name.lower().endswith(".arrow") else self._parquet
        at = start
        try:
            for columns, rows in read(self.root / name, start):
                for cells in rows:
                    at += 1
                    yield columns.candidate(cells, key=f"{name}#{at}", cursor=f"{number}:{at}")
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError, _Refused) as exc:
            # What was read so far stays; the rest of this file cannot be told into items.
            fault = Fault("broken", f"behind row {at}: {type(exc).__name__}: {exc}")
            yield Candidate(key=f"{name}#rest", cursor=f"{number + 1}:0", fault=fault)

    def _parquet(self, path: Path, start: int) -> Iterator[tuple[Columns, Iterator[Any]]]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(
            path,
            memory_map=False,
            pre_buffer=False,
            thrift_string_size_limit=_THRIFT,
            thrift_container_size_limit=_THRIFT,
        ) as file:
            names = file.schema_arrow.names
            columns = Columns(names, root=self.root)
            used = columns.used(names)
            columns = Columns(used, root=self.root)
            size = _ROWS_WITH_PICTURES if "image" in columns.places else _ROWS
            first = 0
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if first + count <= start:
                    first += count
                    continue
                self._check(file.metadata.row_group(group), used)
                skip = max(0, start - first)
                for batch in file.iter_batches(size, row_groups=[group], columns=used, use_threads=False):
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    yield columns, _cells(batch.slice(skip), used)
                    skip = 0
                first += count

    def _arrow(self, path: Path, start: int) -> Iterator[tuple[Columns, Iterator[Any]]]:
        import pyarrow as pa

        with pa.memory_map(str(path)) as file, _open_arrow(file) as reader:
            names = reader.schema.names
            used = Columns(names).used(names)
            columns = Columns(used, root=self.root)
            size = _ROWS_WITH_PICTURES if "image" in columns.places else _ROWS
            skip = start
            for batch in _record_batches(reader):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                for at in range(skip, batch.num_rows, size):
                    yield columns, _cells(batch.slice(at, size), used)
                skip = 0

    def _check(self, group: Any, used: list[str]) -> None:
        wanted = set(used)
        parts = (group.column(place) for place in range(group.num_columns))
        size = sum(
            part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in wanted
        )
        if size > MAX_GROUP_BYTES:
            raise _Refused(f"a row group of {size:,} bytes; at most {MAX_GROUP_BYTES:,} are read")

    def _count(self) -> int | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        total = 0
        for name in self._names:
            if not name.lower().endswith(".parquet"):
                return None
            try:
                total += pq.read_metadata(self.root / name).num_rows
            except (pa.ArrowException, OSError):
                continue
        return total


class _Refused(Exception):
    """A table is not read any further."""


def _cells(batch: Any, names: list[str]) -> Iterator[Any]:
    return zip(*(batch.column(name).to_pylist() for name in names), strict=True) if names else iter(())


def _open_arrow(file: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.ipc.open_stream(file)
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_file(file)


def _record_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from reader
