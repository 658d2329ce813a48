"""Cosignatures (C2SP tlog-cosignature v1, Ed25519): what a witness says about a checkpoint, and when."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clearmark.audits.ledger._notes import NoteSigner, NoteVerifier, decode_base64, key_id, split_note
from clearmark.core.errors import UsageError

__all__ = ["Cosigner", "WitnessKey", "cosigned_by", "with_signatures"]

COSIGNATURE = b"\x04"
"""The signature type byte of timestamped Ed25519 cosignatures."""


@dataclass(frozen=True)
class WitnessKey:
    """The public key of a witness."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read `name+id+base64`.

        Raises:
            UsageError: when it is no key of a witness.
        """
        hint = "the witness prints its key when it starts: name+1a2b3c4d+BA…"
        try:
            name, hexed, encoded = text.strip().split("+", 2)
            raw = decode_base64(encoded)
        except ValueError as exc:
            raise UsageError("not the key of a witness", hint=hint) from exc
        made = cls(name, raw[1:])
        if raw[:1] != COSIGNATURE or len(raw) != 33 or made.key_id.hex() != hexed:
            raise UsageError("not the key of a witness, or damaged", hint=hint)
        return made

    @cached_property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signature line."""
        return key_id(self.name, COSIGNATURE + self.public)

    def __str__(self) -> str:
        encoded = base64.b64encode(COSIGNATURE + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """Return the time (seconds since 1970) of a good cosignature over the text of a checkpoint."""
        if len(signature) != 72:
            return None
        stamp = int.from_bytes(signature[:8], "big")
        said = _message(text, stamp)
        return stamp if NoteVerifier(self.name, self.public).verify(said, signature[8:]) else None


class Cosigner:
    """The private key of a witness."""

    def __init__(self, name: str, pem: bytes) -> None:
        # The same kinds of names and keys as of a log; only what is signed differs.
        checked = NoteSigner.from_pem(pem, name)
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, Ed25519PrivateKey)
        self._key = key
        self.key = WitnessKey(name, checked.verifier.public)

    def cosign(self, text: str) -> str:
        """Return the signature line over the text of a checkpoint, as of now."""
        stamp = int(time.time())
        signature = self._key.sign(_message(text, stamp).encode())
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


def _message(text: str, stamp: int) -> str:
    return f"cosignature/v1\ntime {stamp}\n{text}"
