"""Importers by name: each reads one layout of training data, in order, from any point on."""

from __future__ import annotations

from pathlib import Path

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.importers.source import Source

__all__ = ["IMPORTERS", "Source", "open_source"]

IMPORTERS = ("openclipart", "folder", "csv", "jsonl", "parquet", "webdataset", "huggingface")
"""The names that `open_source` knows."""

_DEBIAN = Path("/usr/share/openclipart")


def open_source(kind: str, location: str | Path | None = None) -> Source:
    """Return the source at `location`, read as `kind`; `openclipart` finds the Debian packages by itself.

    Raises:
        UsageError: an unknown kind, no location, or one that is not what the importer reads.
        ExtraMissing: `parquet` and Arrow files need the extra `data`.
    """
    if kind not in IMPORTERS:
        raise UsageError(f"no importer is called {kind!r}", hint=f"one of: {', '.join(IMPORTERS)}")
    if location is None:
        if kind != "openclipart":
            raise UsageError(f"{kind} needs the path of what is to be imported")
        location = _DEBIAN
    path = Path(location)
    if not path.exists():
        hint = "apt-get install openclipart-png openclipart-svg" if path == _DEBIAN else ""
        raise UsageError(f"{path} does not exist", hint=hint)
    if kind == "openclipart":
        from clearmark.provenance.training_data.importers.openclipart import OpenClipart

        return OpenClipart(path)
    if kind == "folder":
        from clearmark.provenance.training_data.importers.folder import PictureFolder

        return PictureFolder(path)
    if kind in {"csv", "jsonl"}:
        from clearmark.provenance.training_data.importers.rows import RowFiles

        return RowFiles(path, kind)
    if kind == "webdataset":
        from clearmark.provenance.training_data.importers.webdataset import WebDataset

        return WebDataset(path)
    if kind == "huggingface":
        from clearmark.provenance.training_data.importers.huggingface import open_folder

        return open_folder(path)
    from clearmark.provenance.training_data.importers.tables import Tables

    return Tables(path)
