"""Content Credentials in the other containers: signed, read, and any change to their content found."""

from __future__ import annotations

import io
import json
import wave

import c2pa
import numpy as np
import pytest
from PIL import Image

from clearmark.provenance import Verifier
from clearmark.provenance.credentials import CredentialReader, ManifestSpec
from clearmark.provenance.credentials.store import extract_store
from clearmark.provenance.credentials.trust import context


def picture(kind, seed=3):
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def sound(seed=3):
    out = io.BytesIO()
    with wave.open(out, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes(np.random.default_rng(seed).bytes(4000))
    return out.getvalue()


def drawing(seed=3):
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="%d" height="7"/></svg>'
        % seed
    )


MAKERS = {
    "image/avif": lambda seed=3: picture("AVIF", seed),
    "image/gif": lambda seed=3: picture("GIF", seed),
    "image/svg+xml": drawing,
    "image/tiff": lambda seed=3: picture("TIFF", seed),
    "audio/wav": sound,
    "application/pdf": lambda seed=3: picture("PDF", seed),
}


@pytest.mark.parametrize("media_type", MAKERS)
def test_signed_read_and_tampered_with(signer, development, media_type):
    data = MAKERS[media_type]()
    signed = signer.sign(data, media_type, ManifestSpec(mark_id="0" * 16))
    reader = CredentialReader(development.root_pem)
    assert reader.read(signed.data, media_type).state == "trusted"
    assert extract_store(signed.data) == signed.mark.store
    assert reader.read(data, media_type).state == "absent"
    changed = bytearray(signed.data)
    middle = len(data) * 2 // 3
    changed[signed.data.rindex(data[middle : middle + 12])] ^= 1
    assert reader.read(bytes(changed), media_type).state == "invalid"


@pytest.mark.parametrize(
    "kind", ["a statement", "bytes after the end", "the end cut off", "another picture's"]
)
@pytest.mark.parametrize("media_type", [*MAKERS, "image/png", "image/jpeg", "image/webp"])
def test_every_way_to_tamper_is_found(signer, development, media_type, kind):
    make = MAKERS.get(media_type) or (lambda seed=3: picture(media_type.split("/")[1].upper(), seed))
    signed = signer.sign(make(), media_type, ManifestSpec(mark_id="0" * 16))
    reader = CredentialReader(development.root_pem)
    data, store = signed.data, None
    if kind == "a statement":
        if media_type == "image/svg+xml":
            pytest.skip("an SVG holds its statements as base64")
        data = data.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMedix", 1)
    elif kind == "bytes after the end":
        data += b"more"
    elif kind == "the end cut off":
        data = data[: -max(40, len(data) // 50)]
    else:
        other = signer.sign(make(4), media_type, ManifestSpec(mark_id="1" * 16))
        data, store = make(), other.mark.store
    assert data != signed.data
    assert reader.read(data, media_type, store=store).state in {"invalid", "absent"}


def test_an_older_claim_is_read(development):
    # Files of 2021 to 2024 have claims of version 1, with other labels and forms.
    definition = {
        "claim_version": 1,
        "claim_generator": "Old/1.0",
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "softwareAgent": "A model"}]},
            }
        ],
    }
    info = c2pa.C2paSignerInfo(b"es256", development.chain_pem, development.key_pem, None)
    out = io.BytesIO()
    builder = c2pa.Builder(json.dumps(definition), context=context(None))
    builder.sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(picture("JPEG")), out)
    found = CredentialReader(development.root_pem).read(out.getvalue(), "image/jpeg")
    assert found.state == "trusted"
    assert found.manifest.startswith("urn:uuid:")
    assert found.actions[0]["software_agent"] == {"name": "A model"}


def test_a_certificate_that_cannot_be_looked_at_is_not_trusted(signer, development, monkeypatch):
    signed = signer.sign(picture("PNG"), "image/png", ManifestSpec(mark_id="0" * 16))
    monkeypatch.setattr("clearmark.provenance.credentials.reader.extract_stores", lambda data: iter(()))
    found = CredentialReader(development.root_pem).read(signed.data, "image/png")
    assert found.state == "valid"
    assert "could not be looked at" in found.validation[0].explanation


def test_a_type_that_the_bytes_are_not_is_no_error(signer):
    signed = signer.sign(picture("TIFF"), "image/tiff", ManifestSpec(mark_id="0" * 16))
    for wrong in ("image/png", "image/avif", "video/mp4", "no/type"):
        # The library looks at the bytes where it can; what matters is an answer.
        assert CredentialReader().read(signed.data, wrong).state in {"valid", "invalid", "absent"}


@pytest.mark.parametrize("media_type", MAKERS)
def test_the_verifier_knows_them_by_their_bytes(signer, development, media_type, read_marks):
    signed = signer.sign(MAKERS[media_type](), media_type, ManifestSpec(mark_id="0" * 16))
    verifier = Verifier(development.root_pem, extract=read_marks)
    found = verifier.verify([signed.data])[0]
    assert found.media_type == media_type
    assert found.credentials.state == "trusted"
    assert (found.exit_code, found.problem) == (0, "")
    assert verifier.verify([MAKERS[media_type]()])[0].exit_code == 5
    cut = verifier.verify([signed.data[: len(signed.data) // 2]])[0]
    assert cut.exit_code in {2, 4, 5}
