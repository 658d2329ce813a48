"""What we write meets every criterion; manifests made without care do not."""

from __future__ import annotations

import io
import json

import pytest

from clearmark.core.errors import MediaError
from clearmark.provenance import MarkJob, new_mark_id
from clearmark.provenance.credentials import LedgerRef, check_conformance
from clearmark.provenance.credentials.trust import context

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
    assert len(results) == 26
    assert broken(results) == set()


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
