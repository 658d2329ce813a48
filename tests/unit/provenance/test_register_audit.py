"""Which items may be trained on, and under which rule; near-copies; removal with proof; documents."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data import (
    DataPolicy,
    Dataset,
    Item,
    Licence,
    ModelFacts,
    Register,
    RemovalProof,
    Selection,
    audit,
    check_removal,
    import_source,
    open_source,
    remove_items,
    summarize,
    write_documents,
)
from clearmark.provenance.training_data.auditing import judge_item
from clearmark.provenance.training_data.duplicates import find_clusters
from clearmark.provenance.training_data.opt_outs import OptOutList

ITEM = Item(
    number=1,
    key="a.png",
    state="held",
    source="https://a.example/a.png",
    creator="Ann",
    licence=Licence("CC0-1.0", "cc0"),
    caption="a pear",
    category="",
    acquired="2026-08-02",
    method="upload",
    sha256="ab" * 32,
    phash=7,
    colours=bytes(192),
    media_type="image/png",
    size=1,
    width=1,
    height=1,
    consent="",
    consent_ref="",
    opt_out="none",
    measures={},
    leaf="",
)
NOBODY = OptOutList.of([])


def rule(item, text="", opt_outs=NOBODY):
    policy = DataPolicy.parse(text) if text else DataPolicy()
    found = judge_item(item, policy, opt_outs)
    return found[0] if found else "allowed"


def licensed(spdx):
    return replace(ITEM, licence=Licence(spdx, ""))


@pytest.mark.parametrize(
    ("spdx", "text", "outcome"),
    [
        ("CC0-1.0", "", "allowed"),
        ("CC-BY-4.0", "", "allowed"),
        ("CC-BY-SA-4.0", "", "share-alike"),
        ("CC-BY-SA-4.0", "licences: {share_alike: allow}", "allowed"),
        ("CC-BY-NC-4.0", "", "non-commercial"),
        ("CC-BY-NC-SA-4.0", "licences: {non_commercial: allow}", "share-alike"),
        ("CC-BY-ND-4.0", "", "no-derivatives"),
        ("GPL-2.0-only", "", "share-alike"),
        ("NOASSERTION", "", "licence-unknown"),
        ("NOASSERTION", "licences: {unknown: allow}", "allowed"),
        ("LicenseRef-contract-7", "", "licence-unknown"),
        ("LicenseRef-contract-7", "licences: {allow: [LicenseRef-contract-7]}", "allowed"),
        ("MIT", "licences: {allow: [CC0-1.0]}", "licence-not-allowed"),
        ("CC0-1.0", "licences: {deny: ['CC*']}", "licence-denied"),
        ("MIT OR GPL-3.0-only", "", "allowed"),
        ("MIT AND GPL-3.0-only", "", "share-alike"),
    ],
)
def test_licence_rules(spdx, text, outcome):
    assert rule(licensed(spdx), text) == outcome


@pytest.mark.parametrize(
    ("changes", "text", "outcome"),
    [
        ({"opt_out": "reserved"}, "", "opt-out"),
        ({"opt_out": "reserved"}, "opt_outs: {reserved: unsafe_allow}", "allowed"),
        ({"opt_out": "unread"}, "", "allowed"),
        ({"opt_out": "unread"}, "opt_outs: {unread: deny}", "opt-out-unread"),
        ({"consent": "refused"}, "", "consent"),
        ({}, "personal_data: {consent: required}", "consent"),
        ({"consent": "not-needed"}, "personal_data: {consent: required}", "allowed"),
        ({"caption": "write to ann@example.org"}, "", "personal-data"),
        ({"caption": "call +49 (30) 1234567"}, "", "personal-data"),
        ({"caption": "ann@example.org"}, "personal_data: {contact_in_caption: allow}", "allowed"),
        ({"measures": {"faces": 2_000_000}}, "", "faces"),
        ({"measures": {"faces": 2_000_000}, "consent": "given"}, "", "allowed"),
        ({"measures": {"faces": 2_000_000}, "consent": "given"}, "personal_data: {faces: deny}", "faces"),
        ({"measures": {"nsfw": 600_000}}, "", "nsfw"),
        ({"measures": {"nsfw": 600_000}}, "screens: {limits: {nsfw: 0.7}}", "allowed"),
        ({}, "screens: {required: [nsfw]}", "not-screened"),
        ({"measures": {"blank": 1_000_000}}, "", "blank"),
        ({"measures": {"known-abuse": 1_000_000}}, "screens: {limits: {}}", "known-abuse"),
        ({"state": "removed", "removal": "x"}, "", "removed"),
    ],
)
def test_other_rules(changes, text, outcome):
    assert rule(replace(ITEM, **changes), text) == outcome


def test_a_registered_opt_out_counts_at_once():
    assert rule(ITEM, opt_outs=OptOutList.of([("host", "a.example")])) == "opt-out"
    assert rule(ITEM, opt_outs=OptOutList.of([("phash", f"{6:016x}")])) == "opt-out"
    assert rule(ITEM, opt_outs=OptOutList.of([("creator", "bo")])) == "allowed"


def test_the_digest_of_a_policy_is_that_of_what_it_says():
    assert DataPolicy.parse("{}").digest == DataPolicy().digest
    assert DataPolicy.parse("name: other").digest != DataPolicy().digest
    assert (
        DataPolicy.parse("screens: {limits: {nsfw: 0.5, watermark: 0.8, blank: 0.5}}").digest
        == DataPolicy().digest
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sets(st.integers(0, 63), max_size=3), st.sampled_from([0, 5, 200])),
        max_size=40,
    ),
    st.integers(0, 4),
)
def test_clusters_are_those_of_a_search_through_all_pairs(rows, distance):
    bases = [0, 2**64 - 1, 0x0F0F0F0F0F0F0F0F, 1 << 63, 3, 0xFFFF0000FFFF0000]
    hashes = []
    for base, flipped, _ in rows:
        value = bases[base]
        for bit in flipped:
            value ^= 1 << bit
        hashes.append(value)
    colours = np.array([[level] * 192 for _, _, level in rows], dtype=np.uint8).reshape(len(rows), 192)
    found = find_clusters(np.array(hashes, dtype=np.uint64), colours, distance=distance, levels=12)

    expected = list(range(len(rows)))
    for i in range(len(rows)):  # the first item without a leader leads all that are near to it
        if expected[i] != i:
            continue
        for j in range(i + 1, len(rows)):
            near = (hashes[i] ^ hashes[j]).bit_count() <= distance and abs(rows[i][2] - rows[j][2]) <= 12
            if near and expected[j] == j:
                expected[j] = i
    # Copies that are equal share a leader, whichever of them came first.
    assert found.leaders.tolist() == expected
    assert found.exact
    assert found.count == len(set(expected))


def drawing(seed, form="PNG", **options):
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (200, 160), tuple(int(c) for c in random.integers(0, 255, 3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(9):
        x, y, w, h, *colour = (int(v) for v in random.integers(0, 160, 7))
        draw.ellipse((x, y, x + w, y + h), fill=tuple(colour))
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(5):
        (root / f"{number}.png").write_bytes(drawing(number))
        said = {
            "creator": "Ann" if number % 2 else "Bo <bo@example.org>",
            "license": "CC0-1.0",
            "caption": f"n{number}",
        }
        (root / f"{number}.json").write_text(json.dumps(said))
    (root / "0-again.jpg").write_bytes(drawing(0, "JPEG", quality=70))
    (root / "z.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def register(tmp_path, folder):
    with Register(tmp_path / "register.db") as opened:
        opened.put_dataset(Dataset(name="data", description="Drawings | for <tests>", publisher="Tests"))
        import_source(opened, open_source("folder", folder), dataset="data")
        yield opened


def test_an_audit_names_every_item_once(register):
    version = register.version("data")
    run = audit(register, version)
    outcomes = list(run)
    assert [outcome.key for outcome in outcomes] == [item.key for item in register.items(version)]
    by_key = {outcome.key: outcome for outcome in outcomes}
    # The JPEG comes first by name. It may not be trained on, so the PNG that it was made from may.
    assert by_key["0-again.jpg"].rule == "licence-unknown"
    assert by_key["0.png"].copy_of == by_key["0-again.jpg"].number
    assert by_key["0.png"].allowed
    lenient = {
        outcome.key: outcome
        for outcome in audit(register, version, DataPolicy.parse("licences: {unknown: allow}"))
    }
    assert (lenient["0-again.jpg"].allowed, lenient["0.png"].rule) == (True, "duplicate")
    assert by_key["z.png"].rule == "quarantined"
    summary = run.summary.to_dict()
    assert summary["items"] == 7
    assert summary["allowed"] + summary["denied"] == 7
    assert sum(summary["rules"].values()) == 7
    assert summary["duplicates"]["duplication_factor"] == 1.2
    assert summary["duplicates"]["largest_cluster"] == 2


def test_items_that_are_only_described_are_copies_by_their_digest(tmp_path):
    rows = [{"sha256": digest * 32, "license": "CC0-1.0"} for digest in ("ab", "cd", "ab", "ab")]
    (tmp_path / "l.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with Register(tmp_path / "own.db") as register:
        register.put_dataset(Dataset(name="list"))
        version = import_source(register, open_source("jsonl", tmp_path / "l.jsonl"), dataset="list")
        assert [(item.rule, item.copy_of) for item in audit(register, version)] == [
            ("licence", 0),
            ("licence", 0),
            ("duplicate", 1),
            ("duplicate", 1),
        ]


def test_the_policy_in_the_documentation_is_the_default():
    text = (Path(__file__).parents[3] / "docs" / "training-data.md").read_text(encoding="utf-8")
    assert DataPolicy.parse(text.split("```yaml\n")[1].split("```")[0]).digest == DataPolicy().digest


def test_a_summary_counts(register):
    counted = summarize(register, register.version("data"))
    assert counted.licences == {"CC0-1.0": 5, "NOASSERTION": 2}
    assert counted.creators == {"Bo <bo@example.org>": 3, "Ann": 2}
    assert (counted.creators_total, counted.unnamed) == (2, 2)
    assert counted.quarantine == {"unknown-format": 1}
    assert counted.opt_outs == {"none": 6, "unread": 1}
    assert counted.different == 7


def signer(data):
    import hashlib

    return "key " + hashlib.sha256(b"secret" + data).hexdigest()


def verify(data, signature):
    return signer(data) == signature


def test_a_removal_is_proven(register, folder, tmp_path):
    version = register.version("data")
    register.record_use(version, kind="model", name="m", digest="sha256:" + "1" * 64)
    register.record_use(version, kind="index", name="i", digest="sha256:" + "2" * 64)
    told = []

    def update_index(use, digests):
        told.extend(digests)
        return "sha256:" + "3" * 64

    proof = remove_items(
        register, Selection(creators=["Ann"]), reason="asked", signer=signer, update_index=update_index
    )
    after = register.version("data")
    assert (after.held, after.quarantined, after.removed, after.read) == (4, 1, 2, 7)
    assert proof.body["versions"] == [
        {"name": "data@1", "items": 2, "before": version.digest, "after": after.digest}
    ]
    assert [use["outcome"] for use in proof.body["used_by"]] == [
        "it was trained before the removal; its weights are unchanged",
        "the items were deleted from it",
    ]
    assert sorted(told) == sorted(row["sha256"] for row in proof.body["items"])
    gone = [item for item in register.items(after) if item.state == "removed"]
    assert all((item.creator, item.caption, item.source, item.phash) == ("", "", "", None) for item in gone)
    assert check_removal(register, proof, verify=verify).ok
    files = list(tmp_path.glob("register.db*"))
    assert len(files) > 1
    assert not any(b"Ann" in path.read_bytes() for path in files)

    # A later removal leaves the earlier proof checkable, and the other way round.
    second = remove_items(register, Selection(keys=["2.png"]), reason="too", signer=signer)
    assert check_removal(register, proof, verify=verify).ok
    assert check_removal(register, second, verify=verify).ok
    # What was removed does not come back.
    again = import_source(register, open_source("folder", folder), dataset="data", label="2")
    turned_away = [
        item.key for item in register.items(again) if item.fault and item.fault.code == "registered-opt-out"
    ]
    assert turned_away == ["1.png", "2.png", "3.png"]


def test_the_words_of_a_licence_go_when_nobody_else_uses_them(tmp_path):
    said = ["pictures of Ann, ask her", "pictures of Ann, ask her", "CC0-1.0"]
    (tmp_path / "l.jsonl").write_text(
        "\n".join(json.dumps({"id": str(n), "license": s}) for n, s in enumerate(said))
    )
    with Register(tmp_path / "own.db") as register:
        register.put_dataset(Dataset(name="list"))
        version = import_source(register, open_source("jsonl", tmp_path / "l.jsonl"), dataset="list")
        keys = [item.key for item in register.items(version)]
        for left, key in ((1, keys[0]), (0, keys[1])):
            proof = remove_items(register, Selection(keys=[key]), reason="asked", signer=signer)
            evidence = [item.licence.evidence for item in register.items(version)]
            assert evidence.count(said[0]) == left
            assert check_removal(register, proof, verify=verify).ok
    assert b"Ann" not in (tmp_path / "own.db").read_bytes()


def test_near_copies_go_with_their_original(register):
    proof = remove_items(register, Selection(keys=["0.png"], copies=True), reason="asked", signer=signer)
    assert [row["key"] for row in proof.body["items"]] == ["0-again.jpg", "0.png"]


def test_a_proof_that_was_changed_does_not_hold(register):
    proof = remove_items(register, Selection(keys=["1.png"]), reason="asked", signer=signer)
    document = json.loads(json.dumps(proof.to_dict()))
    document["body"]["versions"][0]["after"] = "sha256:" + "0" * 64
    changed = RemovalProof.from_dict(document)
    faults = check_removal(register, changed, verify=verify).faults
    assert any("signature" in fault for fault in faults)
    assert any("after the removal" in fault for fault in faults)
    document["body"]["items"][0]["number"] = 3
    assert any(
        "another one" in f
        for f in check_removal(register, RemovalProof.from_dict(document), verify=None).faults
    )
    assert check_removal(register, proof, verify=None).faults == ("the signature was not checked",)


@pytest.mark.parametrize("selection", [Selection(), Selection(keys=["nothing"]), Selection(sha256=["12"])])
def test_a_removal_of_nothing_is_refused(register, selection):
    with pytest.raises(UsageError):
        remove_items(register, selection, reason="x", signer=signer)


def test_a_signer_that_fails_leaves_everything_in_place(register):
    def broken(_):
        raise RuntimeError("no key")

    with pytest.raises(RuntimeError):
        remove_items(register, Selection(keys=["1.png"]), reason="x", signer=broken)
    assert register.version("data").removed == 0
    assert all(item.state != "removed" for item in register.items(register.version("data")))


@pytest.mark.parametrize("document", [None, {}, {"body": {}}, {"body": {"type": "x"}, "signature": ""}, []])
def test_what_is_no_proof_is_refused(document):
    with pytest.raises(UsageError):
        RemovalProof.from_dict(document)


MODEL = ModelFacts(
    name="drawer",
    version="2",
    digest="sha256:" + "4" * 64,
    licence="Apache-2.0",
    architecture="UNet2DConditionModel",
    training="Two hours.",
    metrics=[("accuracy", "0.6", "200 prompts")],
    uses=["Drawing."],
    limitations=["No photographs."],
    parameters={"steps": "20"},
)


@pytest.fixture
def documents(register, tmp_path):
    return write_documents(register, register.version("data"), tmp_path / "documents", model=MODEL)


def test_the_bill_of_materials_fits_the_schema_of_cyclonedx(documents):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = documents["cyclonedx"].read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"] == [
        {"ref": bom["components"][0]["bom-ref"]}
    ]


def test_the_spdx_document_fits_the_model_of_spdx(documents):
    import spdx_python_model

    model, objects = spdx_python_model.load_data(json.loads(documents["spdx"].read_text()))
    (package,) = objects.foreach_type(model.dataset_DatasetPackage)
    (ai,) = objects.foreach_type(model.ai_AIPackage)
    assert package.dataset_datasetSize == 6
    assert ai.ai_limitation == "No photographs."
    kinds = [relation.relationshipType for relation in objects.foreach_type(model.Relationship)]
    assert sum(kind.endswith("trainedOn") for kind in kinds) == 1
    # The one reference that is no element of the document is an individual that SPDX itself defines.
    assert objects.missing_ids <= {"https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"}


@pytest.mark.filterwarnings("ignore")
def test_the_croissant_loads_with_its_own_library(documents):
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(documents["croissant"]))
    assert not dataset.metadata.ctx.issues.errors
    records = list(dataset.records("item"))
    assert len(records) == 7
    assert records[1]["item/key"] == b"0.png"
    assert [bool(record["item/allowed"]) for record in records].count(True) == 5
    assert dataset.metadata.version == "1.0.0"


def test_cards_hold_the_counts_and_no_markup_of_strangers(documents):
    card = documents["card"].read_text()
    assert "| CC0-1.0 | 5 |" in card
    assert "Drawings \\| for &lt;tests&gt;" in card
    assert "bo@example.org" not in card
    assert "bo@example.org" not in documents["items"].read_text()
    model_card = documents["model_card"].read_text()
    assert "sha256:" + "4" * 64 in model_card
    assert "data@1" in model_card


def test_what_cannot_be_a_use_is_refused(register):
    with pytest.raises(UsageError):
        register.record_use(register.version("data"), kind="thing", name="x", digest="y")
    one = register.record_use(register.version("data"), kind="model", name="x", digest="y")
    assert register.record_use(register.version("data"), kind="model", name="x", digest="y") == one
    assert register.uses() == (one,)


def test_items_are_found_by_their_bytes(register):
    item = next(iter(register.items(register.version("data"))))
    assert [(v.name, found.key) for v, found in register.find(f"sha256:{item.sha256}")] == [
        ("data@1", item.key)
    ]
    assert register.find("00" * 32) == ()
    with pytest.raises(UsageError):
        register.find("xyz")
