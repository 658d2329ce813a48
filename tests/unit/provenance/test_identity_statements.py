"""Identity assertions: who else signed for a picture, what for, and over whom they are vouched for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from identities import SPEC, issued, new_key, only, subject

from clearmark.core import Asset
from clearmark.provenance.credentials import (
    CredentialReader,
    IdentitySigner,
    ManifestSigner,
    TimestampAuthority,
    check_conformance,
    make_development_ca,
)
from clearmark.provenance.credentials.chains import is_vouched_for
from clearmark.provenance.credentials.development import EMAIL_PROTECTION
from clearmark.provenance.credentials.trust import certificates_of

MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp"]


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
