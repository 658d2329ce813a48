"""`clearmark policy shadow, promote, rollback`: the file changes, on record, and the change can be undone."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from clearmark.core import Event
from clearmark.policies import Policy
from clearmark.sdk import Home
from clearmark.sdk.cli._app import app
from clearmark.sdk.studio import open_ledger

TEXT = """\
schema: clearmark/policy/v1
name: acme
version: "1"
rules:
  - id: big-batch
    stage: prompt
    when: request.n > 8
    action: review  # they are many
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "acme.yaml"
    path.write_text(TEXT)
    return path


def run(tmp_path, *words, code=0):
    done = CliRunner().invoke(app, ["policy", *map(str, words), "--home", str(tmp_path / "home")])
    assert done.exit_code == code, done.output
    return done


def bodies(tmp_path, kind):
    with open_ledger(Home(tmp_path / "home"), create=False) as ledger:
        return [event.body for event in ledger.events(kind=kind)]


def test_there_and_back_again(tmp_path, file):
    first = Policy.load(file).ref.digest
    made = json.loads(
        run(tmp_path, "shadow", file, "big-batch", "--expires", "2099-01-01", "--by", "ann", "--json").stdout
    )
    assert Policy.load(file).rules[0].mode == "shadow"
    assert made["digest"] == Policy.load(file).ref.digest != first
    run(tmp_path, "rollback", file, "--by", "bob")
    assert file.read_text() == TEXT
    run(tmp_path, "shadow", file, "big-batch", "--expires", "2099-01-01")
    run(tmp_path, "promote", file, "big-batch")
    assert file.read_text() == TEXT
    run(tmp_path, "rollback", file, "--to", made["digest"])
    assert Policy.load(file).ref.digest == made["digest"]
    steps = bodies(tmp_path, "policy.edited")
    assert [(step["action"], step["policy"]["digest"]) for step in steps] == [
        ("shadow", made["digest"]),
        ("rollback", first),
        ("shadow", made["digest"]),
        ("promote", first),
        ("rollback", made["digest"]),
    ]
    assert [step["by"] for step in steps[:2]] == ["ann", "bob"]
    with open_ledger(Home(tmp_path / "home"), create=False) as ledger:
        assert ledger.verify().ok


def test_what_cannot_be_taken_back_is_said(tmp_path, file):
    for words in ([], ["--to", "sha256:" + "0" * 64], ["--to", "yesterday"]):
        done = run(tmp_path, "rollback", file, *words, code=2)
        assert "error" in done.output
    run(tmp_path, "shadow", file, "no-such-rule", "--expires", "2099-01-01", code=2)
    run(tmp_path, "shadow", file, "big-batch", "--expires", "soon", code=2)
    assert file.read_text() == TEXT
    run(tmp_path, "shadow", file, "big-batch", "--expires", "2099-01-01")
    kept = next((tmp_path / "home" / "policies").iterdir())
    kept.write_text(TEXT.replace("> 8", "> 800"))
    run(tmp_path, "rollback", file, code=2)
    assert Policy.load(file).rules[0].mode == "shadow"


def test_a_step_that_cannot_be_recorded_is_not_done(tmp_path, file, monkeypatch):
    from clearmark.audits import Ledger
    from clearmark.core.errors import LedgerUnavailable

    def full(*_):
        raise LedgerUnavailable("the disk is full")

    monkeypatch.setattr(Ledger, "append", full)
    run(tmp_path, "shadow", file, "big-batch", "--expires", "2099-01-01", code=1)
    assert file.read_text() == TEXT


def test_replay_and_proofs_are_reads_on_record(tmp_path):
    home = Home(tmp_path / "home").ensure()
    with open_ledger(home) as ledger:
        (record,) = ledger.append([Event(kind="prompt.decided", request_id="r", body={"verdict": "allow"})])
    run(tmp_path, "replay", "default")
    done = CliRunner().invoke(app, ["ledger", "prove", record.event_id, "--home", str(home.path)])
    assert done.exit_code == 0, done.output
    reads = bodies(tmp_path, "ledger.read")
    assert [(read["chosen"]["for"], read["events"]) for read in reads] == [
        ("policy replay", 1),
        ("ledger prove", 1),
    ]
