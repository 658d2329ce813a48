"""What went into a picture stays with it: parents of every task, pictures placed in it, thumbnails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clearmark import policies
from clearmark.core import Asset, Request, Task
from clearmark.core.errors import UsageError
from clearmark.policies import Policy
from clearmark.provenance import Marker, MarkJob, new_mark_id
from clearmark.provenance.credentials import (
    CredentialReader,
    ManifestSigner,
    ManifestSpec,
    Thumbnails,
    check_conformance,
    make_development_ca,
)
from clearmark.provenance.credentials.thumbnails import make_thumbnail
from clearmark.sdk import Studio

DEFAULT = Path(policies.__file__).parent / "default.yaml"
PROMPT = b"a secret prompt of somebody"
PARENTS = [Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.OUTPAINT, Task.UPSCALE]


def job(asset, **changes):
    return MarkJob(**{"asset": asset, "mark_id": new_mark_id(), "source": "altered", **changes})


def signed_asset(signer, data, media_type="image/png"):
    made = signer.sign(data, media_type, ManifestSpec(mark_id=new_mark_id()))
    return Asset(data=made.data, media_type=media_type, width=256, height=256), made.mark.label


def inside(data, media_type="image/png"):
    """Return the library's own report, and a function that fetches resources of it."""
    with c2pa.Reader(media_type, io.BytesIO(data)) as reader:
        report = json.loads(reader.json())

        def fetch(identifier):
            out = io.BytesIO()
            reader.resource_to_stream(identifier, out)
            return out.getvalue()

        manifest = report["manifests"][report["active_manifest"]]
        shown = [one.get("thumbnail") for one in (manifest, *manifest.get("ingredients", []))]
        return report, [fetch(one["identifier"]) if one else None for one in shown]


class Redrawing:
    """A generator of every task that starts from a picture: it turns the picture upside down.

    As it would come back from a service: without any credentials.
    """

    name = "redrawing"

    def __init__(self):
        from clearmark.generation import Defaults, ModelInfo

        self.model = ModelInfo(id="redrawing", digest="sha256:" + "1" * 64)
        self.defaults = Defaults(width=256, height=256)

    def generate(self, requests):
        return [[self._one(request)] for request in requests]

    def _one(self, request):
        picture = Image.open(io.BytesIO(request.init_image.data)).convert("RGB").rotate(180)
        if request.task is Task.OUTPAINT:
            larger = Image.new("RGB", (320, 320), "grey")
            larger.paste(picture, (32, 32))
            picture = larger
        if request.task is Task.UPSCALE:
            picture = picture.resize((512, 512))
        out = io.BytesIO()
        picture.save(out, "PNG")
        return Asset(data=out.getvalue(), media_type="image/png", width=picture.width, height=picture.height)


@pytest.mark.parametrize("task", PARENTS)
@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg"])
def test_a_signed_input_stays_the_parent(signer, encoded, tmp_path, task, media_type):
    """Through everything: request, guards, generator, marking."""
    parent, label = signed_asset(signer, encoded(media_type), media_type)
    mask = Image.new("L", (256, 256), 255)
    out = io.BytesIO()
    mask.save(out, "PNG")
    white = Asset(data=out.getvalue(), media_type="image/png", width=256, height=256)
    request = Request(
        "a green meadow", task=task, init_image=parent, mask=white if task is Task.INPAINT else None
    )
    with Studio.from_policy("default", home=tmp_path / "home") as studio:
        result = studio.generate_batch([request], generator=Redrawing())[0]
        assert result.assets, result.reasons
        found = studio.verify(result.assets[0].asset).verification.credentials
    assert found.state == "trusted"
    assert [(one.relationship, one.manifest) for one in found.ingredients] == [("parentOf", label)]
    assert found.ingredients[0].state == "valid"  # of a signer that this studio does not know
    assert found.manifests == 2
    assert [action["action"] for action in found.actions][:2] == ["c2pa.opened", "c2pa.edited"]
    assert found.digital_source_type.endswith("/compositeWithTrainedAlgorithmicMedia")


def test_the_manifest_of_the_parents_parent_stays(signer, marker, encoded, asset_of):
    """Three generations: each one's manifest is still there, and still whole."""
    first, label = signed_asset(signer, encoded())
    second = marker.mark([job(asset_of(encoded()), parents=(first,))])[0]
    third = marker.mark([job(asset_of(encoded()), parents=(second.asset,))])[0]
    report, _ = inside(third.asset.data)
    assert len(report["manifests"]) == 3
    assert {label, second.mark.manifest.label, third.mark.manifest.label} == set(report["manifests"])
    found = CredentialReader().read(third.asset.data, "image/png")
    assert [one.manifest for one in found.ingredients] == [second.mark.manifest.label]
    assert found.failures == ()


def test_a_composition_names_what_stands_in_it(signer, marker, development, encoded, asset_of):
    placed, label = signed_asset(signer, encoded("image/jpeg"), "image/jpeg")
    plain = asset_of(encoded("image/webp"), "image/webp")
    made = marker.mark([job(asset_of(encoded()), placed=(placed, plain))])[0]
    found = CredentialReader(development.root_pem).read(made.asset.data, "image/png")
    assert found.state == "trusted"
    assert [one.relationship for one in found.ingredients] == ["componentOf", "componentOf"]
    assert [one.manifest for one in found.ingredients] == [label, ""]
    assert [one.state for one in found.ingredients] == ["trusted", "absent"]
    actions = [action["action"] for action in found.actions]
    assert actions[0] == "c2pa.created"
    assert actions.count("c2pa.placed") == 2
    assert found.digital_source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert [one for one in check_conformance(made.asset.data, "image/png") if not one.passed] == []


def test_a_composition_on_a_parent(signer, marker, encoded, asset_of):
    parent, opened = signed_asset(signer, encoded())
    placed, label = signed_asset(signer, encoded("image/jpeg"), "image/jpeg")
    made = marker.mark([job(asset_of(encoded()), parents=(parent,), placed=(placed,))])[0]
    found = CredentialReader().read(made.asset.data, "image/png")
    assert [(one.relationship, one.manifest) for one in found.ingredients] == [
        ("parentOf", opened),
        ("componentOf", label),
    ]
    assert [one for one in check_conformance(made.asset.data, "image/png") if not one.passed] == []


def test_what_others_stand_in_was_not_made_by_a_model_alone(asset_of, encoded):
    with pytest.raises(UsageError, match="not made by a model alone"):
        job(asset_of(encoded()), source="created", placed=(asset_of(encoded()),))


@pytest.fixture
def telling(pixels):
    """A picture with a prompt in a text chunk, in Exif and in a comment."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", PROMPT.decode())
    exif = Image.Exif()
    exif[0x010E] = PROMPT.decode()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", pnginfo=info, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("media_type", "kind", "mode"),
    [
        ("image/png", "PNG", "RGBA"),
        ("image/jpeg", "JPEG", "RGB"),
        ("image/webp", "WEBP", "RGB"),
        ("image/avif", "AVIF", "RGB"),
        ("image/gif", "GIF", "P"),
    ],
)
@pytest.mark.parametrize("inputs", [False, True])
def test_small_pictures_within_bounds(signer, telling, media_type, kind, mode, inputs):
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (900, 1200, 3), dtype=np.uint8)).convert(mode)
    out = io.BytesIO()
    noise.save(out, kind)
    settings = Thumbnails(side=256, max_bytes=8192, inputs=inputs)
    parent = Asset(data=telling, media_type="image/png", width=256, height=256)
    spec = ManifestSpec(mark_id=new_mark_id(), source="altered", parent=parent, thumbnails=settings)
    made = signer.sign(out.getvalue(), media_type, spec)
    _, shown = inside(made.data, media_type)
    assert shown[0]
    assert bool(shown[1]) is inputs
    for one in shown:
        if one:
            assert len(one) <= 8192
            small = Image.open(io.BytesIO(one))
            assert (small.format, max(small.size) <= 256) == ("JPEG", True)
            assert not small.getexif()
            assert PROMPT not in one
    assert len(made.data) - len(out.getvalue()) < 30_000
    assert [one for one in check_conformance(made.data, media_type) if not one.passed] == []


def test_no_small_pictures_unless_asked_for(signer, marker, encoded, asset_of):
    made = marker.mark([job(asset_of(encoded()))])[0]
    assert inside(made.asset.data)[1] == [None, None]


def test_a_policy_asks_for_them(tmp_path, encoded, asset_of, signer):
    policy = tmp_path / "small.yaml"
    text = DEFAULT.read_text(encoding="utf-8")
    assert "  manifest: true" in text
    policy.write_text(
        text.replace("  manifest: true", "  manifest: {thumbnail: 128, input_thumbnails: true}")
    )
    marking = Policy.load(policy).marking
    assert marking.to_dict()["manifest"] == {
        "training": "notAllowed",
        "thumbnail": 128,
        "input_thumbnails": True,
    }
    parent, _ = signed_asset(signer, encoded())
    with Studio.from_policy(policy, home=tmp_path / "home") as studio:
        made = studio.mark(encoded(), source="altered", parents=(parent,), placed=(parent,))
    _, shown = inside(made.asset.data)
    assert [max(Image.open(io.BytesIO(one)).size) for one in shown] == [128] * 3


def test_what_cannot_be_shown_is_left_out(encoded):
    assert make_thumbnail(b"no picture", Thumbnails()) is None
    assert make_thumbnail(encoded()[:300], Thumbnails()) is None
    for settings in ({"side": 20}, {"side": 5000}, {"max_bytes": 10}, {"max_bytes": 10**9}):
        with pytest.raises(UsageError):
            Thumbnails(**settings)


def test_transparency_becomes_white():
    out = io.BytesIO()
    Image.new("RGBA", (300, 200), (0, 0, 0, 0)).save(out, "PNG")
    small = Image.open(io.BytesIO(make_thumbnail(out.getvalue(), Thumbnails())))
    assert small.getpixel((5, 5)) == (255, 255, 255)


def test_an_identity_signs_for_them_too(development, encoded, telling):
    """Small pictures and inputs beside an identity assertion: nothing gets in the other's way."""
    from clearmark.provenance.credentials import IdentitySigner

    people = make_development_ca()
    identity = IdentitySigner.from_pem(people.chain_pem, people.key_pem)
    signer = ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)
    parent = Asset(data=telling, media_type="image/png", width=256, height=256)
    spec = ManifestSpec(
        mark_id=new_mark_id(),
        source="altered",
        parent=parent,
        placed=(parent, parent),
        thumbnails=Thumbnails(inputs=True),
    )
    made = signer.sign(encoded(), "image/png", spec)
    assert made.credentials.identities[0].state == "valid"
    assert len(inside(made.data)[1]) == 4
    assert Marker(signer=signer)
