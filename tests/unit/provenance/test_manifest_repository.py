"""Durable credentials: a picture that lost its manifest is led back to it, and what changed is said."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance import (
    LedgerRef,
    ManifestRepository,
    MarkJob,
    Verifier,
    conclude,
    image_code,
    make_development_ca,
    new_mark_id,
)
from clearmark.provenance.credentials.store import strip_store
from clearmark.provenance.repository import MAX_DISTANCE

LEDGER = LedgerRef(event_id="0190", leaf_hash="ab" * 32, log="log.example")


@pytest.fixture(scope="module")
def marked(marker, encoded, asset_of):
    job = MarkJob(asset=asset_of(encoded()), mark_id=new_mark_id(), ledger=LEDGER)
    return marker.mark([job])[0]


@pytest.fixture
def repository(tmp_path, marked):
    with ManifestRepository(tmp_path / "manifests.db") as repository:
        code = image_code(Image.open(io.BytesIO(marked.asset.data)))
        store = marked.mark.manifest.store
        repository.put(marked.mark.id, store, media_type="image/png", fingerprint=code)
        yield repository


@pytest.fixture
def verifier(development, repository, read_marks):
    return Verifier(development.root_pem, repository=repository, extract=read_marks)


def recompressed(data, quality=90):
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


def test_a_recompressed_picture_is_led_back_by_its_watermark(verifier, marked):
    found = verifier.verify([recompressed(marked.asset.data)])[0]
    assert found.credentials.state == "absent"
    assert (found.recovered.via, found.recovered.signer_state) == ("watermark", "trusted")
    assert not found.recovered.unchanged
    assert found.recovered.credentials.ledger["event_id"] == "0190"
    text = conclude(found)
    assert "Recovered from the watermark" in text
    assert "clearmark development signer" in text
    assert "changed since" in text
    assert found.to_dict()["recovered"]["credentials"]["signer"] == "clearmark development signer"


def test_a_stripped_file_is_the_one_that_was_signed(verifier, marked):
    found = verifier.verify([strip_store(marked.asset.data)])[0]
    assert found.recovered.signer_state == "trusted"
    # The hash leaves out the manifest, where it stood; without it other bytes stand there.
    assert "changed" in conclude(found) or found.recovered.unchanged


def test_a_stored_manifest_of_an_unknown_signer_is_not_called_trusted(repository, marked, read_marks):
    stranger = Verifier(make_development_ca().root_pem, repository=repository, extract=read_marks)
    found = stranger.verify([recompressed(marked.asset.data)])[0]
    assert found.recovered.signer_state == "valid"
    assert "nobody on the trust list" in conclude(found)


def test_a_stored_manifest_that_was_changed_does_not_hold(verifier, repository, marked):
    broken = marked.mark.manifest.store.replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMedix")
    repository.put(marked.mark.id, broken, media_type="image/png")
    found = verifier.verify([recompressed(marked.asset.data)])[0]
    assert found.recovered.signer_state == "invalid"
    assert "does not hold" in conclude(found)


def test_without_a_watermark_the_fingerprint_leads_to_what_looks_alike(development, repository, marked):
    blind = Verifier(development.root_pem, repository=repository, extract=lambda pixels: ())
    found = blind.verify([recompressed(marked.asset.data, 40)])[0]
    assert found.recovered.via == "fingerprint"
    assert found.recovered.distance <= MAX_DISTANCE
    assert "Likeness does not prove" in conclude(found)


def test_a_picture_with_intact_credentials_is_not_looked_up(verifier, marked):
    assert verifier.verify([marked.asset])[0].recovered is None


def test_a_tampered_picture_keeps_its_verdict(verifier, marked):
    data = bytearray(marked.asset.data)
    data[-1000] ^= 1
    found = verifier.verify([bytes(data)])[0]
    assert found.exit_code == 4


def test_other_pictures_lead_nowhere(verifier, encoded):
    noise = np.random.default_rng(5).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    found = verifier.verify([encoded(array=noise)])[0]
    assert found.recovered is None
    assert found.exit_code == 5


def test_it_keeps_what_it_was_given(tmp_path, marked):
    path = tmp_path / "m.db"
    code = image_code(Image.open(io.BytesIO(marked.asset.data)))
    with ManifestRepository(path) as repository:
        repository.put("0" * 16, b"one", media_type="image/png", fingerprint=code)
        repository.put("0" * 16, b"two", media_type="image/webp")
    with ManifestRepository(path) as repository:
        assert repository.get("0" * 16).store == b"two"
        assert repository.get("1" * 16) is None
        assert repository.find(code) == ()
        for bad in ("", "x", "0" * 15 + "G"):
            with pytest.raises(UsageError):
                repository.put(bad, b"", media_type="image/png")
        with pytest.raises(UsageError):
            repository.find("ISCC:nonsense")


def test_a_path_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(Unavailable):
        ManifestRepository(tmp_path / "missing" / "m.db")
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at as one" * 40)
    with pytest.raises(Unavailable):
        ManifestRepository(tmp_path / "text.db")


def test_threads_share_it(repository):
    def work(number):
        repository.put(f"{number:016x}", bytes([number]), media_type="image/png")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(repository.get(f"{number:016x}").store == bytes([number]) for number in range(16))
