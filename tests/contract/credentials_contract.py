"""What every manifest signer must keep, wherever its key is: give `signer` and `anchors`."""

from __future__ import annotations

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from clearmark.core import Origin
from clearmark.provenance.credentials import (
    CredentialReader,
    LedgerRef,
    ManifestSigner,
    ManifestSpec,
    SoftBinding,
)

MEDIA_TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def picture(media_type: str = "image/png", side: int = 96) -> bytes:
    """Return a small noisy picture."""
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, MEDIA_TYPES[media_type])
    return out.getvalue()


def manifest(mark_id: str = "0123456789abcdef") -> ManifestSpec:
    """Return a manifest with everything that a generated picture has."""
    return ManifestSpec(
        mark_id=mark_id,
        origin=Origin(generator="reference", model="tiny", model_digest="sha256:ab"),
        ledger=LedgerRef(event_id="018f", leaf_hash="cd" * 32, log="log.example"),
        bindings=(SoftBinding(alg="io.clearmark.test", value=mark_id),),
    )


class SignerContract:
    """The tests. `signer` and `anchors` (the PEM of a root above it) must be fixtures."""

    @pytest.fixture
    def signer(self) -> ManifestSigner:
        raise NotImplementedError

    @pytest.fixture
    def anchors(self) -> bytes:
        raise NotImplementedError

    @pytest.mark.parametrize("media_type", MEDIA_TYPES)
    def test_what_it_signs_is_trusted(self, signer: ManifestSigner, anchors: bytes, media_type: str) -> None:
        signed = signer.sign(picture(media_type), media_type, manifest())
        found = CredentialReader(anchors).read(signed.data, media_type)
        assert found.state == "trusted"
        assert found.failures == ()
        assert found.signer == signer.name == signed.mark.signer
        assert found.mark_id == "0123456789abcdef"

    def test_what_is_changed_is_not(self, signer: ManifestSigner, anchors: bytes) -> None:
        data = bytearray(signer.sign(picture(), "image/png", manifest()).data)
        data[-100] ^= 1
        assert CredentialReader(anchors).read(bytes(data), "image/png").state == "invalid"

    def test_threads_share_it(self, signer: ManifestSigner) -> None:
        ids = [f"{number:016x}" for number in range(12)]
        data = picture()
        with ThreadPoolExecutor(4) as pool:
            signed = pool.map(lambda one: signer.sign(data, "image/png", manifest(one)), ids)
        assert [one.credentials.mark_id for one in signed] == ids

    def test_it_survives_a_fork(self, signer: ManifestSigner) -> None:
        signer.sign(picture(), "image/png", manifest())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns where threads are alive
            code = os.fork()
        if code == 0:  # pragma: no cover
            try:
                state = signer.sign(picture(), "image/png", manifest()).credentials.state
                os._exit(0 if state == "valid" else 1)
            except BaseException:  # noqa: BLE001
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 0

    def test_it_says_who_and_until_when(self, signer: ManifestSigner) -> None:
        assert signer.name
        assert signer.expires > datetime.now(UTC)
        assert "PRIVATE" not in repr(signer)
