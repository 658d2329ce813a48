"""A model that its user has downloaded: pinned to a revision, and to the digest of every file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import ModelCorrupt, ModelMissing, UsageError
from clearmark.core.weights import ModelEntry, WeightsFile, sha256_file

__all__ = ["Checkpoint"]

_LOADED = {".json", ".safetensors", ".txt", ".model", ".jinja", ".onnx"}


@dataclass(frozen=True)
class Checkpoint:
    """A folder and the catalogue entry that it must agree with: the revision is the entry's `version`."""

    folder: Path
    entry: ModelEntry

    @classmethod
    def record(
        cls, folder: Path | str, *, model_id: str, source: str, revision: str, licence: str, task: str = ""
    ) -> Checkpoint:
        """Take down what lies in `folder` now: id, source, revision, licence, and the digest of every file.

        Raises:
            ModelMissing: when nothing that a model is loaded from lies there.
        """
        root = Path(folder)
        paths = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix in _LOADED)
        if not any(path.suffix in {".safetensors", ".onnx"} for path in paths):
            raise ModelMissing(
                f"{root.name}: no weights as .safetensors", hint="download them without pickle"
            )
        files = tuple(
            WeightsFile(
                path=path.relative_to(root).as_posix(), sha256=sha256_file(path), size=path.stat().st_size
            )
            for path in paths
        )
        entry = ModelEntry(
            id=model_id, task=task, source=source, licence=licence, version=revision, package="", files=files
        )
        return cls(root, entry)

    @classmethod
    def read(cls, path: Path | str) -> Checkpoint:
        """Read what `write` wrote. A folder that is not absolute is taken from where the file lies.

        Raises:
            UsageError: when the file is none of ours.
        """
        place = Path(path)
        try:
            row: dict[str, Any] = json.loads(place.read_bytes())
            files = tuple(WeightsFile(**file) for file in row["files"])
            named = {key: str(row[key]) for key in ("id", "task", "source", "licence", "version")}
            folder = place.parent / str(row["folder"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise UsageError(f"{place.name} is no record of a model", hint="`Checkpoint.record`") from exc
        for file in files:
            if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
                raise UsageError(f"{place.name} names a file outside its folder", hint="`Checkpoint.record`")
        return cls(folder, ModelEntry(**named, package="", files=files))

    def write(self, path: Path | str) -> None:
        """Write the record as JSON."""
        entry = self.entry
        row = {
            "folder": str(self.folder.resolve()), "id": entry.id, "task": entry.task, "source": entry.source,
            "licence": entry.licence, "version": entry.version,
            "files": [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in entry.files],
        }  # fmt: skip
        Path(path).write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")

    @property
    def ref(self) -> str:
        """`id@sha256:…`, as findings name the model."""
        return self.entry.ref

    def verify(self) -> Path:
        """Return the folder, once every file is the one on record and no other is there to be loaded.

        Raises:
            ModelMissing: when a file is absent.
            ModelCorrupt: when a file is another, or is not on record.
        """
        known = {file.path: file for file in self.entry.files}
        for name, file in known.items():
            path = self.folder / name
            if not path.is_file():
                raise ModelMissing(f"model {self.entry.id}: {name} is missing", hint="download it again")
            if sha256_file(path) != file.sha256:
                raise ModelCorrupt(
                    f"model {self.entry.id}: {name} is not the file on record",
                    hint=f"download revision {self.entry.version} again",
                )
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if (
                path.is_file()
                and path.suffix in {*_LOADED, ".py", ".bin", ".pt", ".pkl"}
                and name not in known
            ):
                raise ModelCorrupt(
                    f"model {self.entry.id}: {name} is not on record", hint="remove it or record anew"
                )
        return self.folder
