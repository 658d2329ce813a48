"""Content Credentials in the other containers: signed, read, and any change to their content found."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from PIL import Image

from clearmark.provenance import Verifier
from clearmark.provenance.credentials import CredentialReader, ManifestSpec
from clearmark.provenance.credentials.store import extract_store


def picture(kind, **options):
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def sound():
    out = io.BytesIO()
    with wave.open(out, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes(np.random.default_rng(3).bytes(4000))
    return out.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="7" height="7"/></svg>'
MAKERS = {
    "image/avif": lambda: picture("AVIF"),
    "image/gif": lambda: picture("GIF"),
    "image/svg+xml": lambda: SVG,
    "image/tiff": lambda: picture("TIFF"),
    "audio/wav": sound,
    "application/pdf": lambda: picture("PDF"),
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
