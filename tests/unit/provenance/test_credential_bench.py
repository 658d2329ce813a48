"""The benchmark of Content Credentials finds all tampering, and a short run of the fuzzer finds nothing."""

from __future__ import annotations

import json

from clearmark.benchmarks import credentials, fuzz_verify


def test_every_kind_of_tampering_is_found_in_every_format(capsys):
    assert credentials.main(["--json", "--sides", "32", "--rounds", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row["media_type"] for row in report["times"]} == set(credentials.FORMATS)
    assert report["found"] == report["tampered"] > 3 * len(credentials.FORMATS)
    for media_type, row in report["tampering"].items():
        assert row["content"] or row["appended"], media_type


def test_a_miss_fails_the_benchmark(monkeypatch, capsys):
    monkeypatch.setattr(credentials, "tampered", lambda how, signed, store, other: signed)
    assert credentials.main(["--json", "--sides", "32", "--rounds", "1"]) == 1
    assert json.loads(capsys.readouterr().out)["found"] == 0


def test_damaged_files_neither_crash_nor_hang(capsys):
    assert fuzz_verify.main(["--count", "200", "--seed", "3", "--seconds", "5", "--mib", "100000"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(report["exit_codes"].values()) == 200
    assert not report["raised"]


def test_a_crash_fails_the_fuzzer(monkeypatch, capsys):
    monkeypatch.setattr(fuzz_verify, "conclude", lambda found: 1 / 0)
    assert fuzz_verify.main(["--count", "3"]) == 1
    assert json.loads(capsys.readouterr().out)["raised"] == {"ZeroDivisionError": 3}
