"""Marking: every layer is in what comes back, or nothing comes back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from clearmark.core.errors import LabelFailed, MarkingFailed, SigningFailed, UsageError, WatermarkFailed
from clearmark.provenance import (
    CredentialReader,
    Encoding,
    LabelSettings,
    LedgerRef,
    ManifestSigner,
    Marker,
    MarkJob,
    MetadataSettings,
    Verifier,
    new_mark_id,
)
from clearmark.provenance._containers import get_xmp, set_xmp
from clearmark.provenance._pictures import open_for_marking
from clearmark.provenance._wide import png_of, wide_pixels
from clearmark.provenance.credentials.store import extract_store
from clearmark.provenance.ids import is_mark_id
from clearmark.provenance.watermark import Embedded, get_codec

MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp"]
LEDGER = LedgerRef(event_id="0190-event", leaf_hash="ab" * 32, log="log.example")


def job(asset, **changes):
    return MarkJob(asset=asset, mark_id=new_mark_id(), ledger=LEDGER, **changes)


def test_mark_ids_are_random_and_well_formed():
    ids = {new_mark_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(is_mark_id, ids))
    assert not any(map(is_mark_id, ("", "0" * 15, "0" * 17, "A" * 16, "０" * 16)))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_every_layer_is_in_the_picture(marker, development, encoded, asset_of, media_type, read_marks):
    wanted = job(asset_of(encoded(media_type), media_type))
    marked = marker.mark([wanted])[0]
    assert marked.asset.media_type == media_type
    assert (marked.asset.width, marked.asset.height) == (256, 256)
    found = Verifier(development.root_pem, extract=read_marks).verify([marked.asset])[0]
    assert found.exit_code == 0
    assert found.credentials.state == "trusted"
    assert found.credentials.ledger == {**LEDGER.to_dict(), "mark_id": wanted.mark_id}
    assert found.watermark.mark_id == wanted.mark_id
    assert found.metadata["aigc"]["ProduceID"] == wanted.mark_id
    assert found.mark_ids == (wanted.mark_id,)
    layers = marked.mark.to_dict()
    assert layers["id"] == wanted.mark_id
    assert layers["label"]["contrast"] >= 4.5
    assert layers["watermark"]["psnr_db"] > 35
    assert layers["manifest"]["source_type"].endswith("/trainedAlgorithmicMedia")
    assert layers["metadata"]["iptc"]["AISystemUsed"] == "tiny"
    assert marked.mark.manifest.store == extract_store(marked.asset.data)


def test_a_batch_keeps_its_order(marker, encoded, asset_of):
    jobs = [job(asset_of(encoded())) for _ in range(3)]
    assert [one.mark.id for one in marker.mark(jobs)] == [one.mark_id for one in jobs]
    assert marker.mark([]) == []


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_another_media_type_can_be_asked_for(signer, encoded, asset_of, media_type):
    marker = Marker(signer=signer, codec=get_codec("dwt-dct-svd"), encoding=Encoding(media_type=media_type))
    marked = marker.mark([job(asset_of(encoded()))])[0]
    assert marked.asset.media_type == media_type
    assert marked.mark.label is None
    assert marked.mark.metadata is None


def test_without_layers_the_pixels_stay(encoded, asset_of):
    data = encoded()
    marked = Marker().mark([job(asset_of(data))])[0]
    assert Image.open(io.BytesIO(marked.asset.data)).tobytes() == Image.open(io.BytesIO(data)).tobytes()
    assert marked.mark.manifest is None
    assert marked.mark.watermark is None


@pytest.mark.parametrize("media_type", ["image/png", "image/webp"])
def test_alpha_and_profile_are_kept(marker, encoded, asset_of, pixels, media_type):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.zeros((256, 256), np.uint8)
    alpha[:, :200] = np.arange(200, dtype=np.uint8) + 56
    data = encoded(media_type, array=np.dstack([pixels, alpha]), icc_profile=profile, lossless=True)
    marked = marker.mark([job(asset_of(data, media_type))])[0]
    out = Image.open(io.BytesIO(marked.asset.data))
    assert out.mode == "RGBA"
    assert out.info["icc_profile"] == profile
    box = marked.mark.label.box
    assert (np.asarray(out)[: box.y, :, 3] == alpha[: box.y]).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda rgb: Image.fromarray(rgb).convert("L"),
        lambda rgb: Image.fromarray(rgb).convert("P"),
        lambda rgb: Image.fromarray(rgb).convert("LA"),
        lambda rgb: Image.fromarray(rgb[..., 0].astype(np.uint16) * 257),
    ],
    ids=["grey", "palette", "grey-alpha", "grey-16-bit"],
)
def test_other_kinds_of_pixels_are_marked_as_rgb(marker, asset_of, pixels, make):
    out = io.BytesIO()
    make(pixels).save(out, "PNG")
    marked = marker.mark([job(asset_of(out.getvalue()))])[0]
    grey = np.asarray(Image.open(io.BytesIO(marked.asset.data)).convert("RGB")).astype(int)
    wanted = np.asarray(make(pixels).convert("RGB")).astype(int)
    if make(pixels).mode.startswith("I"):
        wanted = np.repeat(pixels[..., :1], 3, -1).astype(int)
    top = slice(0, marked.mark.label.box.y)
    assert np.abs(grey[top] - wanted[top]).mean() < 4


def test_a_turned_photograph_is_upright_and_loses_only_its_orientation(marker, asset_of, pixels):
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to show
    exif[0x010F] = "A maker"
    Image.fromarray(pixels[:192]).save(out, "JPEG", exif=exif, quality=95)
    marked = marker.mark([job(asset_of(out.getvalue(), "image/jpeg"))])[0]
    shown = Image.open(io.BytesIO(marked.asset.data))
    assert shown.size == (192, 256)
    assert shown.getexif().get(0x0112, 1) == 1
    assert shown.getexif()[0x010F] == "A maker"


def test_what_others_wrote_as_metadata_is_kept(marker, signer, encoded, asset_of):
    theirs = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="a book"/></rdf:RDF></x:xmpmeta>'
    )
    asset = asset_of(set_xmp(encoded(), theirs))
    for one in (marker, Marker(signer=signer)):
        assert b'dc:source="a book"' in get_xmp(one.mark([job(asset)])[0].asset.data)


def test_credentials_that_a_picture_has_become_its_parent(marker, development, encoded, asset_of):
    reader = CredentialReader(development.root_pem)
    first = marker.mark([job(asset_of(encoded()))])[0]
    again = marker.mark([job(first.asset)])[0]
    found = reader.read(again.asset.data, "image/png")
    assert found.state == "trusted"
    assert [(one.relationship, one.manifest) for one in found.ingredients] == [
        ("parentOf", first.mark.manifest.label)
    ]
    assert found.manifests == 2


def test_altered_pictures_name_what_they_were_made_from(marker, development, encoded, asset_of):
    reader = CredentialReader(development.root_pem)
    parent = marker.mark([job(asset_of(encoded()))])[0].asset
    made = marker.mark([job(asset_of(encoded()), source="altered", parents=(parent, asset_of(encoded())))])[0]
    found = reader.read(made.asset.data, "image/png")
    assert [one.relationship for one in found.ingredients] == ["parentOf", "inputTo"]
    assert found.ingredients[0].state == "trusted"
    assert found.digital_source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    alone = marker.mark([job(asset_of(encoded()), source="altered")])[0]
    found = reader.read(alone.asset.data, "image/png")
    assert [one.relationship for one in found.ingredients] == ["parentOf"]


class Forgetful:
    """A codec that follows the protocol and writes nothing."""

    name, version = "forgetful", "1"

    def embed(self, pixels, mark_ids):
        return [Embedded(pixels=one, psnr_db=99.0, ssim=1.0) for one in pixels]

    def extract(self, pixels):
        return [None for _ in pixels]


def test_a_watermark_that_is_not_there_is_an_error(signer, encoded, asset_of):
    with pytest.raises(WatermarkFailed, match="read back"):
        Marker(signer=signer, codec=Forgetful()).mark([job(asset_of(encoded()))])


def test_one_picture_that_fails_keeps_the_batch_back(marker, encoded, asset_of):
    tiny = asset_of(encoded(array=np.zeros((20, 20, 3), np.uint8)))
    with pytest.raises(MarkingFailed):
        marker.mark([job(asset_of(encoded())), job(tiny)])


def test_no_room_for_the_label_is_its_own_error(marker, encoded, asset_of):
    tiny = asset_of(encoded(array=np.zeros((20, 20, 3), np.uint8)))
    with pytest.raises(LabelFailed):
        marker.mark([job(tiny)])


def test_a_key_that_fails_is_its_own_error(development, encoded, asset_of):
    def unplugged(_data):
        raise OSError("no token")

    signer = ManifestSigner.from_callback(development.chain_pem, unplugged)
    with pytest.raises(SigningFailed, match="no token"):
        Marker(signer=signer).mark([job(asset_of(encoded()))])


def test_unreadable_pictures_and_animations_are_refused(marker, encoded, asset_of, pixels):
    with pytest.raises(MarkingFailed, match="cannot be marked"):
        marker.mark([job(asset_of(encoded()[:2000]))])
    out = io.BytesIO()
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(MarkingFailed, match="animation"):
        marker.mark([job(asset_of(out.getvalue(), "image/webp"))])


def test_transparency_cannot_become_jpeg(encoded, asset_of, pixels):
    clear = np.dstack([pixels, np.full((256, 256), 90, np.uint8)])
    with pytest.raises(MarkingFailed, match="transparency"):
        Marker(encoding=Encoding(media_type="image/jpeg")).mark([job(asset_of(encoded(array=clear)))])
    solid = np.dstack([pixels, np.full((256, 256), 255, np.uint8)])
    marked = Marker(encoding=Encoding(media_type="image/jpeg")).mark([job(asset_of(encoded(array=solid)))])
    assert marked[0].asset.media_type == "image/jpeg"


def test_a_job_is_checked_when_it_is_made(encoded, asset_of):
    for changes in ({"mark_id": "nonsense"}, {"source": "found"}):
        with pytest.raises(UsageError):
            MarkJob(**{"asset": asset_of(encoded()), "mark_id": "0" * 16, **changes})


def test_the_label_lies_under_the_watermark(signer, encoded, asset_of):
    both = Marker(
        signer=signer, codec=get_codec("dwt-dct-svd"), label=LabelSettings(), metadata=MetadataSettings()
    )
    marked = both.mark([job(asset_of(encoded()))])[0]
    actions = [a["action"] for a in CredentialReader().read(marked.asset.data, "image/png").actions]
    assert actions == ["c2pa.created", "c2pa.addedText", "c2pa.watermarked.bound"]


def test_the_best_codec_with_a_key_of_ones_own(signer, development, encoded, asset_of):
    key = b"k" * 32
    wanted = job(asset_of(encoded()))
    marked = Marker(signer=signer, codec=get_codec("auto", key), label=LabelSettings()).mark([wanted])[0]
    found = Verifier(development.root_pem, keys=[key]).verify([marked.asset])[0]
    assert found.exit_code == 0
    assert found.watermark.mark_id == wanted.mark_id
    assert found.bound_mark_ids == {wanted.mark_id}
    out = io.BytesIO()
    Image.open(io.BytesIO(marked.asset.data)).convert("RGB").save(out, "JPEG", quality=80)
    stripped = Verifier(development.root_pem, keys=[key]).verify([out.getvalue()])[0]
    assert (stripped.credentials.state, stripped.mark_ids) == ("absent", (wanted.mark_id,))


def wide_png(pixels: np.ndarray, **options: bytes) -> bytes:
    """A PNG of 16 bits to a channel whose low bytes are not those of 8-bit colours."""
    rng = np.random.default_rng(4)
    low = rng.integers(0, 256, pixels.shape).astype(np.uint16)
    return png_of((pixels.astype(np.uint16) << 8) | low, **options)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_stay_sixteen(signer, asset_of, pixels, channels):
    rng = np.random.default_rng(5)
    alpha = rng.integers(1, 256, pixels.shape[:2]).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = wide_png(np.dstack([pixels, alpha])[..., :channels], icc_profile=profile)
    before = wide_pixels(data)
    marked = Marker(signer=signer, codec=get_codec("clearmark")).mark([job(asset_of(data))])[0].asset
    after = wide_pixels(marked.data)
    assert after.shape == before.shape
    moved = after[..., :3].astype(np.int64) - before[..., :3]
    assert 0 < np.abs(moved).mean() < 3 * 257
    # What is not at an end of the range moved by whole steps of 8 bits: the low bits are the picture's own.
    inside = (after[..., :3] > 0) & (after[..., :3] < 65535)
    assert (moved[inside] % 257 == 0).all()
    assert np.array_equal(after[..., 3:], before[..., 3:])
    with Image.open(io.BytesIO(marked.data)) as reopened:
        assert reopened.info["icc_profile"] == profile


def test_sixteen_bits_of_grey(signer, asset_of, pixels):
    grey = pixels.mean(2).astype(np.uint16) * 257 + 3
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    marked = (
        Marker(signer=signer, codec=get_codec("clearmark")).mark([job(asset_of(out.getvalue()))])[0].asset
    )
    after = wide_pixels(marked.data)
    assert ((after.astype(np.int64) - grey[..., None]) % 257 == 0)[(after > 0) & (after < 65535)].all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bits_stand_upright(orientation):
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_for_marking(wide_png(pixels, exif=exif.tobytes()))
    assert np.array_equal(opened.wide >> 8, np.asarray(opened.picture))
