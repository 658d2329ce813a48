"""Weights on record: where a model's files come from, under what licence, and with which digest.

A file is used only after its SHA-256 was checked against the record. `guardrails` and `generation` keep such
records beside what they load; both read them here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import ModelCorrupt, ModelMissing, UsageError

__all__ = ["ModelEntry", "WeightsFile", "load_entries", "sha256_file"]

_checked: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """One file: its path inside the package, its hex SHA-256, its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model: what it is for, who made it, its licence, and the files that it consists of.

    `package` is the import name of the installed package that holds the files; `pip` what installs it.
    """

    id: str
    task: str
    source: str
    licence: str
    package: str
    files: tuple[WeightsFile, ...]
    pip: str = ""
    version: str = ""
    card: str = ""

    @property
    def digest(self) -> str:
        """`sha256:` of the one file, or over the sorted digests of several."""
        if len(self.files) == 1:
            return f"sha256:{self.files[0].sha256}"
        listing = "".join(
            f"{file.sha256}  {file.path}\n" for file in sorted(self.files, key=lambda f: f.path)
        )
        return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()

    @property
    def ref(self) -> str:
        """`id@sha256:…`, as findings and events name the model."""
        return f"{self.id}@{self.digest}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def locate(self) -> dict[str, Path]:
        """Return the path of every file, without importing the package.

        Raises:
            ModelMissing: when the package or one of the files is absent.
        """
        root = _package_root(self.package)
        hint = f"pip install --force-reinstall {self.pip}" if self.pip else "reinstall clearmark"
        if root is None:
            raise ModelMissing(f"model {self.id}: the package {self.package} is not installed", hint=hint)
        found = {file.path: root / file.path for file in self.files}
        for path in found.values():
            if not path.is_file():
                raise ModelMissing(f"model {self.id}: {path.name} is missing from {self.package}", hint=hint)
        return found

    def verify(self) -> dict[str, Path]:
        """Check the digest of every file and return their paths.

        Raises:
            ModelMissing: when a file is absent or cannot be read.
            ModelCorrupt: when a file is not the one on record.
        """
        found = self.locate()
        for file in self.files:
            path = found[file.path]
            try:
                actual = sha256_file(path)
            except OSError as exc:
                raise ModelMissing(
                    f"model {self.id}: {path.name}: {exc.strerror}", hint="check its rights"
                ) from exc
            if actual != file.sha256:
                raise ModelCorrupt(
                    f"model {self.id}: {path.name} has sha256 {actual[:12]}…, "
                    f"on record is {file.sha256[:12]}…",
                    hint=f"pip install --force-reinstall {self.pip}" if self.pip else "reinstall clearmark",
                )
        return found


def load_entries(text: str | bytes) -> tuple[ModelEntry, ...]:
    """Read the entries of a catalogue file (JSON: `{"models": [...]}`)."""
    try:
        rows: list[dict[str, Any]] = json.loads(text)["models"]
        return tuple(
            ModelEntry(**{**row, "files": tuple(WeightsFile(**file) for file in row["files"])})
            for row in rows
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"not a model catalogue: {exc}") from exc


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, remembered while its size and modification time stay the same."""
    stat = os.stat(path)  # noqa: PTH116  one call gives both
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _checked:
        with path.open("rb") as stream:
            _checked[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _checked[key]


def _package_root(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin).parent if spec.origin else None
