"""Time stamps: a signing that is stamped outlives its certificate; what is no request gets none."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmark.core import der
from clearmark.core.errors import MediaError, SigningFailed
from clearmark.provenance import Verifier, conclude
from clearmark.provenance.credentials import (
    CredentialReader,
    ManifestSigner,
    ManifestSpec,
    TimestampAuthority,
    make_development_ca,
)


def sign_shortly_before_the_end(data):
    """Return credentials that have ended, and a picture signed in time with and without a time stamp.

    The library signs with no certificate that has ended, so the end has to be waited for. On a busy machine
    the signing itself may come too late; then a longer life is tried.
    """
    for seconds in (3, 9, 27):
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        short = make_development_ca(now=end - timedelta(days=1), leaf_days=1)
        try:
            with TimestampAuthority.from_development(short).serve() as url:
                signers = [
                    ManifestSigner.from_pem(short.chain_pem, short.key_pem, timestamp_url=one)
                    for one in (url, "")
                ]
                spec = ManifestSpec(mark_id="0" * 16)
                signed = [one.sign(data, "image/png", spec).data for one in signers]
        except SigningFailed:
            continue
        time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 1.5)
        return short, signers[1], signed
    raise AssertionError("too slow to sign within half a minute")


def test_a_stamped_signing_outlives_its_certificate(encoded, read_marks):
    short, signer, signed = sign_shortly_before_the_end(encoded())
    kept, lost = Verifier(short.root_pem, extract=read_marks).verify(signed)
    assert kept.credentials.state == "trusted"
    assert kept.credentials.signed_at
    codes = {check.code for check in kept.credentials.validation}
    assert {"timeStamp.validated", "timeStamp.trusted"} <= codes
    assert lost.exit_code == 4
    assert conclude(lost).startswith("Expired")
    with pytest.raises(SigningFailed, match="ended on"):
        signer.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16))


def test_an_authority_that_does_not_answer_stops_the_signing(development, encoded):
    signer = ManifestSigner.from_pem(
        development.chain_pem, development.key_pem, timestamp_url="http://127.0.0.1:9/"
    )
    with pytest.raises(SigningFailed):
        signer.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is the oracle")
def test_openssl_accepts_the_stamp(development, tmp_path):
    authority = TimestampAuthority.from_development(development)
    (tmp_path / "data").write_bytes(b"anything")
    (tmp_path / "root.pem").write_bytes(development.root_pem)
    query = ["openssl", "ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "q.tsq"]
    subprocess.run(query, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "r.tsr").write_bytes(authority.respond((tmp_path / "q.tsq").read_bytes()))
    check = ["openssl", "ts", "-verify", "-queryfile", "q.tsq", "-in", "r.tsr", "-CAfile", "root.pem"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr


def request(digest=b"\x00" * 32, algorithm="2.16.840.1.101.3.4.2.1", version=1):
    imprint = der.sequence(der.sequence(der.oid(algorithm), der.null()), der.octets(digest))
    return der.sequence(der.integer(version), imprint, der.integer(7), b"\x01\x01\xff")


def test_only_requests_are_stamped(development):
    authority = TimestampAuthority.from_development(development)
    assert len(authority.respond(request())) > 500
    for bad in (
        b"",
        b"\x30",
        b"\x30\x84\xff\xff\xff\xff",
        request(version=2),
        request(digest=b"\x00" * 20),
        request(algorithm="1.3.14.3.2.26", digest=b"\x00" * 20),
        request() + b"\x00",
        b"\x30" * 5000,
    ):
        assert authority.respond(bad) == b"\x30\x05\x30\x03\x02\x01\x02"


def test_without_certificates_where_none_are_asked_for(development):
    authority = TimestampAuthority.from_development(development)
    imprint = der.sequence(
        der.sequence(der.oid("2.16.840.1.101.3.4.2.1")), der.octets(hashlib.sha256(b"").digest())
    )
    bare = der.sequence(der.integer(1), imprint)
    assert len(authority.respond(bare)) < len(authority.respond(request())) - 500


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_broken_der_is_a_media_error(data):
    try:
        found = der.children(data)
    except MediaError:
        return
    assert b"".join(whole for _, _, whole in found) == data


@settings(max_examples=50, deadline=None)
@given(st.integers(-(2**70), 2**70), st.binary(max_size=300))
def test_der_reads_what_it_writes(number, content):
    parts = der.children(der.sequence(der.integer(number), der.octets(content)))[0][1]
    first, second = der.children(parts)
    assert int.from_bytes(first[1], "big", signed=True) == number
    assert second[1] == content


def test_a_forged_stamp_is_not_trusted(development, encoded):
    other = make_development_ca()
    with TimestampAuthority.from_development(other).serve() as url:
        signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, timestamp_url=url)
        signed = signer.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16))
    found = CredentialReader(development.root_pem).read(signed.data, "image/png")
    assert "timeStamp.trusted" not in {check.code for check in found.validation}
    assert "timeStamp.untrusted" in {check.code for check in found.validation}


def test_an_authority_for_time_stamps_vouches_for_no_signer(development, encoded):
    stamps = make_development_ca()
    with TimestampAuthority.from_development(stamps).serve() as url:
        signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, timestamp_url=url)
        honest = signer.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16)).data
    sly = ManifestSigner.from_pem(stamps.chain_pem, stamps.key_pem)
    other = sly.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16)).data
    reader = CredentialReader(development.root_pem, timestamp_anchors_pem=stamps.root_pem)
    first, second = (reader.read(data, "image/png") for data in (honest, other))
    assert first.state == "trusted"
    assert "timeStamp.trusted" in {check.code for check in first.validation}
    assert second.state == "valid"
    assert "signingCredential.untrusted" in {check.code for check in second.validation}
    alone = CredentialReader(timestamp_anchors_pem=stamps.root_pem).read(other, "image/png")
    assert alone.state == "valid"
