"""`clearmark bench chaos` in short: everything that it counts as wrong stays at zero, and it can tell."""

import json
import random
import sqlite3
from contextlib import closing

import pytest

from clearmark.audits.ledger import _verify
from clearmark.benchmarks import _chaos_tampering
from clearmark.benchmarks._chaos_ledgers import Copy, build
from clearmark.benchmarks._chaos_proofs import proofs
from clearmark.benchmarks._chaos_tampering import KINDS, Expected, look
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


def test_only_the_kinds_asked_for_are_tampered_with(capsys):
    counts = ("--kills=0", "--cuts=0", "--faults=0", "--clean=0", "--proofs=0", "--tamperings=1")
    assert main(["--json", *counts, "--kinds", "exchanged", "tail cut"]) == 0
    by_kind = json.loads(capsys.readouterr().out)["tamperings"]["by_kind"]
    assert set(by_kind) == {kind for kind in KINDS if "exchanged" in kind or "tail cut" in kind}
    assert len(by_kind) >= 3
    with pytest.raises(SystemExit):
        main([*counts, "--kinds", "nothing of the kind"])


def test_events_checked_many_at_once_or_one_by_one_give_the_same_report(tmp_path, monkeypatch):
    """The fast path of verification never says less, or names another event, than the careful one."""
    original = build(tmp_path / "original", 9)
    reports = []
    for way in (_verify.check_group, lambda *_: None):
        monkeypatch.setattr(_verify, "check_group", way)
        for number, kind in enumerate(KINDS):
            rng = random.Random(number)
            copy = Copy(original, tmp_path / "copy")
            expected = KINDS[kind](copy, rng)
            if expected.by != "export":
                reports.append((kind, look(copy, expected)))
    half = len(reports) // 2
    assert half >= 20
    for (kind, fast), (_, slow) in zip(reports[:half], reports[half:], strict=True):
        assert fast == slow, kind


def stored(path):
    with closing(sqlite3.connect(path)) as conn:
        conn.text_factory = bytes
        return {row[0]: row for row in conn.execute("SELECT * FROM event")}


def test_of_two_tamperings_at_once_none_hides_the_other(tmp_path):
    """No event before the one that is named differs from what was recorded."""
    # Pruned without a record: blames nobody where the record may have stood in a part that is missing.
    apart = ("export", "key", "repeated", "checkpoint", "split", "rollback", "pruned without")
    kinds = [kind for kind in KINDS if not any(words in kind for words in apart)]
    assert len(kinds) >= 12
    original = build(tmp_path / "original", 11)
    whole = stored(original.folder / "home" / "ledger.db")
    looked = 0
    for turn in range(40):
        rng = random.Random(turn)
        copy = Copy(original, tmp_path / "copy")
        names = [rng.choice(kinds) for _ in range(2)]
        try:
            for name in names:
                KINDS[name](copy, rng)
        except (sqlite3.Error, TypeError, KeyError, ValueError, IndexError):
            continue  # the second does not find any more what it would change
        now = stored(copy.path)
        changed = [seq for seq, row in whole.items() if now.get(seq) != row]
        seen, first, words = look(copy, Expected())
        assert seen, names
        assert not changed or (first is not None and first <= min(changed)), (names, first, words)
        looked += 1
    assert looked > 30


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
