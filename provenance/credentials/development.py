"""A certificate authority of one's own, for development and for closed networks.

The leaf follows the certificate profile of C2PA 2.4 (section 14.5) as far as a private authority may:
version 3, critical basic constraints and key usage, both key identifiers, organisation and country, at most a
year. It carries no C2PA certificate policy and no assurance level, because nobody has assessed it.

Why the leaf has two extended key usages: validators without a trust configuration accept only leaves that
carry emailProtection, and C2PA asks for its own. With both, the same leaf is well formed everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder

__all__ = [
    "C2PA_CLAIM_SIGNING",
    "DevelopmentCredentials",
    "issue_development_leaf",
    "make_development_ca",
    "renew_development_leaf",
]

C2PA_CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"
"""The extended key usage of C2PA claim signers."""

EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
LEAF_DAYS = 365
ROOT_DAYS = 3650


@dataclass(frozen=True, kw_only=True)
class DevelopmentCredentials:
    """PEM bytes: the root to trust, the chain and the key to sign with, and the root's key for renewals.

    `key_pem` and `root_key_pem` are secrets (PKCS#8, not encrypted): keep them in files of mode 0600.
    """

    root_pem: bytes
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    root_key_pem: bytes = field(repr=False)


def make_development_ca(
    *,
    organization: str = "clearmark development",
    common_name: str = "clearmark development signer",
    country: str = "XX",
    leaf_days: int = LEAF_DAYS,
    now: datetime | None = None,
) -> DevelopmentCredentials:
    """Make a root and a leaf (ECDSA P-256). Every call makes another root: trust is per installation."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    now = now or datetime.now(UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    name = _name(country, organization, f"{organization} root {x509.random_serial_number() % 16**8:08x}")
    builder = _builder(name, name, root_key, now, now + timedelta(days=ROOT_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root = DevelopmentCredentials(
        root_pem=_pem(_sign(_usage(builder, authority=True), root_key, root_key)),
        chain_pem=b"",
        key_pem=b"",
        root_key_pem=_key_pem(root_key),
    )
    chain_pem, key_pem = issue_development_leaf(
        root, common_name=common_name, not_before=now, not_after=now + timedelta(days=leaf_days)
    )
    return replace(root, chain_pem=chain_pem, key_pem=key_pem)


def renew_development_leaf(
    credentials: DevelopmentCredentials, *, leaf_days: int = LEAF_DAYS, now: datetime | None = None
) -> DevelopmentCredentials:
    """Return the same root with a new leaf and a new key: what was trusted before stays trusted."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    old = x509.load_pem_x509_certificates(credentials.chain_pem)[0]
    now = now or datetime.now(UTC)
    chain_pem, key_pem = issue_development_leaf(
        credentials,
        common_name=str(old.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value),
        not_before=now,
        not_after=now + timedelta(days=leaf_days),
    )
    return replace(credentials, chain_pem=chain_pem, key_pem=key_pem)


def issue_development_leaf(
    credentials: DevelopmentCredentials,
    *,
    common_name: str,
    not_after: datetime,
    not_before: datetime | None = None,
    usages: tuple[str, ...] = (C2PA_CLAIM_SIGNING, EMAIL_PROTECTION),
    critical_usage: bool = False,
    ocsp_url: str = "",
) -> tuple[bytes, bytes]:
    """Return the certificate and the key (PEM, PKCS#8) of a new leaf under the development root.

    `ocsp_url` is where the leaf says that it can be asked whether it was revoked.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

    root = x509.load_pem_x509_certificate(credentials.root_pem)
    root_key = load_pem_private_key(credentials.root_key_pem, None)
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    country, organization = (
        str(root.subject.get_attributes_for_oid(oid)[0].value)
        for oid in (NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME)
    )
    subject = _name(country, organization, common_name)
    builder = _builder(subject, root.subject, key, not_before or datetime.now(UTC), not_after)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(one) for one in usages])
    builder = _usage(builder, authority=False).add_extension(usage, critical=critical_usage)
    if ocsp_url:
        place = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp_url)
        )
        builder = builder.add_extension(x509.AuthorityInformationAccess([place]), critical=False)
    return _pem(_sign(builder, root_key, key)), _key_pem(key)


def _name(country: str, organization: str, common_name: str) -> object:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, country),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: object,
    issuer: object,
    key: EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
) -> CertificateBuilder:
    from cryptography import x509

    assert isinstance(subject, x509.Name)
    assert isinstance(issuer, x509.Name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that runs a little behind must not find a certificate from the future.
        .not_valid_before(not_before - timedelta(hours=1))
        .not_valid_after(not_after)
    )


def _usage(builder: CertificateBuilder, *, authority: bool) -> CertificateBuilder:
    from cryptography import x509

    return builder.add_extension(
        x509.KeyUsage(
            digital_signature=not authority,
            content_commitment=not authority,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=authority,
            crl_sign=authority,
            encipher_only=False,
            decipher_only=False,
        ),
        critical=True,
    )


def _sign(
    builder: CertificateBuilder, issuer_key: EllipticCurvePrivateKey, key: EllipticCurvePrivateKey
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return (
        builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
