"""Signed notes (C2SP signed-note) with Ed25519, and the checkpoints (C2SP tlog-checkpoint) they carry."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clearmark.audits.ledger._merkle import HASH_SIZE
from clearmark.core.errors import KeyUnavailable, LedgerTampered, UsageError

__all__ = [
    "Checkpoint",
    "NoteSigner",
    "NoteVerifier",
    "checked_name",
    "decode_base64",
    "key_id",
    "open_note",
    "parse_checkpoint",
    "split_note",
]

ED25519 = b"\x01"
"""The signature type byte of plain Ed25519 signatures."""

MAX_NOTE = 100_000
"""Longest note that is read, in characters: room for many witnesses."""

MAX_SIGNATURES = 64
"""Most signature lines that are read; the format asks for at least 16."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME = re.compile(r"[^\s+]{1,255}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class NoteVerifier:
    """A public key by which notes are checked. Its text form is the one of Go's `sumdb/note`."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, verifier_key: str) -> NoteVerifier:
        """Read `name+id+base64`.

        Raises:
            UsageError: when it is no Ed25519 verifier key, or its id does not fit.
        """
        hint = "it looks like name+1a2b3c4d+AQ…; the ledger prints it as its verifier key"
        try:
            name, hexed, encoded = verifier_key.strip().split("+", 2)
            raw = decode_base64(encoded)
        except ValueError as exc:
            raise UsageError("not a verifier key", hint=hint) from exc
        if raw[:1] != ED25519 or len(raw) != 33 or not _NAME.fullmatch(name):
            raise UsageError("not an Ed25519 verifier key", hint=hint)
        made = cls(name, raw[1:])
        if hexed != made.key_id.hex():
            raise UsageError(f"the verifier key of {name} is damaged: its id does not fit", hint=hint)
        return made

    @cached_property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return key_id(self.name, ED25519 + self.public)

    @property
    def verifier_key(self) -> str:
        """The text form."""
        encoded = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> bool:
        """Check one Ed25519 signature over the text of a note."""
        try:
            self._key.verify(signature, text.encode())
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            return False
        return True

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.public)


@dataclass(frozen=True)
class NoteSigner:
    """The key that signs checkpoints; `name` is the origin of the log, such as `example.com/pictures`."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, name: str) -> NoteSigner:
        """Make a new key."""
        return cls(checked_name(name), Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes | str, name: str) -> NoteSigner:
        """Read a PKCS #8 private key.

        Raises:
            KeyUnavailable: when it is no unencrypted Ed25519 key.
        """
        raw = pem.encode() if isinstance(pem, str) else pem
        hint = "give the PEM file that the ledger was made with"
        try:
            key = serialization.load_pem_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise KeyUnavailable("the ledger's signing key cannot be read", hint=hint) from exc
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnavailable("the ledger's signing key is not an Ed25519 key", hint=hint)
        return cls(checked_name(name), key)

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PKCS #8; keep it in a file that only its owner reads."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @cached_property
    def verifier(self) -> NoteVerifier:
        """The public half."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return NoteVerifier(self.name, raw)

    @property
    def verifier_key(self) -> str:
        """The public half as text: `name+id+base64`, to be published."""
        return self.verifier.verifier_key

    def sign(self, text: str) -> str:
        """Return the note: `text` (which ends in a newline), an empty line, and the signature line."""
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n— {self.name} {base64.b64encode(signature).decode()}\n"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A tree head: `root` is hex, `note` the signed text (empty where it stands for itself, unsigned)."""

    origin: str
    size: int
    root: str
    note: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """What is signed: origin, size and base64 root, a line each."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(bytes.fromhex(self.root)).decode()}\n"

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"origin": self.origin, "size": self.size, "root": self.root, "note": self.note}


def key_id(name: str, typed_key: bytes) -> bytes:
    """Return the four bytes that name a key; `typed_key` is the signature type byte and the key."""
    return hashlib.sha256(name.encode() + b"\n" + typed_key).digest()[:4]


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Split a note into its text and its signatures (key name; key id and signature bytes).

    Raises:
        LedgerTampered: when it is not a well-formed note.
    """
    if len(note) > MAX_NOTE or not note.endswith("\n") or _CONTROL.search(note):
        raise LedgerTampered("not a signed note")
    head, gap, tail = note.rpartition("\n\n")
    lines = tail[:-1].split("\n")
    if not gap or not head or len(lines) > MAX_SIGNATURES:
        raise LedgerTampered("not a signed note: it has no signatures, or too many")
    signatures: list[tuple[str, bytes]] = []
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or not _NAME.fullmatch(parts[1]):
            raise LedgerTampered("not a signed note: a signature line is malformed")
        try:
            raw = decode_base64(parts[2])
        except ValueError as exc:
            raise LedgerTampered("not a signed note: a signature is not base64") from exc
        if len(raw) < 5:
            raise LedgerTampered("not a signed note: a signature is too short")
        signatures.append((parts[1], raw))
    return head + "\n", signatures


def open_note(note: str, verifiers: Sequence[NoteVerifier]) -> str:
    """Return the text of a note that at least one of `verifiers` signed.

    Signatures of unknown keys are passed over; a wrong signature of a known key spoils the whole note.

    Raises:
        LedgerTampered: when the note is malformed, or not signed as asked.
    """
    text, signatures = split_note(note)
    good = False
    for name, raw in signatures:
        for verifier in verifiers:
            if verifier.name == name and verifier.key_id == raw[:4]:
                if not verifier.verify(text, raw[4:]):
                    raise LedgerTampered(f"the signature of {name} is wrong")
                good = True
    if not good:
        known = ", ".join(verifier.name for verifier in verifiers)
        raise LedgerTampered(f"the note is not signed by {known}")
    return text


def parse_checkpoint(note: str, verifier: NoteVerifier) -> Checkpoint:
    """Check the signature of a checkpoint by the log `verifier` and return what it says.

    Raises:
        LedgerTampered: when it is malformed, of another log, or not signed by that key.
    """
    text = open_note(note, [verifier])
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _DECIMAL.fullmatch(lines[1]):
        raise LedgerTampered("not a checkpoint")
    try:
        root = decode_base64(lines[2])
    except ValueError as exc:
        raise LedgerTampered("not a checkpoint: its root is not base64") from exc
    if len(root) != HASH_SIZE:
        raise LedgerTampered("not a checkpoint: its root is not 32 bytes")
    if lines[0] != verifier.name:
        raise LedgerTampered(f"a checkpoint of another log, not of {verifier.name}")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root.hex(), note=note)


def decode_base64(text: str) -> bytes:
    """Decode standard base64, strictly: one text for one value. ValueError otherwise."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise ValueError("not base64") from exc
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def checked_name(name: str) -> str:
    """Return a name that can stand in a signature line.

    Raises:
        UsageError: when it cannot.
    """
    if not _NAME.fullmatch(name) or _CONTROL.search(name):
        raise UsageError(
            f"{name!r} cannot name a log",
            hint="use a name without spaces and plus signs: example.com/pictures",
        )
    return name
