"""Signing identity assertions: where keys may be, of which kinds, and what is not let out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from identities import SPEC, issued, only

from clearmark.core.errors import KeyUnavailable, SigningFailed, UsageError
from clearmark.provenance.credentials import CredentialReader, IdentitySigner, ManifestSigner
from clearmark.provenance.credentials.development import C2PA_CLAIM_SIGNING, issue_development_leaf


def remote(credentials, asked=None, *, der=False):
    """A key service."""
    key = serialization.load_pem_private_key(credentials.key_pem, None)

    def sign(data):
        if asked is not None:
            asked.append(len(data))
        signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
        if der:
            return signature
        r, s = serialization_pair(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def serialization_pair(signature):
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return decode_dss_signature(signature)


@pytest.mark.parametrize("der", [False, True])
@pytest.mark.parametrize("claim_elsewhere", [False, True])
def test_keys_may_be_elsewhere(development, people, encoded, claim_elsewhere, der):
    asked = []
    identity = IdentitySigner.from_callback(people.chain_pem, remote(people, asked, der=der))
    if claim_elsewhere:
        signer = ManifestSigner.from_callback(
            development.chain_pem, remote(development, asked, der=der), identity=identity
        )
    else:
        signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)
    made = signer.sign(encoded(), "image/png", SPEC)
    found = CredentialReader(development.root_pem, identity_anchors_pem=people.root_pem).read(
        made.data, "image/png"
    )
    assert (found.state, only(found).state) == ("trusted", "trusted")
    assert len(asked) == 1 + claim_elsewhere


def test_a_key_service_that_fails_is_the_cause(development, people, encoded):
    def broken(data):
        raise ConnectionError("the key service is down")

    identity = IdentitySigner.from_callback(people.chain_pem, broken)
    signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)
    with pytest.raises(SigningFailed, match="the key service is down"):
        signer.sign(encoded(), "image/png", SPEC)


def test_a_wrong_signature_is_not_let_out(development, people, encoded):
    identity = IdentitySigner.from_callback(people.chain_pem, remote(development))
    signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)
    with pytest.raises(SigningFailed):
        signer.sign(encoded(), "image/png", SPEC)


def test_an_expired_identity_does_not_sign(development, people, encoded):
    past = datetime.now(UTC) - timedelta(days=1)
    chain, key = issue_development_leaf(
        people, common_name="Gone", not_before=past - timedelta(days=9), not_after=past
    )
    signer = ManifestSigner.from_pem(
        development.chain_pem, development.key_pem, identity=IdentitySigner.from_pem(chain, key)
    )
    with pytest.raises(SigningFailed, match="ended on"):
        signer.sign(encoded(), "image/png", SPEC)


def test_what_cannot_be_an_identity_is_refused(development, people):
    soon = datetime.now(UTC) + timedelta(days=9)
    chain, key = issue_development_leaf(
        people, common_name="Tool", not_after=soon, usages=(C2PA_CLAIM_SIGNING,)
    )
    with pytest.raises(KeyUnavailable, match="who somebody is"):
        IdentitySigner.from_pem(chain, key)
    with pytest.raises(KeyUnavailable, match="not the one"):
        IdentitySigner.from_pem(people.chain_pem, development.key_pem)
    with pytest.raises(KeyUnavailable, match="cannot be read"):
        IdentitySigner.from_pem(b"no chain", people.key_pem)
    with pytest.raises(KeyUnavailable, match="who somebody is"):
        IdentitySigner.from_pem(people.root_pem, people.root_key_pem)
    with pytest.raises(UsageError, match="role"):
        IdentitySigner.from_pem(people.chain_pem, people.key_pem, roles=("no role\n",))


@pytest.mark.parametrize("kind", ["es384", "ed25519", "ps256"])
def test_every_kind_of_key_that_c2pa_allows(development, people, encoded, kind):
    key = {
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    chain = issued(people, key, "Somebody")
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    identity = IdentitySigner.from_pem(chain, pem)
    signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)
    made = signer.sign(encoded(), "image/png", SPEC)
    reader = CredentialReader(identity_anchors_pem=people.root_pem)
    assert only(reader.read(made.data, "image/png")).state == "trusted"
