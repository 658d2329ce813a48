"""From a prompt to a picture, and from a copy of the picture back to the decision that let it out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SEXUAL = "explicit porn, naked woman having sex"
STANDALONE = Path(__file__).parents[2] / "audits" / "verify_standalone.py"


@pytest.mark.slow
def test_the_reference_model_from_prompt_to_proof(clearmark) -> None:
    made = clearmark("generate", "a red apple", "--seed", "7", "--steps", "4", "--out", "out", "--json")
    assert made.code == 0, made.err
    result = made.json
    (asset,) = result["assets"]
    assert result["verdict"] == "allow"
    assert asset["mark"]["watermark"]["mark_id"] == asset["mark"]["id"]
    assert asset["mark"]["manifest"]["source_type"].endswith("trainedAlgorithmicMedia")

    found = clearmark("verify", asset["path"], "--json")
    assert found.code == 0
    layers = found.json
    assert layers["credentials"]["state"] == "trusted"
    assert layers["watermark"] == {
        "state": "found",
        "codec": asset["mark"]["watermark"]["codec"],
        "mark_id": asset["mark"]["id"],
        "confidence": layers["watermark"]["confidence"],
    }
    assert layers["metadata"]["iptc"]["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert layers["ledger"]["inclusion"] == "verified"
    assert layers["ledger"]["event_id"] == asset["receipt"]["event_id"]

    ledger = clearmark("ledger", "verify", "--json")
    assert ledger.code == 0
    assert ledger.json["ok"]


def test_a_recompressed_copy_leads_to_the_event(clearmark, apple) -> None:
    made = clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out", "--json").json
    copy = clearmark.folder / "copy.jpg"
    Image.open(clearmark.folder / made["assets"][0]["path"]).convert("RGB").save(copy, quality=90)
    found = clearmark("verify", copy, "--json")
    assert found.code == 0
    assert found.json["credentials"]["state"] == "absent"
    assert found.json["watermark"]["mark_id"] == made["assets"][0]["mark"]["id"]
    assert found.json["ledger"]["event_id"] == made["assets"][0]["receipt"]["event_id"]
    event = clearmark("ledger", "show", found.json["ledger"]["event_id"], "--json").json
    assert event["kind"] == "output.decided"
    assert event["body"]["verdict"] == "allow"


def test_a_stranger_checks_the_receipt_with_one_file(clearmark, apple) -> None:
    made = clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out", "--json").json
    key = clearmark("ledger", "checkpoint", "--json").json["verifier_key"]
    (receipt,) = (clearmark.folder / "out").glob("*.receipt")
    check = [sys.executable, "-I", "-S", str(STANDALONE), str(receipt), "--key", key]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    receipt.write_text(receipt.read_text().replace("\n1\n", "\n2\n").replace("index 3", "index 2"))
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    proof = clearmark("ledger", "prove", made["receipt"]["event_id"], "--json")
    assert proof.code == 0
    assert proof.json["event_id"] == made["receipt"]["event_id"]


def test_a_sexual_prompt_is_refused_and_on_record(clearmark) -> None:
    made = clearmark("generate", SEXUAL, "--out", "out", "--actor", "ada", "--json")
    assert made.code == 3
    result = made.json
    assert result["verdict"] == "block"
    assert result["assets"] == []
    assert result["reasons"]
    assert clearmark.pictures == []
    events = clearmark("ledger", "show", "--request", result["request_id"], "--json").lines
    assert [event["kind"] for event in events] == ["request.received", "prompt.decided", "result.refused"]
    body = events[1]["body"]
    assert body["verdict"] == "block"
    assert [reason["rule"] for reason in body["reasons"]] == [reason["rule"] for reason in result["reasons"]]
    # `rules` has them in the order of the policy, the reasons the gravest first.
    assert sorted(body["rules"]) == sorted(reason["rule"] for reason in result["reasons"])
    assert "sexual" in {reason["category"] for reason in body["reasons"]}
    assert body["policy"]["digest"].startswith("sha256:")
    assert "porn" not in events[0]["body"].__repr__() + body.__repr__()


def test_an_allowed_prompt_whose_picture_is_flagged_is_refused(clearmark, flagged) -> None:
    made = clearmark("generate", "a red apple", "--backend", f"file:{flagged}", "--out", "out", "--json")
    assert made.code == 3
    assert made.json["assets"] == []
    assert made.json["withheld"][0]["findings"][0]["category"] == "sexual"
    assert clearmark.pictures == []
    events = clearmark("ledger", "show", "--kind", "output.decided", "--json").lines
    assert events[-1]["body"]["verdict"] == "block"
    assert events[-1]["body"]["rules"]


def test_one_flipped_byte_in_the_database_is_found(clearmark, apple) -> None:
    import sqlite3

    clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out")
    assert clearmark("ledger", "verify").code == 0
    database = clearmark.home / "ledger.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    target = clearmark("ledger", "show", "--kind", "output.decided", "--json").json
    data = bytearray(database.read_bytes())
    # The decision's own bytes: no other event of this request begins so.
    data[data.index(b'"asset":{"height":256,"sha256"') + 20] ^= 1
    database.write_bytes(data)
    checked = clearmark("ledger", "verify", "--json")
    assert checked.code == 4
    assert not checked.json["ok"]
    assert checked.json["first_bad"] == target["seq"]


def test_marking_and_verifying_a_folder(clearmark, apple) -> None:
    marked = clearmark("mark", apple, "--out", "out", "--source", "altered", "--json")
    assert marked.code == 0, marked.err
    assert marked.json["psnr_db"] > 30
    found = clearmark("verify", "out", "--json")
    assert found.code == 0
    assert found.json["watermark"]["mark_id"] == marked.json["mark"]["id"]
    assert clearmark("verify", apple).code == 5
    again = clearmark("mark", apple, "--out", "out")
    assert again.code == 2
    assert "exists" in again.err


def test_a_changed_picture_is_tampered(clearmark, apple) -> None:
    made = clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out", "--json").json
    path = clearmark.folder / made["assets"][0]["path"]
    data = bytearray(path.read_bytes())
    place = data.rindex(b"IDAT") + 40
    data[place] ^= 1
    path.write_bytes(data)
    found = clearmark("verify", path, "--json")
    assert found.code == 4
    assert found.json["credentials"]["state"] == "invalid"
