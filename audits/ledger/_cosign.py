"""Cosignatures (C2SP tlog-cosignature): what a witness says about a checkpoint, and when.

Two kinds: Ed25519 (type 0x04), and ML-DSA-44 of FIPS 204 (type 0x06), safe from quantum computers too. A log
uses the second kind itself, as a second signature on its checkpoints. Programs that know only Ed25519, like
Go's `sumdb/note`, pass over lines of keys that they were not given.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from clearmark.audits.ledger._merkle import HASH_SIZE
from clearmark.audits.ledger._notes import NoteVerifier, checked_name, decode_base64, key_id, split_note
from clearmark.core.errors import KeyUnavailable, UsageError

__all__ = ["Cosigner", "WitnessKey", "cosigned_by", "with_signatures"]

ED25519 = b"\x04"
"""The signature type byte of timestamped Ed25519 cosignatures."""

ML_DSA_44 = b"\x06"
"""The signature type byte of timestamped ML-DSA-44 cosignatures."""

_SIZES = {ED25519: (32, 64), ML_DSA_44: (1312, 2420)}
"""Bytes of a public key and of a signature."""


@dataclass(frozen=True)
class WitnessKey:
    """The public key of a witness, or the second public key of a log; `kind` is its signature type byte."""

    name: str
    public: bytes
    kind: bytes = ED25519

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read `name+id+base64`.

        Raises:
            UsageError: when it is no key of a witness.
        """
        hint = "the witness prints its key when it starts: name+1a2b3c4d+BA… or name+1a2b3c4d+Bg…"
        try:
            name, hexed, encoded = text.strip().split("+", 2)
            raw = decode_base64(encoded)
        except ValueError as exc:
            raise UsageError("not the key of a witness", hint=hint) from exc
        made = cls(name, raw[1:], raw[:1])
        size = _SIZES.get(made.kind, (0, 0))[0]
        if not size or len(made.public) != size or made.key_id.hex() != hexed:
            raise UsageError("not the key of a witness, or damaged", hint=hint)
        return made

    @cached_property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return key_id(self.name, self.kind + self.public)

    def __str__(self) -> str:
        encoded = base64.b64encode(self.kind + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """Return the time (seconds since 1970) of a good cosignature over the text of a checkpoint."""
        if len(signature) != 8 + _SIZES[self.kind][1]:
            return None
        stamp = int.from_bytes(signature[:8], "big")
        try:
            said = _message(self, text, stamp)
            if self.kind == ED25519:
                good = NoteVerifier(self.name, self.public).verify(said.decode(), signature[8:])
                return stamp if good else None
            MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], said)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            return None
        return stamp


class Cosigner:
    """The private key of a witness, or the second one of a log, read from PKCS #8.

    Raises:
        KeyUnavailable: when it is neither an unencrypted Ed25519 nor an ML-DSA-44 key.
    """

    def __init__(self, name: str, pem: bytes) -> None:
        checked_name(name)
        hint = "give a PEM file with an Ed25519 or ML-DSA-44 key"
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise KeyUnavailable(f"the signing key of {name} cannot be read", hint=hint) from exc
        if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
            raise KeyUnavailable(f"the signing key of {name} is of another kind", hint=hint)
        self._key = key
        kind = ED25519 if isinstance(key, Ed25519PrivateKey) else ML_DSA_44
        self.key = WitnessKey(name, key.public_key().public_bytes_raw(), kind)

    @staticmethod
    def generate_pem() -> bytes:
        """Make a new ML-DSA-44 key, as unencrypted PKCS #8."""
        return MLDSA44PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def cosign(self, text: str) -> str:
        """Return the signature line over the text of a checkpoint, as of now."""
        stamp = int(time.time())
        signature = self._key.sign(_message(self.key, text, stamp))
        raw = self.key.key_id + stamp.to_bytes(8, "big") + signature
        return f"— {self.key.name} {base64.b64encode(raw).decode()}\n"


def cosigned_by(note: str, witnesses: Sequence[WitnessKey]) -> dict[str, int]:
    """Return which of `witnesses` cosigned a note, and when; wrong signatures do not count.

    Raises:
        LedgerTampered: when it is no note.
    """
    text, signatures = split_note(note)
    found: dict[str, int] = {}
    for name, raw in signatures:
        for witness in witnesses:
            if witness.name == name and witness.key_id == raw[:4]:
                stamp = witness.verify(text, raw[4:])
                if stamp is not None:
                    found[str(witness)] = stamp
    return found


def with_signatures(note: str, lines: Sequence[str]) -> str:
    """Return a note with more signature lines; those that it has already are left out."""
    have = set(note.splitlines(keepends=True))
    return note + "".join(line for line in dict.fromkeys(lines) if line not in have)


def _message(key: WitnessKey, text: str, stamp: int) -> bytes:
    """Return what is signed over the text of a checkpoint. ValueError when that is none."""
    if key.kind == ED25519:
        return f"cosignature/v1\ntime {stamp}\n{text}".encode()
    # A `cosigned_message`: the whole tree, from leaf 0 on, and the name of who signs, but no extension lines.
    origin, size, root = text.split("\n")[:3]
    parts = [key.name.encode(), origin.encode()]
    hashed = decode_base64(root)
    if not all(1 <= len(part) < 256 for part in parts) or len(hashed) != HASH_SIZE:
        raise ValueError("not a checkpoint")
    name, log = (bytes([len(part)]) + part for part in parts)
    whole = bytes(8) + int(size).to_bytes(8, "big")
    return b"subtree/v1\n\x00" + name + stamp.to_bytes(8, "big") + log + whole + hashed
