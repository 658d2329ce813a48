"""What is held is sealed by two secrets that lie apart, and persons are told apart without their names.

The key of an item is HKDF-SHA256 (RFC 5869) over the vault key with a random salt. The salt is personal data
of the event that opened the review, so the ledger keeps it under the key of the person who asked: erasing
that person makes the item unreadable wherever a copy of it lies. Payloads are sealed with AES-256-GCM, bound
to the review and to what they are. Persons are compared by HMAC-SHA256 under a key of their own, over the
review and the person: the hashes in one review tell two persons apart and tell nothing across reviews.
"""

from __future__ import annotations

import hmac
import os
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clearmark.core.errors import KeyUnavailable, LedgerTampered

__all__ = ["SALT_SIZE", "Sealer"]

SALT_SIZE = 32
_NONCE_SIZE = 12
_KEY_SIZE = 32


class Sealer:
    """Seals payloads and hashes persons under a vault key of 32 bytes."""

    def __init__(self, vault_key: bytes) -> None:
        if len(vault_key) != _KEY_SIZE:
            raise KeyUnavailable("the vault key must be 32 bytes", hint="restore it from its backup")
        self._items = _derive(vault_key, None, b"clearmark review items v1")
        self._persons = _derive(vault_key, None, b"clearmark review persons v1")

    def seal(self, data: bytes, *, salt: bytes, review_id: str, part: str) -> bytes:
        """Encrypt `data`: nonce, ciphertext and tag."""
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._cipher(salt).encrypt(nonce, data, _bind(review_id, part))

    def open(self, sealed: bytes, *, salt: bytes, review_id: str, part: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            LedgerTampered: when the bytes are not those that were sealed for this review and part.
        """
        try:
            return self._cipher(salt).decrypt(
                sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], _bind(review_id, part)
            )
        except (InvalidTag, ValueError) as exc:
            raise LedgerTampered(
                f"what review {review_id} holds was changed", hint="reject it; it cannot be released"
            ) from exc

    def person(self, name: str, *, review_id: str) -> str:
        """Return the keyed hash of a person within one review: 32 hex digits.

        Case, width and surrounding space make no other person of somebody.
        """
        plain = unicodedata.normalize("NFKC", name).casefold().strip()
        text = review_id.encode() + b"\x00" + plain.encode("utf-8", "surrogatepass")
        return hmac.digest(self._persons, text, "sha256").hex()[:32]

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(_derive(self._items, salt, b"clearmark review seal v1"))


def _derive(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_SIZE, salt=salt, info=info).derive(secret)


def _bind(review_id: str, part: str) -> bytes:
    return review_id.encode() + b"\x00" + part.encode()
