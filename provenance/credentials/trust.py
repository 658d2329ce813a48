"""Whom to believe: trust anchors, and the settings under which the C2PA library reads and writes.

Two traps of the library are closed here. Without a `trust_config` it accepts no leaf that carries C2PA's own
extended key usage alone, and calls it invalid. And unknown settings are accepted in silence, so all of them
are made in this one place.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "STAMPS_ONLY",
    "TRUSTED_USAGES",
    "Anchor",
    "anchors_of",
    "certificates_of",
    "context",
    "pem_blocks",
    "settings",
]

TRUSTED_USAGES = (
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
    "1.3.6.1.5.5.7.3.36",  # document signing
    "1.3.6.1.5.5.7.3.4",  # e-mail protection: what most signers of 2022 to 2026 carry
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's media signing
)
"""Extended key usages of claim signers. The list replaces the library's own."""

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_MAX_TRUST_BYTES = 8 * 1024 * 1024

STAMPS_ONLY = "[user_anchors]"
"""How the library words that an anchor was found in the list for time stamps."""

_lock = threading.Lock()
_contexts: dict[tuple[int, bytes, bytes, bool], Any] = {}


def pem_blocks(pem: bytes | str) -> bytes:
    """Return the certificates of a trust list without the words that published lists put between them.

    Raises:
        UsageError: when there is no certificate in it, or when one does not parse.
    """
    from cryptography import x509

    data = pem.encode() if isinstance(pem, str) else pem
    if len(data) > _MAX_TRUST_BYTES:
        raise UsageError(f"a trust list of {len(data):,} bytes; at most {_MAX_TRUST_BYTES:,} are read")
    blocks = b"\n".join(_BLOCK.findall(data)) + b"\n"
    try:
        x509.load_pem_x509_certificates(blocks)
    except ValueError as exc:
        raise UsageError(
            "no readable certificate among the trust anchors",
            hint="a trust list is a PEM file: blocks from BEGIN CERTIFICATE to END CERTIFICATE",
        ) from exc
    return blocks


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """One certificate of a trust list: whom it names, until when, and the hex SHA-256 of its DER form."""

    subject: str
    expires: datetime
    sha256: str


def anchors_of(pem: bytes | str) -> tuple[Anchor, ...]:
    """Return what a trust list holds, in its order and each certificate once.

    Raises:
        UsageError: when there is no certificate in it, or when one does not parse.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    found = [
        Anchor(
            subject=one.subject.rfc4514_string(),
            expires=one.not_valid_after_utc,
            sha256=one.fingerprint(hashes.SHA256()).hex(),
        )
        for one in x509.load_pem_x509_certificates(pem_blocks(pem))
    ]
    return tuple(dict.fromkeys(found))


def certificates_of(pem: bytes | str) -> tuple[Certificate, ...]:
    """Return the certificates of a trust list, each once.

    Raises:
        UsageError: when there is no certificate in it, or when one does not parse.
    """
    from cryptography import x509

    return tuple(dict.fromkeys(x509.load_pem_x509_certificates(pem_blocks(pem))))


def context(
    trust_anchors_pem: bytes | None,
    timestamp_anchors_pem: bytes | None = None,
    *,
    ask_revocation: bool = False,
) -> Any:
    """Return the library's context for these anchors; None trusts nobody. One per process.

    `ask_revocation` lets the library ask the address that a signer's certificate names for its OCSP answer.
    """
    anchors = _clean(trust_anchors_pem) if trust_anchors_pem else b""
    stamps = _clean(timestamp_anchors_pem) if timestamp_anchors_pem else b""
    # A context is dead after a fork: the process id is part of the key.
    key = (os.getpid(), anchors, stamps, ask_revocation)
    with _lock:
        if key not in _contexts:
            if len(_contexts) >= 16:
                _contexts.pop(next(iter(_contexts)))
            _contexts[key] = _make(anchors, stamps, ask_revocation)
        return _contexts[key]


@cache
def _clean(pem: bytes) -> bytes:
    return pem_blocks(pem)


def _make(anchors: bytes, stamps: bytes, ask_revocation: bool) -> Any:
    import c2pa

    return c2pa.Context.from_dict(settings(anchors, stamps, ask_revocation=ask_revocation))


def settings(anchors: bytes = b"", stamps: bytes = b"", *, ask_revocation: bool = False) -> dict[str, Any]:
    """Return all settings of the library that are ever made; the anchors are clean PEM."""
    trust: dict[str, Any] = {"trust_config": "\n".join(TRUSTED_USAGES) + "\n"}
    if anchors:
        trust["trust_anchors"] = anchors.decode("ascii")
    if stamps:
        # The library has one trust for signers and time stamps, but says by which of two lists it was found;
        # the reader takes nobody for a signer who stands in this one only.
        trust["user_anchors"] = stamps.decode("ascii")
    return {
        "verify": {
            # Whatever is signed is read back and judged by us, more strictly than the library does.
            "verify_after_sign": False,
            # Nothing is fetched from the network because a file says so, unless somebody asks for that.
            "remote_manifest_fetch": False,
            "ocsp_fetch": ask_revocation,
        },
        # Identity assertions are checked here, from the bytes. The library would look up the host that one
        # names as its issuer: whoever made a file would learn who looks at it.
        "core": {"decode_identity_assertions": False},
        "trust": trust,
        "builder": {"thumbnail": {"enabled": False}},
    }
