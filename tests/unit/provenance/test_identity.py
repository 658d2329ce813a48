"""Identity assertions: who else signed for a picture, and every way in which that does not hold."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import Asset
from clearmark.core.errors import KeyUnavailable, MediaError, SigningFailed, UsageError
from clearmark.provenance.credentials import (
    CredentialReader,
    IdentitySigner,
    LedgerRef,
    ManifestSigner,
    ManifestSpec,
    SoftBinding,
    TimestampAuthority,
    check_conformance,
    make_development_ca,
)
from clearmark.provenance.credentials._cbor import decode, encode, members
from clearmark.provenance.credentials.chains import is_vouched_for
from clearmark.provenance.credentials.development import (
    C2PA_CLAIM_SIGNING,
    EMAIL_PROTECTION,
    issue_development_leaf,
)
from clearmark.provenance.credentials.identity import read_identities
from clearmark.provenance.credentials.jumbf import active_manifest, parts_of, superboxes
from clearmark.provenance.credentials.trust import certificates_of, context

sys.path.insert(0, str(Path(__file__).parents[2]))

MARK = "0123456789abcdef"
MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp"]
SPEC = ManifestSpec(
    mark_id=MARK,
    ledger=LedgerRef(event_id="018f", leaf_hash="cd" * 32, log="log.example/1"),
    bindings=(SoftBinding(alg="io.clearmark.test", value=MARK), SoftBinding(alg="io.iscc.v0", value="I")),
    training_mining={"ai_generative_training": "notAllowed"},
)


@pytest.fixture(scope="module")
def people():
    """An authority for identities that has nothing to do with the one for signers."""
    return make_development_ca(organization="The Daily Example", common_name="Photo desk")


@pytest.fixture(scope="module")
def identity(people):
    return IdentitySigner.from_pem(people.chain_pem, people.key_pem, roles=("cawg.publisher",))


@pytest.fixture(scope="module")
def both(development, identity):
    return ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)


@pytest.fixture(scope="module")
def signed(both, encoded):
    return both.sign(encoded(), "image/png", SPEC)


def only(found):
    (identity,) = found.identities
    return identity


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_it_reads_back_and_is_vouched_for(both, development, people, encoded, media_type):
    data = both.sign(encoded(media_type), media_type, SPEC).data
    reader = CredentialReader(development.root_pem, identity_anchors_pem=people.root_pem)
    found = reader.read(data, media_type)
    assert found.state == "trusted"
    assert only(found).state == "trusted"
    assert (only(found).name, only(found).issuer) == ("Photo desk", "The Daily Example")
    assert only(found).roles == ("cawg.publisher",)
    assert {"c2pa.actions.v2", "c2pa.hash.data", "io.clearmark.ledger", "c2pa.soft-binding__1"} <= set(
        only(found).statements
    )
    assert all(check.passed for check in only(found).checks)


def test_the_two_lists_are_apart(signed, development, people):
    """Neither does the signers' authority vouch for names, nor the names' authority for signers."""
    ours, theirs = development.root_pem, people.root_pem
    found = CredentialReader(ours).read(signed.data, "image/png")
    assert (found.state, only(found).state) == ("trusted", "valid")
    found = CredentialReader(ours, identity_anchors_pem=ours).read(signed.data, "image/png")
    assert (found.state, only(found).state) == ("trusted", "valid")
    found = CredentialReader(theirs, identity_anchors_pem=theirs).read(signed.data, "image/png")
    assert (found.state, only(found).state) == ("valid", "trusted")


def test_whoever_is_not_vouched_for_breaks_no_manifest(signed, development):
    found = CredentialReader(development.root_pem).read(signed.data, "image/png")
    assert found.failures == ()
    assert not any(check.code.startswith("cawg.") for check in found.validation)
    assert "cawg.x509.credential.untrusted" in {check.code for check in only(found).checks}


def test_the_manifest_still_passes_the_conformance_criteria(signed):
    broken = [result for result in check_conformance(signed.data, "image/png") if not result.passed]
    assert broken == []


def test_a_parent_and_the_time_stay(development, identity, people, encoded):
    """An identity beside a parent's manifest and a time stamp: nothing of the rest is lost."""
    parent = ManifestSigner.from_pem(development.chain_pem, development.key_pem).sign(
        encoded("image/jpeg"), "image/jpeg", SPEC
    )
    authority = TimestampAuthority.from_development(development)
    with authority.serve() as url:
        signer = ManifestSigner.from_pem(
            development.chain_pem, development.key_pem, timestamp_url=url, identity=identity
        )
        made = signer.sign(
            encoded(),
            "image/png",
            replace(
                SPEC,
                source="altered",
                parent=Asset(data=parent.data, media_type="image/jpeg", width=256, height=256),
            ),
            trust_anchors_pem=development.root_pem,
        )
    reader = CredentialReader(development.root_pem, identity_anchors_pem=people.root_pem)
    found = reader.read(made.data, "image/png")
    assert found.state == "trusted"
    assert found.signed_at
    assert found.manifests == 2
    assert [(one.relationship, one.state) for one in found.ingredients] == [("parentOf", "trusted")]
    assert only(found).state == "trusted"
    assert "c2pa.ingredient.v3" in only(found).statements


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


class TestPaths:
    """From a leaf over authorities to an anchor."""

    @pytest.fixture
    def keys(self):
        return {name: new_key() for name in ("root", "middle", "leaf")}

    def chain(self, keys, *, middle=None, leaf=None):
        root = issued(
            None,
            keys["root"],
            "root",
            issuer=subject("root"),
            issuer_key=keys["root"],
            authority=True,
            length=2,
        )
        between = issued(
            None,
            keys["middle"],
            "middle",
            issuer=subject("root"),
            issuer_key=keys["root"],
            **{"authority": True, "length": 0, **(middle or {})},
        )
        end = issued(
            None,
            keys["leaf"],
            "leaf",
            issuer=subject("middle"),
            issuer_key=keys["middle"],
            **(leaf or {}),
        )
        return [certificates_of(one)[0] for one in (end, between, root)]

    def vouched(self, certificates, anchors, *, at=None):
        return is_vouched_for(certificates, anchors, at or datetime.now(UTC), (EMAIL_PROTECTION,))

    def test_over_an_intermediate(self, keys):
        leaf, middle, root = self.chain(keys)
        assert self.vouched([leaf, middle], [root])
        assert self.vouched([leaf], [middle])
        assert self.vouched([leaf], [leaf])
        assert not self.vouched([leaf], [root])
        assert not self.vouched([leaf, middle, root], [])

    def test_not_outside_the_time(self, keys):
        certificates = self.chain(keys)
        for days in (-3, 10):
            at = datetime.now(UTC) + timedelta(days=days)
            assert not self.vouched(certificates[:2], certificates[2:], at=at)
        ended = self.chain(keys, middle={"days": -1})
        assert not self.vouched(ended[:2], ended[2:])

    @pytest.mark.parametrize(
        "middle",
        [
            {"authority": False, "length": None},
            {"extra": ((x509.NameConstraints([x509.DirectoryName(subject("other"))], None), True),)},
            {"extra": ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]), False),)},
        ],
        ids=["no authority", "names constrained", "for servers only"],
    )
    def test_not_over_what_may_not_issue(self, keys, middle):
        leaf, between, root = self.chain(keys, middle=middle)
        assert not self.vouched([leaf, between], [root])

    def test_not_deeper_than_allowed(self, keys):
        """`middle` may have no authority below it."""
        _, middle, root = self.chain(keys)
        lower, end = new_key(), new_key()
        below = certificates_of(
            issued(
                None,
                lower,
                "lower",
                issuer=subject("middle"),
                issuer_key=keys["middle"],
                authority=True,
                length=0,
            )
        )[0]
        leaf = certificates_of(issued(None, end, "end", issuer=subject("lower"), issuer_key=lower))[0]
        assert not self.vouched([leaf, below, middle], [root])

    def test_not_by_name_alone(self, keys):
        leaf, _, _ = self.chain(keys)
        other = self.chain({name: new_key() for name in keys})
        assert not self.vouched([leaf, *other[1:]], [other[2]])

    def test_many_issuers_of_one_name_end(self, keys):
        leaf, middle, root = self.chain(keys)
        others = [self.chain({name: new_key() for name in keys})[1] for _ in range(40)]
        assert not self.vouched([leaf, *others, *others, middle], [root])


def assertion_box(store, manifest, label):
    """Return the one assertion of `manifest` in `store` that bears `label`."""
    (box,) = [
        one
        for part in parts_of(store, manifest)
        if part.label == "c2pa.assertions"
        for one in superboxes(part.content)
        if one.label == label
    ]
    return box


def rebuilt(store, change):
    """Return the store with the identity assertion's content changed, and every hash mended to fit.

    What somebody can do who holds the key of the claim, but not that of the identity: so only the identity's
    own checks are left to find it.
    """
    manifest = active_manifest(store)
    box = assertion_box(store, manifest, "cawg.identity")
    content = box.cbor
    changed = change(content)
    assert len(changed) == len(content)
    assert changed != content
    out = store.replace(content, changed)
    old = hashlib.sha256(box.body).digest()
    new = hashlib.sha256(box.body.replace(content, changed)).digest()
    assert store.count(old) == 1
    return out.replace(old, new)


class TestTampering:
    """Read from the bytes, the claim's own signature left aside."""

    @pytest.fixture
    def judge(self, signed, people):
        store = signed.mark.store

        def judge(change=None, *, store=store):
            at = rebuilt(store, change) if change else store
            return read_identities(at, active_manifest(at), anchors=certificates_of(people.root_pem))[0]

        return judge

    def code(self, identity):
        assert identity.state == "invalid"
        return next(check.code for check in identity.checks if check.passed is False)

    def test_untouched(self, judge):
        assert judge().state == "trusted"

    def test_another_role(self, judge):
        found = judge(lambda data: data.replace(b"cawg.publisher", b"cawg.creatorXX"))
        assert self.code(found) == "cawg.x509.signature.mismatch"

    def test_another_signature(self, judge):
        def change(data):
            start = data.index(b"isignature")
            signature = decode(members(data)["signature"])
            at = data.index(signature[-60:], start)
            return data[:at] + bytes(byte ^ 1 for byte in data[at : at + 60]) + data[at + 60 :]

        assert self.code(judge(change)) == "cawg.x509.signature.mismatch"

    def test_a_reference_to_something_else(self, judge, signed):
        digest = decode(members(self.content(signed))["signer_payload"])["referenced_assertions"][0]["hash"]
        found = judge(lambda data: data.replace(digest, bytes(32)))
        assert self.code(found) == "cawg.identity.assertion.mismatch"

    def test_a_reference_to_a_name_that_is_not_there(self, judge):
        found = judge(lambda data: data.replace(b"c2pa.soft-binding__1", b"c2pa.soft-binding__7"))
        assert self.code(found) == "cawg.identity.assertion.mismatch"

    def test_the_picture_left_out(self, judge):
        found = judge(lambda data: data.replace(b"c2pa.hash.data", b"c2pa.hush.data"))
        assert self.code(found) == "cawg.identity.assertion.mismatch"

    def test_the_same_reference_twice(self, judge, signed):
        found = judge(lambda data: data.replace(b"c2pa.soft-binding__1", b"c2pa.actions.v2".rjust(20, b"/")))
        assert self.code(found) in {"cawg.identity.assertion.mismatch", "cawg.identity.assertion.duplicate"}

    def test_bytes_hidden_in_the_padding(self, judge, signed):
        content = self.content(signed)
        run = content.rindex(bytes(64))
        found = judge(lambda data: data[:run] + b"hidden" + data[run + 6 :])
        assert self.code(found) == "cawg.identity.pad.invalid"

    def test_a_kind_that_is_not_checked_here(self, judge):
        found = judge(lambda data: data.replace(b"cawg.x509.cose", b"cawg.else.cose"))
        assert found.state == "unknown"
        assert found.kind == "cawg.else.cose"

    def test_no_cbor(self, judge):
        found = judge(lambda data: b"\xff" * len(data))
        assert self.code(found) == "cawg.identity.cbor.invalid"

    def test_the_statements_it_signed_for(self, judge, signed):
        """The actions changed, and the claim's hash of them: only the identity still knows the old ones."""
        store = signed.mark.store
        manifest = active_manifest(store)
        box = assertion_box(store, manifest, "c2pa.actions.v2")
        body = box.body.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicXedia")
        old, new = (hashlib.sha256(one).digest() for one in (box.body, body))
        claimed = store.replace(box.body, body)
        # The claim stands behind the assertions; the identity's reference stands in the assertion store.
        at = claimed.rindex(old)
        assert claimed.count(old) == 2
        changed = claimed[:at] + new + claimed[at + 32 :]
        assert self.code(judge(store=changed)) == "cawg.identity.assertion.mismatch"

    def content(self, signed):
        store = signed.mark.store
        return next(
            one.cbor
            for part in parts_of(store, active_manifest(store))
            if part.label == "c2pa.assertions"
            for one in superboxes(part.content)
            if one.label == "cawg.identity"
        )

    def test_every_byte_of_it_counts(self, signed, people, judge):
        """Whatever byte of the assertion is changed: it does not hold, or what it says is the same."""
        content, good = self.content(signed), judge().to_dict()
        step = max(1, len(content) // 150)
        for at in range(0, len(content), step):

            def change(data, at=at):
                return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

            found = judge(change)
            assert found.state in {"invalid", "unknown"} or found.to_dict() == good, at


def test_tampering_is_found_in_files(signed, development, people):
    reader = CredentialReader(development.root_pem, identity_anchors_pem=people.root_pem)
    changed = signed.data.replace(b"cawg.publisher", b"cawg.creatorXX")
    assert reader.read(changed, "image/png").state == "invalid"


def test_the_wrong_signer_is_named_as_unvouched(development, encoded, people):
    """Anybody can make a certificate in the name of the photo desk."""
    fake = make_development_ca(organization="The Daily Example", common_name="Photo desk")
    signer = ManifestSigner.from_pem(
        development.chain_pem,
        development.key_pem,
        identity=IdentitySigner.from_pem(fake.chain_pem, fake.key_pem),
    )
    made = signer.sign(encoded(), "image/png", SPEC)
    found = CredentialReader(development.root_pem, identity_anchors_pem=people.root_pem).read(
        made.data, "image/png"
    )
    assert (found.state, only(found).state, only(found).name) == ("trusted", "valid", "Photo desk")


def map_of(pairs):
    """Return the CBOR form of a map of text to what is already CBOR."""
    return bytes([0xA0 | len(pairs)]) + b"".join(encode(key) + value for key, value in pairs.items())


def test_no_host_is_looked_up_because_a_file_names_it(signed, encoded):
    """An aggregator of identity claims is named by an address: it is not asked, and not believed."""
    content = TestTampering().content(signed)
    kinds = (encode("cawg.x509.cose"), encode("cawg.identity_claims_aggregation"))
    payload = members(content)["signer_payload"].replace(*kinds)
    credential = {
        "issuer": "did:web:whoever-made-the-file.example",
        "type": ["VerifiableCredential", "IdentityClaimsAggregationCredential"],
        "credentialSubject": {"verifiedIdentities": [], "c2paAsset": {}},
    }
    envelope = [
        b"\xa2\x01\x27\x03" + encode("application/vc"),
        b"",
        json.dumps(credential).encode(),
        bytes(64),
    ]
    sign1 = b"\xd2\x84" + encode(envelope[0]) + b"\xa0" + encode(envelope[2]) + encode(envelope[3])

    def changed(data):
        parts = {"signer_payload": payload, "signature": encode(sign1)}
        room = len(data) - len(map_of({**parts, "pad1": encode(bytes(300))}))
        return map_of({**parts, "pad1": encode(bytes(300 + room))})

    store = rebuilt(signed.mark.store, changed)
    file = io.BytesIO(signed.data)
    with c2pa.Reader("image/png", file, manifest_data=store, context=context(None)) as reader:
        assert "cawg.ica" not in reader.json()
    (found,) = read_identities(store, active_manifest(store))
    assert (found.state, found.kind) == ("unknown", "cawg.identity_claims_aggregation")
    assert CredentialReader().read(signed.data, "image/png", store=store).identities[0].state == "unknown"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_assertions_end_in_an_answer(signed, people, data):
    """Any bytes in the assertion's place: an answer, or an error of our own, and never a name that holds."""
    store = signed.mark.store
    content = TestTampering().content(signed)
    start = store.index(content)
    noise = data.draw(st.binary(min_size=1, max_size=64))
    at = data.draw(st.integers(0, len(content) - len(noise)))
    changed = store[: start + at] + noise + store[start + at + len(noise) :]
    try:
        found = read_identities(changed, active_manifest(changed), anchors=certificates_of(people.root_pem))
    except MediaError:
        return
    if changed != store:
        for one in found:
            if one.state in {"valid", "trusted"}:  # the same bytes of what counts
                assert one.name == "Photo desk"


@given(st.binary(max_size=300))
def test_members_of_any_bytes(data):
    try:
        found = members(data)
    except MediaError:
        return
    assert set(found) == set(decode(data))


@given(
    st.recursive(st.text(max_size=300) | st.binary(max_size=300), lambda inner: st.lists(inner, max_size=30))
)
def test_what_is_encoded_decodes(value):
    assert decode(encode(value)) == value
