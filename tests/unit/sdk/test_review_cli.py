"""`clearmark review`: the queue from the command line."""

import json

import pytest
from doubting import doubting
from typer.testing import CliRunner

from clearmark.sdk.cli._app import app


@pytest.fixture
def held(home, painter, tmp_path):
    with doubting(tmp_path, home=home, backend=painter) as studio:
        result = studio.generate("an [red]apple[/red]", actor="user-1")
    return result.reviews[0]


def run(home, *words, code=0):
    done = CliRunner().invoke(app, ["review", *words, "--home", str(home.path), "--json"])
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_from_the_list_to_the_file(home, held, tmp_path):
    (listed,) = run(home, "list")
    assert (listed["review_id"], listed["state"], listed["categories"]) == (held, "open", ["violence"])
    preview = tmp_path / "preview.png"
    assert run(home, "show", held, "--out", str(preview))[0]["written"] == str(preview)
    assert preview.stat().st_mode & 0o777 == 0o600
    assert (
        run(home, "show", held, "--reveal", "--reviewer", "ann", code=2)[0]["error"]["type"]
        == "ReviewRefused"
    )
    run(home, "claim", held, "--reviewer", "ann")
    shown = run(home, "show", held, "--reveal", "--reviewer", "ann", "--out", str(tmp_path / "real.png"))[0]
    assert shown["prompt"] == "an [red]apple[/red]"
    run(home, "decide", held, "--approve", "--reviewer", "user-1", code=2)
    decided = run(home, "decide", held, "--approve", "--reviewer", "ann", "--label", "violence=fine")[0]
    assert decided["state"] == "approved"
    left = run(home, "release", held, "--out", str(tmp_path / "out"))[0]
    assert left["state"] == "released"
    assert left["mark"]["id"] == left["mark_id"]
    assert (tmp_path / "out" / f"{held}.receipt").exists()
    verified = CliRunner().invoke(app, ["verify", left["path"], "--home", str(home.path), "--json"])
    assert json.loads(verified.stdout)["ledger"]["event_id"] == left["final_event"]
    assert run(home, "list") == []
    assert run(home, "list", "--state", "released")[0]["review_id"] == held


def test_reject_and_appeal(home, held):
    assert (
        run(home, "decide", held, "--reject", "--reviewer", "ann", "--note", "no")[0]["state"] == "rejected"
    )
    appealed = run(home, "appeal", held, "--by", "user-1")[0]
    assert (appealed["state"], appealed["needed"], appealed["level"]) == ("open", 2, 1)
    run(home, "escalate", held, "--reviewer", "bob", code=2)
    assert run(home, "sweep") == [{"swept": 0}]


def test_errors_are_words(home, held):
    assert "no review" in run(home, "show", "nope", code=2)[0]["error"]["message"]
    assert "unknown state" in run(home, "list", "--state", "lost", code=2)[0]["error"]["message"]
    run(home, "claim", held, code=2)
    run(home, "decide", held, "--reject", "--reviewer", "ann", "--label", "violence", code=2)


def test_tables_for_people(home, held):
    for words in (["list"], ["show", held]):
        done = CliRunner().invoke(app, ["review", *words, "--home", str(home.path)])
        assert done.exit_code == 0
        assert "violence" in done.stdout
