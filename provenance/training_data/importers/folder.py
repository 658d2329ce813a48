"""A folder of pictures, each with what is said about it in files beside it.

`a.png` is described by `a.json`, `a.txt` (a caption alone) or the XMP packet inside it; a `metadata.jsonl` or
`metadata.csv` of a folder, as Hugging Face's image folders have it, describes what it names.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.importers.columns import Columns
from clearmark.provenance.training_data.importers.source import (
    PICTURE_SUFFIXES,
    bounded_reader,
    files_under,
    fingerprint_of,
    inside,
    split_cursor,
)
from clearmark.provenance.training_data.items import Candidate, Fault

__all__ = ["PictureFolder"]

_MAX_SIDECAR = 1_000_000
_MAX_METADATA = 64 * 1024 * 1024
_METADATA = ("metadata.jsonl", "metadata.csv")


class PictureFolder:
    """Pictures below a folder, in the order of their paths; links that lead out of it are not followed."""

    kind = "folder"
    method = "files of a folder"
    batch = 64

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._names = files_under(root, PICTURE_SUFFIXES)
        if not self._names:
            raise UsageError(f"{root} holds no .png, .jpg or .webp file")
        sidecars = files_under(root, (".json", ".txt", *_METADATA))
        self.fingerprint = fingerprint_of(root, [*self._names, *sidecars], self.kind)
        self.total: int | None = len(self._names)
        self._tables: dict[str, dict[str, dict[str, Any]]] = {}

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield one candidate per picture; the cursor counts pictures."""
        (start,) = split_cursor(cursor, 1)
        for number, name in enumerate(self._names[start:], start):
            yield self._candidate(name, f"{number + 1}")

    def _candidate(self, name: str, cursor: str) -> Candidate:
        path = inside(self.root, name)
        described = {**self._from_table(name), **self._from_sidecar(name)}
        for place in ("file_name", "key", "id", "image", "image_path", "path", "filename"):
            described.pop(place, None)
        made = Columns(tuple(described)).candidate(list(described.values()), key=name, cursor=cursor)
        made.category = made.category or (name.split("/", maxsplit=1)[0] if "/" in name else "")
        made.source = made.source or name
        if made.fault is None and path is None:
            made.fault = Fault("missing-file", "a link that leads nowhere, or out of the folder")
        elif made.fault is None and path is not None:
            made.load = bounded_reader(path)
        return made

    def _from_sidecar(self, name: str) -> dict[str, Any]:
        stem = name.rsplit(".", 1)[0]
        for candidate in (f"{name}.json", f"{stem}.json"):
            text = self._text(candidate, _MAX_SIDECAR)
            if text is not None:
                return _object(text)
        text = self._text(f"{stem}.txt", _MAX_SIDECAR)
        return {"caption": text.strip()} if text is not None else {}

    def _from_table(self, name: str) -> dict[str, Any]:
        folder, _, base = name.rpartition("/")
        if folder not in self._tables:
            if len(self._tables) > 64:
                self._tables.clear()
            self._tables[folder] = self._table(folder)
        return dict(self._tables[folder].get(base, {}))

    def _table(self, folder: str) -> dict[str, dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        text = self._text(prefix + _METADATA[0], _MAX_METADATA)
        if text is not None:
            rows = [_object(line) for line in text.splitlines() if line.strip()]
        else:
            text = self._text(prefix + _METADATA[1], _MAX_METADATA)
            rows = _csv_rows(text) if text is not None else []
        return {row["file_name"]: row for row in rows if isinstance(row.get("file_name"), str)}

    def _text(self, name: str, limit: int) -> str | None:
        path = inside(self.root, name)
        if path is None:
            return None
        try:
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except OSError:
            return None
        return data.decode("utf-8-sig", "replace") if len(data) <= limit else None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(name): value for name, value in list(found.items())[:500]} if isinstance(found, dict) else {}


def _csv_rows(text: str) -> list[dict[str, Any]]:
    try:
        return [dict(row) for row in csv.DictReader(text.splitlines())]
    except csv.Error:
        return []
