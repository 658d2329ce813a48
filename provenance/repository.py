"""Keep manifests, so that a picture that lost its own is led back to it by mark id or fingerprint.

One SQLite file; `repository_s3` keeps them in a bucket. Nothing in it is secret, and nothing is believed
because it is in it: a manifest that comes back is checked, signature and trust, as if it had come with the
picture.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clearmark.core.closing import Closing
from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance.credentials.jumbf import label_of
from clearmark.provenance.fingerprints import code_bits
from clearmark.provenance.ids import is_mark_id

__all__ = [
    "MAX_DISTANCE",
    "KeptManifest",
    "ManifestRepository",
    "ManifestSource",
    "ManifestSources",
    "ManifestStore",
    "open_manifests",
]

MAX_DISTANCE = 6
"""Bits in which a fingerprint may differ from the one on record. Re-encoding and scaling change up to 4."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS manifest (
  mark_id TEXT PRIMARY KEY,
  media_type TEXT NOT NULL,
  fingerprint INTEGER,
  store BLOB NOT NULL,
  label TEXT NOT NULL DEFAULT ''
) STRICT;
"""
_INDEX = "CREATE INDEX IF NOT EXISTS manifest_label ON manifest (label)"


@dataclass(frozen=True, kw_only=True)
class KeptManifest:
    """A manifest store on record; `distance` counts the differing bits where a fingerprint led here.

    `manifest` is the label of its active manifest, `urn:c2pa:…`.
    """

    mark_id: str
    media_type: str
    store: bytes = field(repr=False)
    distance: int | None = None
    manifest: str = ""


class ManifestSource(Protocol):
    """Where manifests on record are read from: a file of one's own, or somebody's service."""

    def get(self, mark_id: str) -> KeptManifest | None:
        """Return the manifest of a mark id, or None."""

    def find(self, fingerprint: str, *, max_distance: int = ..., limit: int = ...) -> Sequence[KeptManifest]:
        """Return the manifests whose pictures look like this one, the nearest first."""

    def by_manifest(self, manifest: str) -> KeptManifest | None:
        """Return the manifest store whose active manifest has this label, or None."""

    def newest(self, limit: int) -> Sequence[str]:
        """Return the mark ids that came last; none where the source does not tell."""


class ManifestStore(ManifestSource, Protocol):
    """Where manifests are kept: a file, or a bucket of an object store."""

    def put(self, mark_id: str, store: bytes, *, media_type: str, fingerprint: str = "") -> None:
        """Keep a manifest store; one that is there under the same mark id is replaced."""

    def close(self) -> None:
        """Let go of what is open."""


def open_manifests(location: str | Path) -> ManifestStore:
    """Open the manifests at `location`: the path of a SQLite file, or `s3://BUCKET/PREFIX`.

    Raises:
        ExtraMissing: a bucket, and the package for it is not installed.
        UsageError: an address that is none.
        Unavailable: it cannot be opened.
    """
    if isinstance(location, str) and location.startswith("s3://"):
        from clearmark.provenance.repository_s3 import S3ManifestRepository

        return S3ManifestRepository.from_url(location)
    return ManifestRepository(location)


class ManifestSources:
    """Several sources as one: the first that knows a manifest answers."""

    def __init__(self, *sources: ManifestSource) -> None:
        self._sources = sources

    def get(self, mark_id: str) -> KeptManifest | None:
        """Return the manifest of a mark id, or None."""
        found = (source.get(mark_id) for source in self._sources)
        return next((kept for kept in found if kept is not None), None)

    def find(
        self, fingerprint: str, *, max_distance: int = MAX_DISTANCE, limit: int = 10
    ) -> Sequence[KeptManifest]:
        """Return the manifests whose pictures look like this one, from the first source that has any."""
        found = (source.find(fingerprint, max_distance=max_distance, limit=limit) for source in self._sources)
        return next((kept for kept in found if kept), ())

    def by_manifest(self, manifest: str) -> KeptManifest | None:
        """Return the manifest store whose active manifest has this label, or None."""
        found = (source.by_manifest(manifest) for source in self._sources)
        return next((kept for kept in found if kept is not None), None)

    def newest(self, limit: int) -> Sequence[str]:
        """Return the mark ids that came last to the first source that tells."""
        return next((ids for source in self._sources if (ids := source.newest(limit))), ())


class ManifestRepository(Closing):
    """Manifests by mark id and by fingerprint. Safe to share between threads."""

    def __init__(self, path: str | Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
            self._upgrade()
        except sqlite3.Error as exc:
            raise Unavailable(f"the manifest repository cannot be opened: {exc}") from exc

    def put(self, mark_id: str, store: bytes, *, media_type: str, fingerprint: str = "") -> None:
        """Keep a manifest store; one that is there under the same mark id is replaced.

        Raises:
            UsageError: a malformed mark id or fingerprint.
            Unavailable: when it could not be written.
        """
        if not is_mark_id(mark_id):
            raise UsageError(f"a mark id is 16 lower-case hex digits, not {mark_id[:32]!r}")
        bits = _signed(code_bits(fingerprint)) if fingerprint else None
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO manifest VALUES (?, ?, ?, ?, ?)",
                (mark_id, media_type, bits, store, label_of(store)),
            )

    def get(self, mark_id: str) -> KeptManifest | None:
        """Return the manifest of a mark id, or None."""
        return self._one("mark_id", mark_id)

    def by_manifest(self, manifest: str) -> KeptManifest | None:
        """Return the manifest store whose active manifest has this label, or None."""
        return self._one("label", manifest) if manifest else None

    def newest(self, limit: int) -> tuple[str, ...]:
        """Return the mark ids that came last, the newest first."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT mark_id FROM manifest ORDER BY rowid DESC LIMIT ?", (limit,))
            return tuple(row[0] for row in rows)

    def _one(self, column: str, value: str) -> KeptManifest | None:
        with self._transaction() as connection:
            row = connection.execute(
                f"SELECT mark_id, media_type, store, label FROM manifest WHERE {column} = ?",  # noqa: S608
                (value,),
            ).fetchone()
        return KeptManifest(mark_id=row[0], media_type=row[1], store=row[2], manifest=row[3]) if row else None

    def find(
        self, fingerprint: str, *, max_distance: int = MAX_DISTANCE, limit: int = 10
    ) -> tuple[KeptManifest, ...]:
        """Return the manifests whose pictures look like this one, the nearest first.

        Raises:
            UsageError: a malformed fingerprint.
        """
        wanted = code_bits(fingerprint)
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT mark_id, fingerprint FROM manifest WHERE fingerprint IS NOT NULL"
            )
            near = [
                (distance, mark_id)
                for mark_id, bits in rows
                if (distance := ((bits ^ wanted) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()) <= max_distance
            ]
            out = []
            for distance, mark_id in sorted(near)[:limit]:
                row = connection.execute(
                    "SELECT media_type, store, label FROM manifest WHERE mark_id = ?", (mark_id,)
                ).fetchone()
                out.append(
                    KeptManifest(
                        mark_id=mark_id,
                        media_type=row[0],
                        store=row[1],
                        distance=distance,
                        manifest=row[2],
                    )
                )
        return tuple(out)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _upgrade(self) -> None:
        """Give a file of an earlier version the labels that it lacks."""
        with self._connection as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(manifest)")}
            if "label" not in columns:
                connection.execute("ALTER TABLE manifest ADD COLUMN label TEXT NOT NULL DEFAULT ''")
                for mark_id, store in connection.execute("SELECT mark_id, store FROM manifest").fetchall():
                    connection.execute(
                        "UPDATE manifest SET label = ? WHERE mark_id = ?", (label_of(store), mark_id)
                    )
            connection.execute(_INDEX)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.Error as exc:
                raise Unavailable(f"the manifest repository does not answer: {exc}") from exc


def _signed(bits: int) -> int:
    """SQLite's integers have a sign; the 64 bits stay the same."""
    return bits - 2**64 if bits >= 2**63 else bits
