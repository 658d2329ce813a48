"""The likeness registry: enrolled people, encrypted at rest, with consents that have a scope and an end.

Face embeddings are biometric data. They stand in one file, sealed as a whole with AES-256-GCM (NIST SP
800-38D) under a key in a file of its own that only its owner may read. Erasing somebody rewrites the file.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import KeyUnavailable, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Consent", "Enrolment", "LikenessRegistry", "RegistryMatch"]

_LABEL = b"clearmark likeness registry v1"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_MAX_BYTES = 256 * 1024 * 1024
_SIZE = 128


@dataclass(frozen=True, slots=True)
class Consent:
    """Leave to use somebody's likeness: a reference that requests name, what for, and its last day."""

    reference: str
    scopes: tuple[str, ...]
    until: date

    def covers(self, references: Iterable[str], purpose: str, today: date) -> bool:
        """Whether a request that names `references` may use the likeness for `purpose` on `today`."""
        scoped = "any" in self.scopes or purpose in self.scopes
        return scoped and self.reference in references and today <= self.until


@dataclass(frozen=True)
class Enrolment:
    """One person: an id, why their face is kept, the last day it is, embeddings, and consents given."""

    person: str
    basis: str
    until: date
    embeddings: tuple[tuple[float, ...], ...]
    consents: tuple[Consent, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryMatch:
    """The enrolled person nearest to a face, and the distance."""

    enrolment: Enrolment
    distance: float


class LikenessRegistry:
    """Enrolled people in `folder`: `registry.sealed` and `registry.key` (0600). Safe for threads."""

    def __init__(self, folder: str | Path) -> None:
        """Open the registry in `folder`, or make an empty one.

        Raises:
            KeyUnavailable: when the key is missing, may be read by others, or does not open the file.
        """
        self._folder = Path(folder)
        self._lock = threading.RLock()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = self._read_key()
        self._people: dict[str, Enrolment] = self._load()

    def __len__(self) -> int:
        return len(self._people)

    def people(self) -> tuple[Enrolment, ...]:
        """Return all enrolments, by person."""
        with self._lock:
            return tuple(self._people[person] for person in sorted(self._people))

    def enrol(
        self,
        person: str,
        pictures: Sequence[bytes],
        *,
        basis: str,
        until: date,
        consents: Sequence[Consent] = (),
    ) -> Enrolment:
        """Enrol `person` from pictures that show one face each; more pictures of the same person add up.

        Raises:
            UsageError: for an empty id or basis, no pictures, or one with no face or several.
            MediaError: when a picture cannot be read.
            ExtraMissing: without the extra `faces`.
        """
        from clearmark.guardrails._media import read_rgb
        from clearmark.guardrails.likeness._faces import embed_faces, find_faces

        if not person.strip() or not basis.strip() or not pictures:
            raise UsageError("an enrolment needs a person, a basis and a picture", hint="pass all three")
        rows: list[tuple[float, ...]] = []
        for number, data in enumerate(pictures, 1):
            rgb = read_rgb(data)
            faces = find_faces(rgb)
            if len(faces) != 1:
                raise UsageError(
                    f"picture {number} shows {len(faces)} faces", hint="crop it so that one face is left"
                )
            rows.append(tuple(float(value) for value in embed_faces(rgb, faces)[0]))
        return self.enrol_embeddings(person, rows, basis=basis, until=until, consents=consents)

    def enrol_embeddings(
        self,
        person: str,
        embeddings: Sequence[Sequence[float]],
        *,
        basis: str,
        until: date,
        consents: Sequence[Consent] = (),
    ) -> Enrolment:
        """Enrol `person` by embeddings of 128 numbers that were made before.

        Raises:
            UsageError: when one has another length.
        """
        rows = tuple(tuple(float(value) for value in row) for row in embeddings)
        if not rows or any(len(row) != _SIZE for row in rows):
            raise UsageError(f"an embedding has {_SIZE} numbers", hint="pass what `embed_faces` returns")
        with self._lock:
            before = self._people.get(person)
            if before is not None:
                rows = (*before.embeddings, *rows)
                consents = (*before.consents, *consents)
            enrolment = Enrolment(person, basis, until, rows, tuple(dict.fromkeys(consents)))
            self._save({**self._people, person: enrolment})
            return enrolment

    def consent(self, person: str, consent: Consent) -> None:
        """Put a consent on record.

        Raises:
            UsageError: when the person is not enrolled.
        """
        with self._lock:
            known = self._known(person)
            self._save({**self._people, person: replace(known, consents=(*known.consents, consent))})

    def withdraw(self, person: str, reference: str) -> None:
        """Take a consent back.

        Raises:
            UsageError: when the person is not enrolled.
        """
        with self._lock:
            known = self._known(person)
            left = tuple(consent for consent in known.consents if consent.reference != reference)
            self._save({**self._people, person: replace(known, consents=left)})

    def erase(self, person: str) -> None:
        """Forget a person: the file is written anew without them.

        Raises:
            UsageError: when the person is not enrolled.
        """
        with self._lock:
            self._known(person)
            self._save({name: known for name, known in self._people.items() if name != person})

    def purge(self, today: date | None = None) -> tuple[str, ...]:
        """Erase everybody whose last day has passed, and return who that was."""
        now = today or datetime.now(tz=UTC).date()
        with self._lock:
            gone = tuple(sorted(name for name, known in self._people.items() if known.until < now))
            if gone:
                self._save({name: known for name, known in self._people.items() if name not in gone})
            return gone

    def match(self, embedding: NDArray[np.float32], today: date | None = None) -> RegistryMatch | None:
        """Return who is nearest to a face, or None where nobody is enrolled (any more)."""
        import numpy as np

        now = today or datetime.now(tz=UTC).date()
        best: RegistryMatch | None = None
        for known in self.people():
            if known.until < now:
                continue
            away = float(np.linalg.norm(np.asarray(known.embeddings) - embedding, axis=1).min())
            if best is None or away < best.distance:
                best = RegistryMatch(known, away)
        return best

    def _known(self, person: str) -> Enrolment:
        if person not in self._people:
            raise UsageError("nobody of that id is enrolled", hint="list them with `people()`")
        return self._people[person]

    def _read_key(self) -> bytes:
        path = self._folder / "registry.key"
        if not path.exists():
            if (self._folder / "registry.sealed").exists():
                raise KeyUnavailable("registry.key is missing", hint="restore it; without it nothing opens")
            with suppress(FileExistsError):  # another process was first: its key counts
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(os.urandom(_KEY_BYTES))
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise KeyUnavailable("registry.key may be read by others", hint=f"chmod 600 {path.name}")
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise KeyUnavailable("registry.key is no key of 32 bytes", hint="restore it from a backup")
        return key

    def _load(self) -> dict[str, Enrolment]:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        path = self._folder / "registry.sealed"
        if not path.exists():
            return {}
        if path.stat().st_size > _MAX_BYTES:
            raise KeyUnavailable("registry.sealed is larger than any registry", hint="restore it")
        data = path.read_bytes()
        try:
            plain = AESGCM(self._key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _LABEL)
            rows = json.loads(plain)["people"]
            return {row["person"]: _read(row) for row in rows}
        except (InvalidTag, ValueError, KeyError, TypeError) as exc:
            raise KeyUnavailable(
                "registry.sealed does not open with registry.key", hint="restore both from one backup"
            ) from exc

    def _save(self, people: dict[str, Enrolment]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        plain = json.dumps({"version": 1, "people": [_write(known) for known in people.values()]}).encode()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._key).encrypt(nonce, plain, _LABEL)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".registry-")  # 0600 from the start
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(sealed)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self._folder / "registry.sealed")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._people = people


def _write(known: Enrolment) -> dict[str, Any]:
    return {
        "person": known.person,
        "basis": known.basis,
        "until": known.until.isoformat(),
        "embeddings": known.embeddings,
        "consents": [
            {"reference": one.reference, "scopes": one.scopes, "until": one.until.isoformat()}
            for one in known.consents
        ],
    }


def _read(row: dict[str, Any]) -> Enrolment:
    return Enrolment(
        person=row["person"],
        basis=row["basis"],
        until=date.fromisoformat(row["until"]),
        embeddings=tuple(tuple(map(float, values)) for values in row["embeddings"]),
        consents=tuple(
            Consent(one["reference"], tuple(one["scopes"]), date.fromisoformat(one["until"]))
            for one in row["consents"]
        ),
    )
