"""Identity assertions whose bytes were changed: it is found, named, and nobody else is believed."""

from __future__ import annotations

import hashlib
import io
import json

import c2pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core.errors import MediaError
from clearmark.provenance.credentials import CredentialReader
from clearmark.provenance.credentials._cbor import decode, encode, members
from clearmark.provenance.credentials.identity import read_identities
from clearmark.provenance.credentials.jumbf import active_manifest, parts_of, superboxes
from clearmark.provenance.credentials.trust import certificates_of, context


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
