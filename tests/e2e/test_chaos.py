"""`clearmark bench chaos` in short: everything that it counts as wrong stays at zero, and it can tell."""

import json

import pytest

from clearmark.benchmarks import _chaos_tampering
from clearmark.benchmarks._chaos_proofs import proofs
from clearmark.benchmarks.chaos import bad, main


def test_the_short_version_finds_nothing_wrong(capsys):
    counts = {"kills": 4, "cuts": 6, "faults": 2, "tamperings": 2, "clean": 5, "proofs": 6000}
    arguments = ["--json", *(f"--{name}={count}" for name, count in counts.items())]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert bad(report) == []
    assert report["kills"]["kills"] == 4
    assert report["cuts"]["acknowledged_at_stake"] > 0
    row = report["tamperings"]
    assert row["kinds"] >= 20
    assert row["done"] == row["found"] == row["named"] == 2 * row["kinds"]
    assert report["clean"]["events"] > 50
    assert report["proofs"]["refused"] > 4000


def test_every_kind_of_tampering_is_told_from_none(monkeypatch):
    """A kind that changes nothing must count as not found: the count can fail."""
    monkeypatch.setitem(_chaos_tampering.KINDS, "nothing", lambda *_: _chaos_tampering.Expected(3))
    row = _chaos_tampering.tamperings(1, seed=3, moved=lambda _: None, kinds=("nothing",))
    assert (row["found"], row["named"]) == (0, 0)
    assert bad({"tamperings": row}) == ["nothing: 1 not found", "nothing: 1 not named"]


def test_a_verifier_that_accepts_everything_is_noticed(monkeypatch):
    from clearmark.audits import Receipt

    monkeypatch.setattr(Receipt, "verify", lambda *_, **__: True)
    done = proofs(600, seed=1, moved=lambda _: None)
    assert done["accepted"] > 100
    assert bad({"proofs": done})


@pytest.mark.parametrize("part", ["kills", "cuts"])
def test_unknown_options_are_refused(part):
    with pytest.raises(SystemExit):
        main([f"--{part}", "many"])
