"""A folder of Hugging Face `datasets`: what `save_to_disk` wrote, a clone of a hub repository, pictures.

The licence of the data card (YAML front matter of README.md) or of `dataset_info.json` holds for every item
that says nothing else. Hub repositories are read as files; nothing is loaded by running their code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.importers.folder import PictureFolder
from clearmark.provenance.training_data.importers.source import Source, files_under, inside
from clearmark.provenance.training_data.importers.tables import Tables
from clearmark.provenance.training_data.importers.webdataset import WebDataset
from clearmark.provenance.training_data.items import Candidate

__all__ = ["open_folder"]

_MAX = 256 * 1024
_LICENCE = re.compile(
    r"^licen[cs]e:[ \t]*(?:\n[ \t]*-[ \t]*)?[\"']?([^\"'\n]{1,200})[\"']?[ \t]*$", re.MULTILINE
)


class _WithLicence:
    """Another source, whose items have the licence of the data card where they name none."""

    kind = "huggingface"

    def __init__(self, inner: Source, statement: str) -> None:
        self._inner = inner
        self._statement = statement
        self.location = inner.location
        self.method = "Hugging Face datasets folder"
        self.fingerprint = inner.fingerprint
        self.total = inner.total
        self.batch = inner.batch

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield the candidates of the files."""
        for candidate in self._inner.read(cursor):
            candidate.statement = candidate.statement or self._statement
            yield candidate


def open_folder(root: Path) -> Source:
    """Return the source that the folder holds: Arrow or Parquet files, shards, or pictures.

    Raises:
        UsageError: when it holds none of them.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder")
    inner: Source
    if files_under(root, (".arrow", ".parquet")):
        inner = Tables(root, "huggingface")
    elif files_under(root, (".tar", ".tar.gz", ".tgz")):
        inner = WebDataset(root)
    else:
        inner = PictureFolder(root)
    return _WithLicence(inner, _statement(root))


def _statement(root: Path) -> str:
    for name in ("dataset_info.json", "README.md"):
        path = inside(root, name)
        if path is None:
            continue
        with path.open("rb") as stream:
            text = stream.read(_MAX).decode("utf-8", "replace")
        if name.endswith(".json"):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                continue
            licence = found.get("license") if isinstance(found, dict) else ""
            if isinstance(licence, str) and licence:
                return licence
        elif text.startswith("---"):
            front = text[3:].split("\n---", 1)[0]
            if match := _LICENCE.search(front):
                return match[1].strip()
    return ""
