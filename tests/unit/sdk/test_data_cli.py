"""`clearmark data`, from import to the proof of a removal, as one would type it."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from clearmark.sdk.cli._app import app


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home") / "state"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number, licence in enumerate(("CC0-1.0", "CC BY-NC 4.0")):
        picture = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(picture).ellipse((5 + number * 20, 9, 50, 40 + number * 9), fill="red")
        picture.save(root / f"{number}.png")
        said = {"license": licence, "creator": "Ann", "caption": f"number {number}"}
        (root / f"{number}.json").write_text(json.dumps(said))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return root


@pytest.fixture(scope="module")
def run(home):
    runner = CliRunner()

    def call(*words, code=0):
        found = runner.invoke(app, ["data", *map(str, words), "--home", str(home)])
        assert found.exit_code == code, found.output
        return found.stdout

    return call


@pytest.fixture(scope="module")
def added(run, pictures):
    return json.loads(run("add", "folder", pictures, "--name", "drawings", "--screen", "nudity", "--json"))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_add_puts_every_file_on_record(added, home):
    assert (added["items"], added["held"], added["quarantined"]) == (3, 2, 1)
    assert added["digest"].startswith("sha256:")
    assert (home / "register.db").stat().st_mode & 0o777 == 0o600


def test_the_same_version_is_not_added_twice(run, added, pictures):
    assert "--version" in run("add", "folder", pictures, "--name", "drawings", "--json", code=2)


def test_audit_says_it_item_by_item(run, added):
    *items, last = lines(run("audit", "drawings", "--json"))
    assert [(item["key"], item["rule"]) for item in items] == [
        ("0.png", "licence"),
        ("1.png", "non-commercial"),
        ("broken.jpg", "quarantined"),
    ]
    assert last["summary"]["allowed"] == 1
    assert "1 of 3 items may be trained on" in run("audit")


def test_a_policy_file_changes_what_is_allowed(run, added, tmp_path):
    (tmp_path / "lenient.yaml").write_text("name: lenient\nlicences: {non_commercial: allow}\n")
    assert "2 of 3 items" in run("audit", "--policy", tmp_path / "lenient.yaml")
    (tmp_path / "broken.yaml").write_text("licences: [\n")
    run("audit", "--policy", tmp_path / "broken.yaml", code=2)


def test_summary_counts_and_writes_documents(run, added, tmp_path):
    (found,) = lines(run("summary", "drawings", "--out", tmp_path, "--json"))
    assert found["licences"] == {"CC-BY-NC-4.0": 1, "CC0-1.0": 1, "NOASSERTION": 1}
    assert sorted(found["documents"]) == ["card", "croissant", "cyclonedx", "items", "spdx"]
    assert "nudity" not in (tmp_path / "drawings-1" / "DATASET_CARD.md").read_text()
    assert "Ann" in run("summary")


def test_summary_writes_the_card_of_a_model(run, added, tmp_path):
    facts = {
        "name": "m",
        "version": "1",
        "digest": "sha256:" + "6" * 64,
        "licence": "MIT",
        "uses": ["Drawing."],
    }
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    given = ("summary", "drawings", "--out", tmp_path / "out", "--model", tmp_path / "facts.json")
    (found,) = lines(run(*given, "--json"))
    assert "model_card" in found["documents"]
    assert "Drawing." in (tmp_path / "out" / "drawings-1" / "MODEL_CARD.md").read_text()
    for broken in ({**facts, "digest": "x"}, {**facts, "other": 1}, {**facts, "uses": "Drawing."}, [], {}):
        (tmp_path / "facts.json").write_text(json.dumps(broken))
        run(*given, code=2)
    run("summary", "--model", tmp_path / "facts.json", code=2)


def test_every_item_was_screened(run, added, tmp_path):
    (tmp_path / "screened.yaml").write_text("screens: {required: [nsfw]}\n")
    *items, _ = lines(run("audit", "--policy", tmp_path / "screened.yaml", "--json"))
    assert "not-screened" not in {item["rule"] for item in items}
    (row,) = lines(run("list", "--json"))
    assert row["dataset"] == "drawings"
    assert "drawings@1" in run("list")


def test_a_model_is_on_record_when_it_used_only_what_is_allowed(run, added, tmp_path):
    given = (
        "use",
        "drawings",
        "--model",
        "m",
        "--digest",
        "sha256:" + "5" * 64,
        "--items",
        tmp_path / "items",
    )
    (tmp_path / "items").write_text(
        json.dumps({"items": [{"path": "0.png"}, {"path": "1.png"}, "other.png"]})
    )
    found = json.loads(run(*given, "--json", code=3))
    assert [item["rule"] for item in found["refused"]] == ["non-commercial"]
    assert found["unknown"] == ["other.png"]
    assert "model m" not in run("list")
    (tmp_path / "items").write_text("0.png\n")
    assert "all of them allowed" in run(*given)
    assert "model m" in run("list")
    (tmp_path / "items").write_text("[]")
    run(*given, code=2)
    run("use", "drawings", "--items", tmp_path / "items", code=2)


def test_what_is_not_there_is_said(run, added, tmp_path):
    run("audit", "nothing", code=2)
    run("add", "folder", tmp_path / "absent", code=2)
    run("add", "folder", tmp_path, "--consent", "perhaps", code=2)
    run("add", "folder", tmp_path, "--acquired", "yesterday", code=2)
    run("add", "folder", tmp_path, "--screen", "magic", code=2)
    run("check", tmp_path / "absent.json", code=2)
    run("remove", "--reason", "x", code=2)


def test_a_removal_is_proven_and_recorded(run, added, pictures, tmp_path, home):
    proof = tmp_path / "proof.json"
    assert "1 items removed" in run("remove", "--key", "0.png", "--reason", "asked", "--out", proof)
    assert run("check", proof).startswith("ok")
    changed = json.loads(proof.read_text())
    changed["body"]["reason"] = "other"
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    assert "signature" in run("check", tmp_path / "changed.json", code=4)
    assert "1 opt-outs registered" in run("opt-out", "creator", "Ann", "--reason", "asked")
    again = json.loads(run("add", "folder", pictures, "--name", "drawings", "--version", "2", "--json"))
    assert (again["held"], again["quarantined"]) == (0, 3)

    ledger = CliRunner().invoke(app, ["ledger", "show", "--home", str(home), "--json"])
    events = lines(ledger.stdout)
    assert [event["kind"] for event in events] == [
        "data.imported",
        "data.used",
        "data.removed",
        "data.imported",
    ]
    assert events[0]["body"]["digest"] == events[1]["body"]["dataset_digest"] == added["digest"]
    assert events[2]["body"]["versions"][0]["before"] == added["digest"]
    assert "Ann" not in ledger.stdout
