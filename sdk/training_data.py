"""The register of training data in a state folder: opened, screened with our guards, signed for, recorded.

It lies beside the ledger, not in it (see docs/adr/0005). What is done to it (an import, a removal) is an
event of the ledger, with the digest of the version: the ledger proves what the register held, and when.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Event, Request, Stage, Subject, micro, uuid7
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.sdk.home import Home

if TYPE_CHECKING:
    from clearmark.audits import NoteVerifier
    from clearmark.guardrails.memorization import Removal
    from clearmark.provenance.training_data import Look, Register, RemovalProof, Screen, Use, Version

__all__ = [
    "NudityScreen",
    "erase_from_index",
    "open_register",
    "record_import",
    "record_removal",
    "record_use",
    "removal_signer",
    "screens",
    "verifies",
]

REGISTER = "register.db"
"""The register's SQLite file in the state folder."""


def open_register(home: Home, *, create: bool = False) -> Register:
    """Open the register of a state folder.

    Raises:
        UsageError: when there is none and `create` is not set.
    """
    from clearmark.provenance.training_data import Register

    path = home.path / REGISTER
    if create:
        home.ensure()
    elif not path.exists():
        raise UsageError(f"no register of training data in {home.path}", hint="clearmark data add makes one")
    return Register(path, create=create)


class NudityScreen:
    """Measures `nsfw` with the guard that also looks at generated pictures."""

    name = "nudity"

    def __init__(self) -> None:
        from clearmark.guardrails import get_guard

        self._guard = get_guard("nudity")
        self._request = Request("", purpose="training-data screening")

    def __call__(self, data: bytes, look: Look) -> Mapping[str, int]:
        """Score one picture; a guard that cannot measure raises, and the item is not held."""
        from clearmark.guardrails import run_guards

        asset = Asset(data=data, media_type=look.media_type, width=look.width, height=look.height)
        subject = Subject(stage=Stage.INPUT_MEDIA, request=self._request, asset=asset)
        (observation,) = run_guards((self._guard,), [subject])
        if observation.failures or not observation.findings:
            raise GuardUnavailable("the nudity guard could not measure a picture")
        return {"nsfw": micro(max(finding.score for finding in observation.findings))}


_SCREENS: Mapping[str, Callable[[], Screen]] = {"nudity": NudityScreen}


def screens(names: list[str], hash_lists: list[Path]) -> tuple[Screen, ...]:
    """Return the screens of these names, and one for each list of hashes.

    Raises:
        UsageError: an unknown name, or a list that cannot be read.
    """
    from clearmark.provenance.training_data.screens import HashList

    unknown = [name for name in names if name not in _SCREENS]
    if unknown:
        raise UsageError(f"no screen is called {unknown[0]!r}", hint=f"one of: {', '.join(_SCREENS)}")
    lists: list[Screen] = [HashList.load(path) for path in hash_lists]
    return (*lists, *(_SCREENS[name]() for name in names))


def removal_signer(home: Home) -> Callable[[bytes], str]:
    """Return a signer with the ledger's key: a signed note over the SHA-256 of what is signed."""
    from clearmark.audits import NoteSigner

    signer = NoteSigner.from_pem(home.ledger_key, home.ledger_name)
    return lambda data: signer.sign(_note_text(data))


def verifies(verifier: NoteVerifier) -> Callable[[bytes, str], bool]:
    """Return a check of what `removal_signer` signs, against a public key of the ledger."""

    def check(data: bytes, note: str) -> bool:
        text = _note_text(data)
        head = f"{text}\n— {verifier.name} "
        if not note.startswith(head):
            return False
        try:
            raw = base64.b64decode(note[len(head) :].strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return raw[:4] == verifier.key_id and verifier.verify(text, raw[4:])

    return check


def record_import(home: Home, version: Version) -> None:
    """Put a finished import into the ledger: counts and the digest of the version."""
    body: dict[str, Any] = {
        "dataset": version.dataset,
        "version": version.label,
        "importer": version.kind,
        "items": version.read,
        "held": version.held,
        "quarantined": version.quarantined,
        "digest": version.digest,
    }
    _record(home, "data.imported", body)


def record_use(home: Home, use: Use, *, items: int, version: Version) -> None:
    """Put into the ledger what was made from a version, and under which policy its items were checked."""
    body: dict[str, Any] = {
        "kind": use.kind,
        "name": use.name,
        "digest": use.digest,
        "dataset": use.version,
        "dataset_digest": version.digest,
        "policy": use.policy,
        "items": items,
    }
    _record(home, "data.used", body)


def record_removal(home: Home, proof: RemovalProof) -> None:
    """Put a removal into the ledger: its digest and counts, nothing of what was removed."""
    from clearmark.core import digest

    body: dict[str, Any] = {
        "removal": proof.id,
        "proof": digest(proof.body),
        "items": len(proof.body["items"]),
        "versions": [
            {name: row[name] for name in ("name", "items", "before", "after")}
            for row in proof.body["versions"]
        ],
    }
    _record(home, "data.removed", body)


def erase_from_index(home: Home, proof: RemovalProof) -> Removal | None:
    """Erase what a proof names from the index of the state folder as well, and put that on record.

    The same bytes under another name go, too. Where the state folder has no index, and what is named stands
    in that which ships with the reference model, the state folder gets a copy without it, which counts from
    then on. Returns None where there is no index, or nothing of it there.

    Raises:
        IndexDamaged: the index is not what was written.
        UsageError: another process is writing to it.
    """
    from clearmark.guardrails.memorization import open_index
    from clearmark.sdk.reference_index import shipped_index

    rows = proof.body["items"]
    keys = [f"{row['dataset']}/{row['key']}" for row in rows]
    if not home.training_index.exists():
        shipped = shipped_index()
        if shipped is None:
            return None
        with open_index(shipped) as index:
            if not index.holds_any(keys=keys, sha256=[row["sha256"] for row in rows]):
                return None
        # Put in place whole, so that a cut in between leaves none rather than one that still has the items.
        draft = home.training_index.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(shipped, draft)
        with open_index(draft) as index:
            done = index.remove(keys=keys, sha256=[row["sha256"] for row in rows])
        draft.replace(home.training_index)
        return _erased(home, proof, done)
    with open_index(home.training_index) as index:
        if not index.holds_any(keys=keys, sha256=[row["sha256"] for row in rows]):
            return None
        done = index.remove(keys=keys, sha256=[row["sha256"] for row in rows])
    return _erased(home, proof, done)


def _erased(home: Home, proof: RemovalProof, done: Removal) -> Removal:
    from clearmark.core import digest

    body = {"removal": proof.id, "proof": digest(proof.body), **done.to_dict()}
    _record(home, "index.erased", body)
    return done


def _record(home: Home, kind: str, body: dict[str, Any]) -> None:
    from clearmark.sdk.studio import open_ledger

    with open_ledger(home) as ledger:
        ledger.append([Event(kind=kind, request_id=uuid7(), body=body)])


def _note_text(data: bytes) -> str:
    return f"clearmark training data removal\nsha256:{hashlib.sha256(data).hexdigest()}\n"
