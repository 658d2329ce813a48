"""Verification: what each state of a picture is called, which exit code it has, and what is said about it."""

from __future__ import annotations

import io
import json
import struct
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmark.provenance import (
    LedgerRef,
    ManifestSigner,
    Marker,
    MarkJob,
    MetadataSettings,
    Verification,
    Verifier,
    conclude,
    make_development_ca,
    new_mark_id,
)
from clearmark.provenance.credentials import Check, Credentials, Identity
from clearmark.provenance.credentials.reader import ABSENT
from clearmark.provenance.watermark import Found

LEDGER = LedgerRef(event_id="0190-event", leaf_hash="ab" * 32, log="log.example")
ANSWER = {"found": True, "event_id": "0190-event", "seq": 7, "inclusion": "verified"}


@pytest.fixture(scope="module")
def marked(marker, encoded, asset_of):
    wanted = MarkJob(asset=asset_of(encoded()), mark_id=new_mark_id(), ledger=LEDGER)
    return marker.mark([wanted])[0]


@pytest.fixture(scope="module")
def verifier(development, read_marks):
    return Verifier(development.root_pem, extract=read_marks)


def recompressed(data, quality=90):
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


def test_a_marked_picture(verifier, marked):
    found = verifier.verify([marked.asset, marked.asset.data])
    assert found[0].to_dict() == found[1].to_dict()
    assert found[0].exit_code == 0
    text = conclude(found[0], ANSWER)
    assert "whom the trust list vouches for; unchanged since" in text
    assert "made by a trained model" in text
    assert "number 7" in text


def test_the_json_form(verifier, marked):
    out = json.loads(json.dumps(verifier.verify([marked.asset])[0].to_dict()))
    assert {"credentials", "watermark", "metadata"} <= set(out)
    assert out["credentials"]["state"] == "trusted"
    assert {
        "signer",
        "claim_generator",
        "digital_source_type",
        "actions",
        "ingredients",
        "validation",
    } <= set(out["credentials"])
    assert set(out["credentials"]["validation"][0]) >= {"code", "explanation"}
    assert out["watermark"] == {
        "state": "found",
        "codec": "dwt-dct-svd",
        "mark_id": marked.mark.id,
        "confidence": out["watermark"]["confidence"],
    }
    assert out["metadata"]["aigc"]["Label"] == "1"


def test_an_untrusted_signer(marked, read_marks):
    found = Verifier(make_development_ca().root_pem, extract=read_marks).verify([marked.asset])[0]
    assert found.exit_code == 0
    assert found.credentials.state == "valid"
    assert "untrusted" in conclude(found)


def test_a_single_signer_can_be_allowed(marked, development, read_marks):
    found = Verifier(allowed_signers_pem=development.chain_pem, extract=read_marks).verify([marked.asset])[0]
    assert found.credentials.state == "trusted"
    assert "unchanged since" in conclude(found)
    other = Verifier(allowed_signers_pem=make_development_ca().chain_pem, extract=read_marks).verify(
        [marked.asset]
    )[0]
    assert other.credentials.state == "valid"


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_a_changed_pixel_is_tampering(verifier, marker, encoded, asset_of, media_type):
    wanted = MarkJob(asset=asset_of(encoded(media_type), media_type), mark_id=new_mark_id())
    data = bytearray(marker.mark([wanted])[0].asset.data)
    # Pictures stand at the end of PNG and JPEG, and before the manifest in WebP.
    position = 2000 if media_type == "image/webp" else len(data) - 1000
    data[position] ^= 0xFF
    found = verifier.verify([bytes(data)])[0]
    assert found.exit_code == 4
    assert conclude(found).startswith("Tampered")


def test_bytes_after_the_picture_are_tampering(verifier, marked):
    found = verifier.verify([marked.asset.data + b"PK\x03\x04 a second file"])[0]
    assert found.exit_code == 4


def test_recompression_leaves_the_watermark(verifier, marked):
    found = verifier.verify([recompressed(marked.asset.data)])[0]
    assert found.exit_code == 0
    assert found.credentials.state == "absent"
    assert found.mark_ids == (marked.mark.id,)
    assert "credentials are gone" in conclude(found, ANSWER).lower()
    assert "proves that it is on record" in conclude(found, ANSWER)
    assert "proof fails" in conclude(found, {**ANSWER, "inclusion": "failed"})
    assert "not proved" in conclude(found, {**ANSWER, "inclusion": "unknown"})
    assert "holds no decision" in conclude(found, {"found": False})


def test_a_borrowed_mark_is_not_called_a_record(encoded, asset_of, marked, read_marks):
    forger = make_development_ca()
    signer = ManifestSigner.from_pem(forger.chain_pem, forger.key_pem)
    stolen = MarkJob(asset=asset_of(encoded()), mark_id=marked.mark.id, ledger=LEDGER)
    forged = Marker(signer=signer, metadata=MetadataSettings()).mark([stolen])[0].asset
    found = Verifier(extract=read_marks).verify([forged])[0]
    assert found.mark_ids == (marked.mark.id,)
    assert "nothing ties this picture to that record" in conclude(found, ANSWER)
    trusting = Verifier(forger.root_pem, extract=read_marks).verify([forged])[0]
    assert "proves that it is on record" in conclude(trusting, ANSWER)


def test_nothing_proves_nothing(verifier, encoded):
    found = verifier.verify([encoded()])[0]
    assert found.exit_code == 5
    assert found.is_empty
    assert "proves nothing" in conclude(found)


def test_metadata_alone_are_called_what_they_are(verifier, encoded, asset_of):
    only = Marker(metadata=MetadataSettings())
    data = only.mark([MarkJob(asset=asset_of(encoded()), mark_id=new_mark_id())])[0].asset.data
    found = verifier.verify([data])[0]
    assert found.exit_code == 0
    assert "anybody can write or remove that" in conclude(found)


def test_an_ended_certificate(encoded, asset_of, read_marks):
    soon = make_development_ca(now=datetime.now(UTC) - timedelta(days=10), leaf_days=20)
    signer = ManifestSigner.from_pem(soon.chain_pem, soon.key_pem)
    marked = Marker(signer=signer).mark([MarkJob(asset=asset_of(encoded()), mark_id=new_mark_id())])[0]
    found = Verifier(soon.root_pem, extract=read_marks).verify([marked.asset])[0]
    assert found.credentials.state == "trusted"
    ended = Verification(
        credentials=Credentials(
            state="invalid",
            signer="X",
            validation=(Check(code="signingCredential.expired", explanation="", passed=False),),
        )
    )
    assert ended.exit_code == 4
    assert conclude(ended).startswith("Expired")


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("signingCredential.ocsp.revoked", "revoked"),
        ("signingCredential.invalid", "not one that may sign"),
        ("assertion.hashedURI.mismatch", "Tampered"),
        ("timeStamp.mismatch", "do not hold"),
    ],
)
def test_each_failure_has_its_word(code, word):
    check = Check(code=code, explanation="because", passed=False)
    found = Verification(credentials=Credentials(state="invalid", signer="X", validation=(check,)))
    assert word in conclude(found)
    assert found.exit_code == 4


def test_a_manifest_over_another_watermark_is_a_contradiction():
    credentials = Credentials(state="trusted", bindings=(("io.clearmark.a", "0" * 16),))
    other = Verification(
        credentials=credentials, watermarks=(Found(codec="a", mark_id="1" * 16, confidence=1.0),)
    )
    same = Verification(
        credentials=credentials, watermarks=(Found(codec="a", mark_id="0" * 16, confidence=1.0),)
    )
    elsewhere = Verification(
        credentials=credentials, watermarks=(Found(codec="b", mark_id="1" * 16, confidence=1.0),)
    )
    assert (other.exit_code, same.exit_code, elsewhere.exit_code) == (4, 0, 0)
    assert "Contradiction" in conclude(other)
    assert other.mark_ids == ("0" * 16, "1" * 16)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("trusted", "Desk (Paper) signed for it as publisher; a trust list"),
        ("valid", "in the name of Desk (Paper) as publisher, for which nobody"),
        ("invalid", "does not hold"),
        ("unknown", "not checked here"),
    ],
)
def test_who_else_signed_is_said(state, word):
    identity = Identity(state=state, name="Desk", issuer="Paper", roles=("cawg.publisher",))
    for credentials_state in ("trusted", "valid"):
        credentials = Credentials(state=credentials_state, signer="a tool", identities=(identity,))
        assert word in conclude(Verification(credentials=credentials))
    broken = Credentials(state="invalid", signer="a tool", identities=(identity,))
    assert "Desk" not in conclude(Verification(credentials=broken))


@pytest.mark.parametrize("position", [100, 600, -2000])  # the store's own form, a statement, the pixels
def test_a_parent_that_was_broken_is_said(marker, development, encoded, asset_of, position, read_marks):
    parent = bytearray(marker.mark([MarkJob(asset=asset_of(encoded()), mark_id=new_mark_id())])[0].asset.data)
    parent[position] ^= 1
    made = marker.mark(
        [
            MarkJob(
                asset=asset_of(encoded()),
                mark_id=new_mark_id(),
                source="altered",
                parents=(asset_of(bytes(parent)),),
            )
        ]
    )[0]
    assert "already broken" in conclude(
        Verifier(development.root_pem, extract=read_marks).verify([made.asset])[0]
    )


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBP"]
)
def test_what_is_no_picture(verifier, data):
    found = verifier.verify([data])[0]
    assert found.exit_code == 2
    assert found.problem
    assert conclude(found).startswith("Not a picture")
    assert found.to_dict()["credentials"]["state"] == "absent"


def test_a_bomb_costs_a_header(verifier):
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    found = verifier.verify([b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IEND\xaeB`\x82"])[0]
    assert found.exit_code == 2
    assert "at most" in found.problem


def test_absent_is_shared():
    assert ABSENT.state == "absent"
    assert ABSENT.failures == ()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_damage_is_answered(verifier, marked, data):
    whole = bytearray(marked.asset.data)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, min(len(whole), 16_000) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    found = verifier.verify([bytes(whole[:cut])])[0]
    assert found.exit_code in {0, 2, 4, 5}
    assert conclude(found)
    json.dumps(found.to_dict())
