"""The ISCC Image-Code: the one of the standard, stable under re-encoding, far apart for other pictures."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from clearmark.core.errors import UsageError
from clearmark.provenance import Marker, MarkJob, Verifier, image_code, image_distance, new_mark_id
from clearmark.provenance.fingerprints import ISCC_ALG, _trimmed


def scene(seed, size=(320, 240)):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_a_known_code():
    ramp = np.tile(np.arange(256, dtype=np.uint8).reshape(8, 32), (4, 1))
    assert image_code(Image.fromarray(ramp)).startswith("ISCC:EEA")
    assert len(image_code(scene(1))) == len("ISCC:") + 16


def test_iscc_lib_computes_the_same():
    iscc_lib = pytest.importorskip("iscc_lib", reason="iscc-lib is the oracle")
    for seed in range(40):
        picture = scene(seed)
        grey = _trimmed(picture).convert("L").resize((32, 32), Image.Resampling.BICUBIC)
        assert image_code(picture) == iscc_lib.gen_image_code_v0(grey.tobytes(), 64)["iscc"]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.resize((160, 120)),
        lambda p: p.filter(ImageFilter.GaussianBlur(1.5)),
        lambda p: p.point(lambda v: min(255, int(v * 1.1))),
        lambda p: _jpeg(p, 30),
    ],
    ids=["half", "blur", "brighter", "jpeg30"],
)
def test_it_survives_what_keeps_the_picture(change):
    assert all(image_distance(image_code(scene(n)), image_code(change(scene(n)))) <= 8 for n in range(10))


def test_other_pictures_are_far():
    codes = [image_code(scene(seed)) for seed in range(12)]
    assert min(image_distance(*pair) for pair in itertools.combinations(codes, 2)) >= 12


def test_borders_and_transparency_do_not_count():
    picture = scene(3)
    framed = Image.new("RGB", (400, 300), "white")
    framed.paste(picture, (40, 30))
    assert image_distance(image_code(framed), image_code(picture)) <= 4
    clear = Image.new("RGBA", (400, 300), (9, 9, 9, 0))
    clear.paste(picture, (40, 30))
    assert image_distance(image_code(clear), image_code(framed)) <= 2
    assert image_code(Image.new("RGB", (50, 50), "red")).startswith("ISCC:EEA")


@pytest.mark.parametrize("bad", ["", "ISCC:", "ISCC:EEAYAAAAAAAAAAA1", "ISCC:EAAYAAAAAAAAAAAA", "x" * 500])
def test_what_is_no_image_code(bad):
    with pytest.raises(UsageError):
        image_distance(bad, image_code(scene(1)))


def test_the_manifest_names_the_fingerprint(signer, encoded, asset_of, read_marks):
    job = MarkJob(asset=asset_of(encoded("image/jpeg"), "image/jpeg"), mark_id=new_mark_id())
    marked = Marker(signer=signer).mark([job])[0].asset
    found = Verifier(extract=read_marks).verify([marked])[0]
    stated = dict(found.credentials.bindings)[ISCC_ALG]
    assert image_distance(stated, found.fingerprint) <= 2
    assert found.to_dict()["fingerprint"] == found.fingerprint
    without = Marker(signer=signer, fingerprint=False).mark([job])[0].asset
    assert Verifier(extract=read_marks).verify([without])[0].credentials.bindings == ()


def _jpeg(picture, quality):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue()))
