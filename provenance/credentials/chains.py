"""From a certificate to an anchor: the path, and the purpose that a certificate was issued for.

The C2PA library judges claim signers. Whoever signs an identity assertion is judged here, against a list of
their own (CAWG Identity Assertion 1.2, section 8.2: it need not be the claim signers').
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from clearmark.core.errors import MediaError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["MAX_CHAIN", "is_signer_certificate", "is_vouched_for", "load_certificates"]

MAX_CHAIN = 8
"""Most certificates that a signature may bring along, and the longest path that is followed."""

_MAX_CHECKS = 64
"""Signatures of certificates that are checked for one path: cross-signed issuers must not multiply."""

_ANY = "2.5.29.37.0"
_KNOWN_CRITICAL = {
    "2.5.29.14",  # subject key identifier
    "2.5.29.15",  # key usage
    "2.5.29.17",  # subject alternative name
    "2.5.29.19",  # basic constraints
    "2.5.29.32",  # certificate policies
    "2.5.29.35",  # authority key identifier
    "2.5.29.37",  # extended key usage
}


def load_certificates(chain: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return the certificates of a signature, the leaf first.

    Raises:
        MediaError: none, too many, or one that does not parse.
    """
    from cryptography import x509

    if not 1 <= len(chain) <= MAX_CHAIN:
        raise MediaError(f"{len(chain)} certificates; from 1 to {MAX_CHAIN} are read")
    try:
        return tuple(x509.load_der_x509_certificate(one) for one in chain)
    except ValueError as exc:
        raise MediaError("a certificate does not parse") from exc


def is_signer_certificate(certificate: Certificate, usages: Iterable[str]) -> bool:
    """Say whether this is a signer's certificate, no authority's, for one of the extended key `usages`."""
    from cryptography import x509

    try:
        extensions = certificate.extensions
        found = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        signs = extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    names = {usage.dotted_string for usage in found}
    return signs and not _is_authority(certificate) and bool(names & set(usages)) and _ANY not in names


def is_vouched_for(
    certificates: Sequence[Certificate],
    anchors: Sequence[Certificate],
    at: datetime,
    usages: Iterable[str],
) -> bool:
    """Say whether a path leads from the first certificate over the others to an anchor, all valid `at` then.

    An anchor may be a root, an authority below one, or the very certificate. Authorities that are themselves
    limited to purposes must be good for one of `usages`. A critical extension that is not known here, such as
    constraints on names, ends a path.
    """
    wanted = set(usages)
    left = [_MAX_CHECKS]

    def leads(certificate: Certificate, below: int) -> bool:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            return False
        if certificate in anchors:
            return True
        if below >= MAX_CHAIN:
            return False
        for issuer in (*anchors, *certificates[1:]):
            if issuer.subject != certificate.issuer or issuer == certificate:
                continue
            if not _may_issue(issuer, below, wanted):
                continue
            left[0] -= 1
            if left[0] < 0:
                return False
            if _issued(certificate, issuer) and leads(issuer, below + 1):
                return True
        return False

    return _knows(certificates[0]) and leads(certificates[0], 0)


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _may_issue(issuer: Certificate, below: int, usages: set[str]) -> bool:
    """Say whether `issuer` is an authority that may stand over `below` others and for these purposes."""
    from cryptography import x509

    if not _is_authority(issuer) or not _knows(issuer):
        return False
    extensions = issuer.extensions
    length = extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if length is not None and below > length:
        return False
    for one in extensions:
        if isinstance(one.value, x509.KeyUsage) and not one.value.key_cert_sign:
            return False
        if isinstance(one.value, x509.ExtendedKeyUsage):
            names = {usage.dotted_string for usage in one.value}
            if not names & (usages | {_ANY}):
                return False
    return True


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _knows(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return all(one.oid.dotted_string in _KNOWN_CRITICAL for one in certificate.extensions if one.critical)
    except (x509.DuplicateExtension, ValueError):
        return False
