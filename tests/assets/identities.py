"""Certificates of people and organisations, and manifests that bear them, for the tests of identities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clearmark.provenance.credentials import LedgerRef, ManifestSpec, SoftBinding
from clearmark.provenance.credentials.development import EMAIL_PROTECTION

MARK = "0123456789abcdef"
SPEC = ManifestSpec(
    mark_id=MARK,
    ledger=LedgerRef(event_id="018f", leaf_hash="cd" * 32, log="log.example/1"),
    bindings=(SoftBinding(alg="io.clearmark.test", value=MARK), SoftBinding(alg="io.iscc.v0", value="I")),
    training_mining={"ai_generative_training": "notAllowed"},
)


def only(found):
    (identity,) = found.identities
    return identity


def issued(ca, key, name, *, issuer=None, issuer_key=None, authority=False, length=None, extra=(), days=9):
    """Return a certificate (PEM) with whatever is wrong with it."""
    issuer = issuer or x509.load_pem_x509_certificate(ca.root_pem).subject
    issuer_key = issuer_key or serialization.load_pem_private_key(ca.root_key_pem, None)
    now = datetime.now(UTC)
    usage = {
        "digital_signature": not authority,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": authority,
        "crl_sign": authority,
        "encipher_only": False,
        "decipher_only": False,
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=length), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not authority:
        email = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EMAIL_PROTECTION)])
        builder = builder.add_extension(email, critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def subject(name):
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Org"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def new_key():
    return ec.generate_private_key(ec.SECP256R1())
