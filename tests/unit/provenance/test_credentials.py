"""Content Credentials: what is signed reads back, and what was touched does not pass."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image

from clearmark.core import Origin
from clearmark.core.errors import KeyUnavailable, SigningFailed, UsageError
from clearmark.provenance.credentials import (
    CredentialReader,
    LedgerRef,
    ManifestSigner,
    ManifestSpec,
    SoftBinding,
    anchors_of,
    make_development_ca,
    pem_blocks,
    renew_development_leaf,
)
from clearmark.provenance.credentials.development import C2PA_CLAIM_SIGNING
from clearmark.provenance.credentials.jumbf import count_manifests
from clearmark.provenance.credentials.store import extract_store, strip_store

MARK = "0123456789abcdef"
MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp"]


def spec(**changes):
    values = {
        "mark_id": MARK,
        "origin": Origin(generator="reference", model="tiny", model_version="2", model_digest="sha256:ab"),
        "ledger": LedgerRef(event_id="018f", leaf_hash="cd" * 32, log="log.example/1"),
        "bindings": (SoftBinding(alg="io.clearmark.test", value=MARK),),
    }
    return ManifestSpec(**{**values, **changes})


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_what_is_signed_reads_back(signer, development, encoded, media_type):
    signed = signer.sign(encoded(media_type), media_type, spec())
    found = CredentialReader(development.root_pem).read(signed.data, media_type)
    assert found.state == "trusted"
    assert found.signer == "clearmark development signer"
    assert found.claim_generator.startswith("clearmark ")
    assert found.digital_source_type.endswith("/trainedAlgorithmicMedia")
    assert [action["action"] for action in found.actions] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert found.actions[0]["software_agent"]["io.clearmark.model_digest"] == "sha256:ab"
    assert found.ledger == {
        "event_id": "018f",
        "leaf_hash": "cd" * 32,
        "log": "log.example/1",
        "mark_id": MARK,
    }
    assert found.bindings == (("io.clearmark.test", MARK),)
    assert found.manifest == signed.mark.label
    assert signed.mark.digest.startswith("sha256:")


def test_the_pixels_are_not_touched(signer, encoded):
    data = encoded()
    signed = signer.sign(data, "image/png", spec())
    assert Image.open(io.BytesIO(signed.data)).tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_a_stranger_finds_a_valid_signature_of_an_untrusted_signer(signer, encoded):
    signed = signer.sign(encoded(), "image/png", spec())
    for anchors in (None, make_development_ca().root_pem):
        found = CredentialReader(anchors).read(signed.data, "image/png")
        assert found.state == "valid"
        assert found.failures == ()
        assert "signingCredential.untrusted" in {check.code for check in found.validation}


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_one_changed_byte_of_the_picture_is_found(signer, development, encoded, media_type):
    data = bytearray(signer.sign(encoded(media_type), media_type, spec()).data)
    plain = encoded(media_type)
    # A byte of the compressed picture: the same run of bytes stands in the signed file.
    run = plain[len(plain) // 2 : len(plain) // 2 + 16]
    position = bytes(data).index(run)
    data[position] ^= 1
    found = CredentialReader(development.root_pem).read(bytes(data), media_type)
    assert found.state == "invalid"
    assert "assertion.dataHash.mismatch" in {check.code for check in found.failures}


@pytest.mark.parametrize("needle", [b"trainedAlgorithmicMedia", b"018f", b"tiny"])
def test_a_changed_statement_is_found(signer, development, encoded, needle):
    data = signer.sign(encoded("image/jpeg"), "image/jpeg", spec()).data
    changed = data.replace(needle, needle[:-1] + b"X")
    assert changed != data
    found = CredentialReader(development.root_pem).read(changed, "image/jpeg")
    assert found.state == "invalid"


def test_a_manifest_pasted_onto_another_picture_is_found(signer, development, encoded, pixels):
    signed = signer.sign(encoded(), "image/png", spec())
    other = encoded(array=pixels[::-1].copy())
    found = CredentialReader(development.root_pem).read(other, "image/png", store=signed.mark.store)
    assert found.state == "invalid"
    assert found.ledger["mark_id"] == MARK
    assert "assertion.dataHash.mismatch" in {check.code for check in found.failures}


def test_a_detached_manifest_fits_its_picture_once_more(signer, development, encoded):
    signed = signer.sign(encoded("image/jpeg"), "image/jpeg", spec())
    found = CredentialReader(development.root_pem).read(signed.data, "image/jpeg", store=signed.mark.store)
    assert found.state == "trusted"


def test_no_manifest_is_absent(encoded):
    for media_type in MEDIA_TYPES:
        assert CredentialReader().read(encoded(media_type), media_type).state == "absent"


def test_an_altered_picture_keeps_its_parent_and_what_that_was_worth(signer, development, encoded, asset_of):
    parent = signer.sign(encoded(), "image/png", spec()).data
    broken = bytearray(parent)
    broken[-3000] ^= 1
    reader = CredentialReader(development.root_pem)
    for data, states in (
        (parent, {"trusted", "valid"}),
        (bytes(broken), {"invalid"}),
        (encoded(), {"absent"}),
    ):
        altered = spec(source="altered", parent=asset_of(data), inputs=(asset_of(encoded()),))
        found = reader.read(signer.sign(encoded(), "image/png", altered).data, "image/png")
        assert found.state == "trusted"
        assert [one.relationship for one in found.ingredients] == ["parentOf", "inputTo"]
        assert found.ingredients[0].state in states
        assert found.digital_source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
        assert [action["action"] for action in found.actions][:2] == ["c2pa.opened", "c2pa.edited"]


@pytest.mark.parametrize(
    ("make_key", "algorithm"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "Es384"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519"),
        (lambda: rsa.generate_private_key(65537, 2048), "Ps256"),
    ],
)
def test_every_kind_of_key_signs(development, encoded, make_key, algorithm):
    key = make_key()
    chain = _issue(development, key)
    signer = ManifestSigner.from_pem(chain, _pem(key))
    found = CredentialReader(development.root_pem).read(
        signer.sign(encoded(), "image/png", spec()).data, "image/png"
    )
    assert (found.state, found.algorithm) == ("trusted", algorithm)


def test_an_encrypted_key_needs_its_password(development, signer, encoded):
    key = serialization.load_pem_private_key(development.key_pem, None)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"correct horse"),
    )
    for wrong in (None, b"battery"):
        with pytest.raises(KeyUnavailable) as raised:
            ManifestSigner.from_pem(development.chain_pem, secret, password=wrong)
        assert "PRIVATE" not in raised.value.diagnostics()
    opened = ManifestSigner.from_pem(development.chain_pem, secret, password=b"correct horse")
    assert opened.sign(encoded(), "image/png", spec()).credentials.state == "valid"
    assert opened.name == signer.name


def test_a_key_of_another_certificate_is_refused(development):
    with pytest.raises(KeyUnavailable, match="not the one"):
        ManifestSigner.from_pem(development.chain_pem, make_development_ca().key_pem)


@pytest.mark.parametrize(("chain", "key"), [(b"", b""), (b"no", b"no")])
def test_what_is_no_pem_is_refused(development, chain, key):
    with pytest.raises(KeyUnavailable):
        ManifestSigner.from_pem(development.chain_pem, key)
    with pytest.raises(KeyUnavailable):
        ManifestSigner.from_pem(chain, development.key_pem)


def test_a_curve_that_c2pa_lacks_is_refused():
    with pytest.raises(KeyUnavailable, match="curve"):
        ManifestSigner.from_pem(b"", _pem(ec.generate_private_key(ec.SECP256K1())))


def test_a_key_that_does_not_answer_is_the_reason(development, encoded):
    def unplugged(_data):
        raise OSError("token removed")

    signer = ManifestSigner.from_callback(development.chain_pem, unplugged)
    with pytest.raises(SigningFailed, match="token removed"):
        signer.sign(encoded(), "image/png", spec())


def test_a_signature_that_the_library_cannot_use_is_made_again(signer, encoded, monkeypatch):
    import c2pa

    sign, calls = c2pa.Builder.sign, []

    def stumbling(self, *args):
        calls.append(1)
        if len(calls) == 1:
            raise c2pa.C2paError.Signature("internal error (empty string)")
        return sign(self, *args)

    monkeypatch.setattr(c2pa.Builder, "sign", stumbling)
    assert signer.sign(encoded(), "image/png", spec()).credentials.state == "valid"
    assert len(calls) == 2


def test_a_wrong_signature_never_leaves(development, encoded):
    stranger = serialization.load_pem_private_key(make_development_ca().key_pem, None)
    signer = ManifestSigner.from_callback(
        development.chain_pem, lambda data: stranger.sign(data, ec.ECDSA(hashes.SHA256()))
    )
    with pytest.raises(SigningFailed, match=r"claimSignature\.mismatch"):
        signer.sign(encoded(), "image/png", spec())


def test_an_ended_certificate_does_not_sign(encoded):
    ended = make_development_ca(now=datetime.now(UTC) - timedelta(days=30), leaf_days=29)
    signer = ManifestSigner.from_pem(ended.chain_pem, ended.key_pem)
    with pytest.raises(SigningFailed, match="ended on"):
        signer.sign(encoded(), "image/png", spec())


@pytest.mark.parametrize(
    "usage", [x509.ExtendedKeyUsageOID.TIME_STAMPING, x509.ExtendedKeyUsageOID.SERVER_AUTH]
)
def test_a_certificate_for_another_purpose_does_not_sign(development, encoded, usage):
    key = ec.generate_private_key(ec.SECP256R1())
    signer = ManifestSigner.from_pem(_issue(development, key, usages=[usage]), _pem(key))
    with pytest.raises(SigningFailed):
        signer.sign(encoded(), "image/png", spec())


def test_a_renewed_leaf_is_trusted_through_the_same_root(development, encoded):
    renewed = renew_development_leaf(development)
    assert renewed.root_pem == development.root_pem
    assert renewed.key_pem != development.key_pem
    signer = ManifestSigner.from_pem(renewed.chain_pem, renewed.key_pem)
    signed = signer.sign(encoded(), "image/png", spec())
    assert CredentialReader(development.root_pem).read(signed.data, "image/png").state == "trusted"


def test_the_development_leaf_follows_the_profile(development):
    leaf = x509.load_pem_x509_certificate(development.chain_pem)
    root = x509.load_pem_x509_certificate(development.root_pem)
    leaf.verify_directly_issued_by(root)
    assert leaf.version is x509.Version.v3
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=366)
    extensions = leaf.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    usages = {oid.dotted_string for oid in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert usages == {C2PA_CLAIM_SIGNING, "1.3.6.1.5.5.7.3.4"}
    key_id = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert key_id
    root_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == root_id


def test_secrets_do_not_show(development, signer):
    assert "PRIVATE KEY" not in repr(development)
    assert "PRIVATE KEY" not in repr(signer)


def test_a_manifest_is_small(signer, encoded):
    data = encoded()
    assert len(signer.sign(data, "image/png", spec()).data) - len(data) < 5_000


def test_training_and_mining_is_stated(signer, encoded):
    stated = spec(training_mining={"ai_generative_training": "notAllowed"})
    signed = signer.sign(encoded(), "image/png", stated)
    assert "cawg.training-mining" in signed.credentials.assertions
    with pytest.raises(UsageError):
        spec(training_mining={"ai_generative_training": "maybe"})


def test_a_source_is_one_of_two_words():
    with pytest.raises(UsageError):
        spec(source="found")


def test_a_trust_list_is_read_with_its_words(development):
    listed = b"Subject: somebody\n\n" + development.root_pem + b"\nSubject: x\n" + development.chain_pem
    assert pem_blocks(listed).count(b"BEGIN CERTIFICATE") == 2
    for bad in (b"", b"words", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"):
        with pytest.raises(UsageError):
            CredentialReader(bad + b" ")


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_long_history_stays_readable(development, encoded, asset_of, media_type):
    # A callback's manifests are padded to 12 kB: seven are beyond 64 kB, where a JPEG needs several segments.
    key = serialization.load_pem_private_key(development.key_pem, None)
    signer = ManifestSigner.from_callback(
        development.chain_pem, lambda data: key.sign(data, ec.ECDSA(hashes.SHA256()))
    )
    data = encoded(media_type)
    for _ in range(7):
        signed = signer.sign(data, media_type, spec(source="altered", parent=asset_of(data, media_type)))
        data = signed.data
    found = CredentialReader(development.root_pem).read(data, media_type)
    assert (found.state, found.manifests) == ("trusted", 7)
    store = extract_store(data)
    assert store == signed.mark.store
    assert count_manifests(store) == 7
    assert extract_store(strip_store(data)) is None
    assert CredentialReader().read(strip_store(data), media_type).state == "absent"


def test_too_many_manifests_are_not_checked(signer, encoded, asset_of, monkeypatch):
    monkeypatch.setattr("clearmark.provenance.credentials.reader.MAX_MANIFESTS", 1)
    first = signer.sign(encoded(), "image/png", spec()).data
    monkeypatch.undo()
    both = signer.sign(encoded(), "image/png", spec(parent=asset_of(first))).data
    monkeypatch.setattr("clearmark.provenance.credentials.reader.MAX_MANIFESTS", 1)
    found = CredentialReader().read(both, "image/png")
    assert found.state == "invalid"
    assert "at most 1" in found.validation[0].explanation


def test_a_trust_list_says_whom_it_holds(development):
    found = anchors_of(b"words\n" + development.root_pem * 2 + development.chain_pem)
    assert len(found) == 2
    assert "clearmark development root" in found[0].subject
    assert found[0].expires > found[1].expires
    assert len(found[0].sha256) == 64


def test_threads_share_a_signer(signer, encoded):
    data, found = encoded(), []

    def work(number):
        mark = f"{number:016x}"
        signed = signer.sign(data, "image/png", spec(mark_id=mark))
        found.append(signed.credentials.mark_id == mark)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _issue(development, key, usages=None):
    root = x509.load_pem_x509_certificate(development.root_pem)
    root_key = serialization.load_pem_private_key(development.root_key_pem, None)
    template = x509.load_pem_x509_certificate(development.chain_pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(template.subject)
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(template.not_valid_before_utc)
        .not_valid_after(template.not_valid_after_utc)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension in template.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectKeyIdentifier):
            continue
        if isinstance(value, x509.ExtendedKeyUsage) and usages is not None:
            value = x509.ExtendedKeyUsage(usages)
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
