"""The signer's certificate, and whether its purpose allows it to sign claims.

The C2PA library accepts a certificate whose only purpose is time stamping. C2PA 2.4, section 14.5.1, does
not: a claim signer has one of the purposes for claims, and never `anyExtendedKeyUsage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clearmark.core.errors import MediaError
from clearmark.provenance.credentials._cbor import Tagged, decode
from clearmark.provenance.credentials.jumbf import find_content
from clearmark.provenance.credentials.trust import TRUSTED_USAGES

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["fingerprint", "may_sign_claims", "signing_certificate"]

_ANY = "2.5.29.37.0"
_X5CHAIN = (33, "x5chain")
_COSE_SIGN1 = 18


def signing_certificate(store: bytes, manifest: str) -> Certificate:
    """Return the leaf certificate in the signature of `manifest`.

    Raises:
        MediaError: when there is none, or it does not parse.
    """
    from cryptography import x509

    content = find_content(store, manifest, "c2pa.signature")
    if content is None:
        raise MediaError("the manifest has no signature box")
    envelope = decode(content)
    if isinstance(envelope, Tagged) and envelope.tag == _COSE_SIGN1:
        envelope = envelope.value
    if not isinstance(envelope, list) or len(envelope) != 4:
        raise MediaError("the signature is no COSE_Sign1")
    protected = decode(envelope[0]) if isinstance(envelope[0], bytes) and envelope[0] else {}
    leaf = _leaf(protected) or _leaf(envelope[1])
    if leaf is None:
        raise MediaError("the signature carries no certificate")
    try:
        return x509.load_der_x509_certificate(leaf)
    except ValueError as exc:
        raise MediaError("the signer's certificate does not parse") from exc


def may_sign_claims(certificate: Certificate) -> bool:
    """Say whether the certificate's extended key usage allows claims."""
    from cryptography import x509

    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    names = {usage.dotted_string for usage in usages}
    return bool(names & set(TRUSTED_USAGES)) and _ANY not in names


def fingerprint(certificate: Certificate) -> str:
    """Return the hex SHA-256 of the certificate's DER form."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()


def _leaf(headers: Any) -> bytes | None:
    if not isinstance(headers, dict):
        return None
    for name in _X5CHAIN:
        chain = headers.get(name)
        if isinstance(chain, list) and chain:
            chain = chain[0]
        if isinstance(chain, bytes):
            return chain
    return None
