"""What the tests of provenance share: development credentials, pictures, one marker with every layer."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmark.core import Asset, Origin
from clearmark.provenance import LabelSettings, ManifestSigner, Marker, MetadataSettings, make_development_ca
from clearmark.provenance.credentials import IdentitySigner
from clearmark.provenance.watermark import Found, get_codec

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))

from identities import SPEC

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@pytest.fixture(scope="session")
def development():
    return make_development_ca()


@pytest.fixture(scope="session")
def signer(development):
    return ManifestSigner.from_pem(development.chain_pem, development.key_pem)


@pytest.fixture(scope="session")
def pixels():
    y, x = np.mgrid[:256, :256]
    waves = [128 + 100 * np.sin(x / 30), 128 + 90 * np.cos(y / 25 + x / 80), (x + y) / 3]
    return np.stack(waves, -1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def encoded(pixels):
    def encode(media_type="image/png", *, array=None, **options):
        out = io.BytesIO()
        Image.fromarray(pixels if array is None else array).save(out, FORMATS[media_type], **options)
        return out.getvalue()

    return encode


@pytest.fixture(scope="session")
def asset_of():
    def make(data, media_type="image/png", *, origin=True):
        made = Origin(
            generator="reference", model="tiny", model_version="1", model_digest="sha256:" + "0" * 64
        )
        return Asset(data=data, media_type=media_type, origin=made if origin else None)

    return make


@pytest.fixture(scope="session")
def read_marks():
    """Return the reader of the codec that `marker` uses; to search for every codec's mark takes longer."""
    codec = get_codec("dwt-dct-svd")

    def read(pixels):
        found = codec.extract([pixels])[0]
        if found is None:
            return []
        return [Found(codec=codec.name, mark_id=found.mark_id, confidence=found.confidence)]

    return read


@pytest.fixture(scope="session")
def marker(signer, development):
    return Marker(
        signer=signer,
        codec=get_codec("dwt-dct-svd"),
        label=LabelSettings(),
        metadata=MetadataSettings(),
        trust_anchors_pem=development.root_pem,
    )


@pytest.fixture(scope="session")
def people():
    """An authority for identities that has nothing to do with the one for signers."""
    return make_development_ca(organization="The Daily Example", common_name="Photo desk")


@pytest.fixture(scope="session")
def identity(people):
    return IdentitySigner.from_pem(people.chain_pem, people.key_pem, roles=("cawg.publisher",))


@pytest.fixture(scope="session")
def both(development, identity):
    return ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)


@pytest.fixture(scope="session")
def signed(both, encoded):
    return both.sign(encoded(), "image/png", SPEC)
