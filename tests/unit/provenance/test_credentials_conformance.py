"""What we write meets every criterion; manifests made without care do not."""

from __future__ import annotations

import io
import json

import pytest

from clearmark.core import Asset, Origin
from clearmark.core.errors import MediaError
from clearmark.provenance import Marker, MarkJob, new_mark_id
from clearmark.provenance.credentials import CredentialReader, LedgerRef, check_conformance
from clearmark.provenance.credentials.trust import context
from clearmark.provenance.watermark import get_codec

LEDGER = LedgerRef(event_id="0190", leaf_hash="ab" * 32, log="log.example")
CREATED = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
}


def broken(results):
    return {result.rule for result in results if not result.passed}


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize("case", ["created", "altered", "from a signed picture", "signed before"])
def test_what_we_write_meets_every_criterion(marker, encoded, asset_of, media_type, case):
    asset = asset_of(encoded(media_type), media_type)
    signed = marker.mark([MarkJob(asset=asset, mark_id=new_mark_id())])[0].asset
    job = {
        "created": {"asset": asset},
        "altered": {"asset": asset, "source": "altered"},
        "from a signed picture": {"asset": asset, "source": "altered", "parents": (signed, asset)},
        "signed before": {"asset": signed},
    }[case]
    marked = marker.mark([MarkJob(mark_id=new_mark_id(), ledger=LEDGER, **job)])[0]
    results = check_conformance(marked.asset.data, media_type)
    assert len(results) == 31
    assert broken(results) == set()


TASKS = {
    # task: the source type, and the actions in order
    "text-to-image": ("trainedAlgorithmicMedia", ["c2pa.created"]),
    "image-to-image": ("compositeWithTrainedAlgorithmicMedia", ["c2pa.opened", "c2pa.edited"]),
    "inpaint": ("compositeWithTrainedAlgorithmicMedia", ["c2pa.opened", "c2pa.edited"]),
    "outpaint": ("compositeWithTrainedAlgorithmicMedia", ["c2pa.opened", "c2pa.edited"]),
    "upscale": ("compositeWithTrainedAlgorithmicMedia", ["c2pa.opened", "c2pa.edited"]),
}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_states_what_was_done_by_which_model(signer, development, encoded, task):
    """As a Studio marks it: see `sdk.running`. A signed input stays inside as the parent."""
    source, steps = TASKS[task]
    marker = Marker(
        signer=signer,
        codec=get_codec("dwt-dct-svd"),
        training_mining={"ai_generative_training": "notAllowed"},
        trust_anchors_pem=development.root_pem,
    )
    origin = Origin(
        generator="reference", model="tiny", model_version="3", model_digest="sha256:" + "7" * 64, task=task
    )
    asset = Asset(data=encoded(), media_type="image/png", origin=origin)
    job = {"asset": asset, "mark_id": new_mark_id(), "ledger": LEDGER}
    parent = marker.mark([MarkJob(asset=asset, mark_id=new_mark_id())])[0]
    if task != "text-to-image":
        job |= {"source": "altered", "parents": (parent.asset,)}
    marked = marker.mark([MarkJob(**job)])[0]
    assert broken(check_conformance(marked.asset.data, "image/png")) == set()
    read = CredentialReader(development.root_pem).read(marked.asset.data, "image/png")
    assert read.state == "trusted"
    assert read.digital_source_type.endswith(f"/{source}")
    made = [action for action in read.actions if "software_agent" in action]
    assert [action["action"] for action in read.actions][: len(steps)] == steps
    assert read.actions[-1]["action"] == "c2pa.watermarked.bound"
    assert made[0]["software_agent"]["name"] == "tiny"
    assert made[0]["software_agent"]["version"] == "3"
    assert made[0]["software_agent"]["io.clearmark.model_digest"] == "sha256:" + "7" * 64
    algs = [alg for alg, _ in read.bindings]
    assert algs == ["io.clearmark.dwt-dct-svd", "io.iscc.v0"]
    assert "cawg.training-mining" in read.assertions
    kept = [(one.relationship, one.state, one.manifest) for one in read.ingredients]
    expected = [("parentOf", "trusted", parent.mark.manifest.label)] if task != "text-to-image" else []
    assert kept == expected
    # No thumbnails: the manifest of a picture without ingredients stays within a few kilobytes.
    assert not any("thumbnail" in name for name in read.assertions)
    assert len(parent.mark.manifest.store) < 16 * 1024


def naive(development, encoded, actions, *, created=True, info=None, **data):
    import c2pa

    label = {"label": "c2pa.actions.v2", "data": {"actions": actions, **data}}
    if created:
        label["created"] = True
    definition = {
        "claim_generator_info": [info or {"name": "x", "specVersion": "2.4"}],
        "assertions": [label],
    }
    signer = c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(b"es256", development.chain_pem, development.key_pem, None)
    )
    out = io.BytesIO()
    builder = c2pa.Builder(json.dumps(definition), context=context(None))
    builder.sign(signer, "image/png", io.BytesIO(encoded()), out)
    return broken(check_conformance(out.getvalue(), "image/png"))


def test_each_carelessness_is_found(development, encoded):
    assert naive(development, encoded, [CREATED], allActionsIncluded=True) == set()
    assert naive(development, encoded, [CREATED]) == {"mandatory_all_actions_included"}
    assert naive(development, encoded, [CREATED], allActionsIncluded=True, info={"name": "x"}) == {
        "mandatory_spec_version"
    }
    assert naive(development, encoded, [CREATED], allActionsIncluded=True, created=False) == {
        "inception_action_position"
    }
    for action, rule in (
        ({"action": "c2pa.edited"}, "mandatory_dst_for_perceptible_transformations"),
        ({"action": "c2pa.watermarked"}, "no_deprecated_actions"),
        ({"action": "c2pa.invented", "digitalSourceType": "http://x"}, "no_unsupported_actions"),
        (
            {"action": "org.x", "parameters": {"strength": "1"}},
            "no_unrecognized_custom_action_parameters",
        ),
    ):
        assert naive(development, encoded, [CREATED, action], allActionsIncluded=True) == {rule}


def test_without_a_manifest_there_is_nothing_to_check(encoded):
    with pytest.raises(MediaError):
        check_conformance(encoded(), "image/png")
