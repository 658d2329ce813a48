"""Personal data: sealed under one key per subject, so that destroying the key destroys the data.

The recorded body holds, for every personal value, `HMAC-SHA256(salt, name || 0x00 || value)`. The salt is
32 bytes derived (HKDF, RFC 5869) from the subject's data key, the event id and the name: recording an event
twice gives the same bytes, one salt can be shown to an auditor without showing another, and all are gone with
the key. Values are sealed with AES-256-GCM, bound to event and name. Data keys are random, wrapped by the
vault key.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clearmark.core.errors import KeyUnavailable, LedgerTampered

__all__ = ["COMMITMENT", "DataKey", "Vault"]

COMMITMENT = "hmac-sha256:"
"""What a commitment begins with; 64 hex digits follow."""

KEY_SIZE = 32
NONCE_SIZE = 12


@dataclass(frozen=True)
class DataKey:
    """The key of one subject, unwrapped."""

    key_id: str
    secret: bytes = field(repr=False)

    def salt(self, event_id: str, name: str) -> bytes:
        """Return the 32-byte salt of one value of one event."""
        return _derive(self.secret, b"clearmark salt v1", event_id.encode(), name.encode())

    def commit(self, event_id: str, name: str, value: bytes) -> str:
        """Return the commitment that stands in the recorded body."""
        tag = hmac.digest(self.salt(event_id, name), name.encode() + b"\x00" + value, "sha256")
        return COMMITMENT + tag.hex()

    def seal(self, event_id: str, name: str, value: bytes) -> bytes:
        """Encrypt one value: nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, value, _bind(event_id, name))

    def open(self, event_id: str, name: str, sealed: bytes) -> bytes:
        """Decrypt one value.

        Raises:
            LedgerTampered: when the bytes are not those that were sealed for this event and name.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], _bind(event_id, name))
        except (InvalidTag, ValueError) as exc:
            raise LedgerTampered(f"the personal data {name!r} of event {event_id} was changed") from exc

    @property
    def _cipher(self) -> AESGCM:
        return AESGCM(_derive(self.secret, b"clearmark seal v1"))


class Vault:
    """Wraps and unwraps data keys under the vault key: 32 bytes that never enter the database."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise KeyUnavailable(
                "the vault key must be 32 bytes", hint="make one with `openssl rand 32`, and keep it safe"
            )
        self._wrap = AESGCM(_derive(key, b"clearmark wrap v1"))
        self._index = _derive(key, b"clearmark subject index v1")
        self._spool = _derive(key, b"clearmark spool v1")
        self.check = _derive(key, b"clearmark vault check v1").hex()
        """By which a ledger knows its vault key again; tells nothing about the key."""

    def reference(self, kind: str, name: str) -> bytes:
        """Return the keyed hash under which a subject's key is found: no name stands in the database."""
        return hmac.digest(
            self._index, kind.encode() + b"\x00" + name.encode("utf-8", "surrogatepass"), "sha256"
        )

    def spool_key(self, salt: bytes) -> bytes:
        """Return the key of one file of events that wait."""
        return _derive(self._spool, b"file", salt)

    def make(self, key_id: str) -> tuple[DataKey, bytes]:
        """Make a data key; return it and its wrapped form."""
        secret, nonce = os.urandom(KEY_SIZE), os.urandom(NONCE_SIZE)
        return DataKey(key_id, secret), nonce + self._wrap.encrypt(nonce, secret, key_id.encode())

    def unwrap(self, key_id: str, wrapped: bytes) -> DataKey:
        """Return the data key of its wrapped form.

        Raises:
            LedgerTampered: when those bytes are not what this vault wrapped under that id.
        """
        try:
            secret = self._wrap.decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], key_id.encode())
        except (InvalidTag, ValueError) as exc:
            raise LedgerTampered(f"the data key {key_id} was changed") from exc
        return DataKey(key_id, secret)


def _derive(secret: bytes, *context: bytes) -> bytes:
    """HKDF-SHA256 without salt, one block of output; the context parts are length-prefixed."""
    info = b"".join(len(part).to_bytes(4, "big") + part for part in context)
    extracted = hmac.digest(b"\x00" * 32, secret, sha256)
    return hmac.digest(extracted, info + b"\x01", sha256)


def _bind(event_id: str, name: str) -> bytes:
    return event_id.encode() + b"\x00" + name.encode()
