"""Whom to believe: trust anchors, and the settings under which the C2PA library reads and writes.

Two traps of the library are closed here. Without a `trust_config` it accepts no leaf that carries C2PA's own
extended key usage alone, and calls it invalid. And unknown settings are accepted in silence, so all of them
are made in this one place.
"""

from __future__ import annotations

import os
import re
import threading
from functools import cache
from typing import Any

from clearmark.core.errors import UsageError

__all__ = ["TRUSTED_USAGES", "context", "pem_blocks"]

TRUSTED_USAGES = (
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
    "1.3.6.1.5.5.7.3.36",  # document signing
    "1.3.6.1.5.5.7.3.4",  # e-mail protection: what most signers of 2022 to 2026 carry
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's media signing
)
"""Extended key usages of claim signers. The list replaces the library's own."""

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_MAX_TRUST_BYTES = 8 * 1024 * 1024

_lock = threading.Lock()
_contexts: dict[tuple[int, bytes], Any] = {}


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


def context(trust_anchors_pem: bytes | None) -> Any:
    """Return the library's context for these anchors; None trusts nobody. One per process."""
    anchors = _clean(trust_anchors_pem) if trust_anchors_pem else b""
    # A context is dead after a fork: the process id is part of the key.
    key = (os.getpid(), anchors)
    with _lock:
        if key not in _contexts:
            if len(_contexts) >= 16:
                _contexts.pop(next(iter(_contexts)))
            _contexts[key] = _make(anchors)
        return _contexts[key]


@cache
def _clean(pem: bytes) -> bytes:
    return pem_blocks(pem)


def _make(anchors: bytes) -> Any:
    import c2pa

    trust: dict[str, Any] = {"trust_config": "\n".join(TRUSTED_USAGES) + "\n"}
    if anchors:
        trust["trust_anchors"] = anchors.decode("ascii")
    return c2pa.Context.from_dict(
        {
            "verify": {
                # Whatever is signed is read back and judged by us, more strictly than the library does.
                "verify_after_sign": False,
                # Nothing is fetched from the network because a file says so.
                "remote_manifest_fetch": False,
                "ocsp_fetch": False,
            },
            "trust": trust,
            "builder": {"thumbnail": {"enabled": False}},
        }
    )
