"""`clearmark ledger`: what its keeper does with it, and that all of it goes on record."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from clearmark.audits import verify_export
from clearmark.core import Event
from clearmark.sdk import Home
from clearmark.sdk.cli._app import app
from clearmark.sdk.studio import open_ledger


@pytest.fixture(name="home")
def state_folder(tmp_path) -> Home:
    """A ledger with three requests: one answered, one never, one twice."""
    place = Home(tmp_path / "home").ensure()
    with open_ledger(place) as ledger:
        for number, ends in enumerate((1, 0, 2)):
            request = {"request_id": f"r-{number}", "ts_us": 1_790_000_000_000_000 + number}
            body = {"process": "p", "counter": number}
            ledger.append(
                [
                    Event(
                        kind="request.received",
                        body=body,
                        personal={"prompt": b"x"},
                        subject="default/ada",
                        **request,
                    ),
                    *(Event(kind="result.released", **request) for _ in range(ends)),
                ]
            )
    return place


def run(home, *words, code=0):
    done = CliRunner().invoke(app, ["ledger", *map(str, words), "--home", str(home.path)])
    assert done.exit_code == code, done.output
    return done


def documents(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def kinds(home):
    with open_ledger(home, create=False) as ledger:
        return [event.kind for event in ledger.events()]


def test_an_export_is_complete_checked_and_on_record(home, tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    (made,) = documents(run(home, "export", file, "--kind", "request.*", "--by", "auditor-1", "--json"))
    assert made["events"] == 3
    assert verify_export(file, made["verifier_key"]) == 3
    assert file.stat().st_mode & 0o777 == 0o600
    with open_ledger(home, create=False) as ledger:
        event = ledger.get(made["event_id"])
    assert event.kind == "ledger.exported"
    assert (event.body["by"], event.body["chosen"]) == ("auditor-1", {"kind": "request.*"})
    assert event.body["sha256"] == made["sha256"]
    run(home, "export", file, code=2)
    assert "verify_standalone" in run(home, "export", tmp_path / "b.jsonl", "--from", "2031-01-01").stdout


def test_holds_are_placed_listed_and_lifted_by_two(home) -> None:
    assert "no hold" in run(home, "hold", "list").stdout
    (hold,) = documents(run(home, "hold", "place", "--reason", "case 7", "--subject", "ada", "--json"))
    assert documents(run(home, "hold", "list", "--json")) == [hold]
    assert "case" in run(home, "hold", "list").stdout
    run(home, "erase", "ada", code=1)
    run(home, "hold", "release", hold["hold_id"], "--by", "a", "--by", "a", "--reason", "over", code=2)
    run(home, "hold", "release", "none", "--by", "a", "--by", "b", "--reason", "over", code=1)
    run(home, "hold", "release", hold["hold_id"], "--by", "a", "--by", "b", "--reason", "over", "--json")
    assert documents(run(home, "hold", "list", "--json")) == []
    run(home, "erase", "ada")
    assert kinds(home)[-3:] == ["hold.placed", "hold.released", "erasure"]


def test_what_was_not_answered_once_is_listed(home) -> None:
    (found,) = documents(run(home, "reconcile", "--json", code=4))
    assert (found["unfinished"], found["doubled"], found["ok"]) == (["r-1"], ["r-2"], False)
    shown = run(home, "reconcile", code=4).stdout
    assert "never answered" in shown
    assert "more than once" in shown
    assert documents(run(home, "reconcile", "--json", "--from", "2031-01-01"))[0]["ok"]


def test_reading_goes_on_record(home) -> None:
    rows = documents(run(home, "show", "--request", "r-0", "--by", "auditor-1", "--json"))
    assert [row["kind"] for row in rows] == ["request.received", "result.released"]
    with open_ledger(home, create=False) as ledger:
        (event,) = ledger.events(kind="ledger.read")
        assert event.body == {"by": "auditor-1", "chosen": {"request": "r-0"}, "events": 2}
        ledger.prune(before=1_790_000_000_000_001)
    assert "pruned" in documents(run(home, "show", "--request", "r-0", "--json"))[0]


def test_what_is_damaged_can_still_be_read(home) -> None:
    log = home.path / "ledger.checkpoints.log"
    lines = log.read_text().splitlines(keepends=True)
    text, gap, signature = json.loads(lines[-1])["note"].rpartition(" ")
    log.write_text(lines[0] + json.dumps({"note": text + gap + signature.swapcase()}) + "\n")
    done = run(home, "show", "--request", "r-0", "--json")
    assert len(documents(done)) == 2
    assert "not on record" in done.stderr
    assert "ledger.read" not in kinds(home)


def test_a_second_key_signs_from_now_on(home, tmp_path) -> None:
    public = tmp_path / "second"
    (made,) = documents(run(home, "add-key", "--out", public, "--json"))
    assert public.read_text().strip() == made["second_key"]
    assert kinds(home)[-1] == "ledger.key-added"
    assert (home.keys / "ledger-mldsa44.pem").stat().st_mode & 0o777 == 0o600
    (head,) = documents(run(home, "checkpoint", "--json"))
    assert head["second_key"] == made["second_key"]
    assert len(head["note"].strip().splitlines()) == 6
    (report,) = documents(run(home, "verify", "--json"))
    assert report["ok"]
    assert "second-signature" in {check["name"] for check in report["checks"]}
    run(home, "add-key", code=2)
    (home.keys / "ledger-mldsa44.pem").unlink()
    run(home, "verify", code=6)


def test_who_had_the_ledger_open_is_fenced_off(home) -> None:
    from clearmark.core import Event
    from clearmark.core.errors import LedgerUnavailable

    def fence(*words, code=0):
        done = CliRunner().invoke(app, ["db", "fence", *words, "--home", str(home.path), "--json"])
        assert done.exit_code == code, done.output
        return documents(done)[0] if not code else None

    with open_ledger(home, create=False) as ledger:
        assert fence("--reason", "it hangs", "--by", "person-1") == {"epoch": 1}
        with pytest.raises(LedgerUnavailable, match="epoch 1 has begun"):
            ledger.append([Event(kind="a", request_id="r")])
    assert fence("--reason", "again", "--by", "person-1") == {"epoch": 2}
    fence("--reason", " ", "--by", "person-1", code=2)
    assert kinds(home)[-2:] == ["ledger.fenced"] * 2
