"""CSV and JSON Lines: one item a line, with its bytes in files beside it, or only described."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.importers.columns import Columns
from clearmark.provenance.training_data.importers.source import files_under, fingerprint_of, split_cursor
from clearmark.provenance.training_data.items import Candidate, Fault

__all__ = ["MAX_LINE", "RowFiles"]

MAX_LINE = 1_000_000
"""Longest line that is read, in bytes; a longer one is skipped and put on record as broken."""


class RowFiles:
    """One file, or every `.csv` or `.jsonl` file of a folder; relative file names are looked up beside it."""

    batch = 1000

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        self.location = str(path)
        self.method = f"{kind} list"
        self.total: int | None = None
        self.root = path if path.is_dir() else path.parent
        self._names = files_under(path, (f".{kind}",)) if path.is_dir() else [path.name]
        if not self._names:
            raise UsageError(f"{path} holds no .{kind} file")
        self.fingerprint = fingerprint_of(self.root, self._names, kind)

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield one candidate per row; the cursor is the file's number and the byte offset behind the row."""
        start, offset = split_cursor(cursor, 2)
        for number, name in enumerate(self._names[start:], start):
            yield from self._file(number, name, offset)
            offset = 0

    def _file(self, number: int, name: str, offset: int) -> Iterator[Candidate]:
        path = self.root / name
        try:
            with path.open("rb") as stream:
                lines = _Lines(stream)
                if self.kind == "csv":
                    yield from self._csv(lines, number, name, offset)
                else:
                    yield from self._jsonl(lines, number, name, offset)
        except OSError as exc:
            yield Candidate(key=name, cursor=f"{number + 1}:0", fault=Fault("unreadable", exc.strerror or ""))

    def _csv(self, lines: _Lines, number: int, name: str, offset: int) -> Iterator[Candidate]:
        csv.field_size_limit(MAX_LINE)
        header = next(_parsed(lines), None)
        if not isinstance(header, list):
            yield Candidate(key=name, cursor=f"{number + 1}:0", fault=Fault("broken", "no header line"))
            return
        columns = Columns([cell.strip() for cell in header], root=self.root)
        if offset:
            lines.seek(offset)
        for row in _parsed(lines):
            place = f"{name}@{lines.started}"
            cursor = f"{number}:{lines.at}"
            if isinstance(row, Fault):
                yield Candidate(key=place, cursor=cursor, fault=row)
            elif len(row) != len(header):
                fault = Fault("broken", f"{len(row)} cells under {len(header)} columns")
                yield Candidate(key=place, cursor=cursor, fault=fault)
            else:
                yield columns.candidate(row, key=place, cursor=cursor)

    def _jsonl(self, lines: _Lines, number: int, name: str, offset: int) -> Iterator[Candidate]:
        lines.seek(offset)
        known: dict[tuple[str, ...], Columns] = {}
        for line in lines:
            place, cursor = f"{name}@{lines.started}", f"{number}:{lines.at}"
            lines.started = lines.at
            if lines.overlong:
                yield Candidate(
                    key=place, cursor=cursor, fault=Fault("broken", f"a line over {MAX_LINE:,} bytes")
                )
                continue
            if not line.strip():
                continue
            row = _object(line)
            if row is None:
                yield Candidate(key=place, cursor=cursor, fault=Fault("broken", "not a JSON object"))
                continue
            names = tuple(row)[:500]
            if names not in known:
                if len(known) > 1000:
                    known.clear()
                known[names] = Columns(names, root=self.root)
            yield known[names].candidate([row[name] for name in names], key=place, cursor=cursor)


class _Lines:
    """Lines of a file with the offsets at which they begin and end, for a parser that takes several a row."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.at = 0
        self.started = 0
        self.overlong = False

    def seek(self, offset: int) -> None:
        self._stream.seek(offset)
        self.at = self.started = offset

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.overlong = len(line) > MAX_LINE
        while len(line) > MAX_LINE and not line.endswith(b"\n"):  # leave the rest of it unread
            line = self._stream.readline(MAX_LINE + 1) or b"\n"
        self.at = self._stream.tell()
        if self.overlong:
            return "\n"
        return line.decode("utf-8-sig" if self.started == 0 else "utf-8", "replace")


def _parsed(lines: _Lines) -> Iterator[list[str] | Fault]:
    reader = csv.reader(lines)
    while True:
        lines.started = lines.at
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            yield Fault("broken", f"not CSV: {exc}")
            reader = csv.reader(lines)
            continue
        if lines.overlong:
            yield Fault("broken", f"a line over {MAX_LINE:,} bytes")
        elif row:
            yield row


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
