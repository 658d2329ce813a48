"""The benchmark of Content Credentials finds all tampering, and a short run of the fuzzer finds nothing."""

from __future__ import annotations

import json
import sys

import pytest

from clearmark.benchmarks import _fuzz_worker, credentials, fuzz_verify
from clearmark.core.errors import UsageError
from clearmark.provenance import Verifier


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
    assert fuzz_verify.main(["--count", "200", "--seed", "3", "--seconds", "60", "--mib", "100000"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(report["exit_codes"].values()) == 200
    assert not report["raised"]
    assert not report["died"]


def test_a_run_that_was_cut_off_goes_on(tmp_path, capsys):
    assert fuzz_verify.main(["--count", "6", "--seconds", "60", "--state", str(tmp_path)]) == 0
    rows = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(rows[:-20])  # the sixth row is half a row now
    assert fuzz_verify.main(["--count", "9", "--seconds", "60", "--state", str(tmp_path)]) == 0
    found = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sorted({row["file"] for row in found}) == list(range(9))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["files"], second["files"]) == (6, 9)
    with pytest.raises(UsageError, match="holds a run"):
        fuzz_verify.main(["--count", "9", "--seed", "2", "--state", str(tmp_path)])


def test_a_crash_fails_the_fuzzer(monkeypatch, capsys):
    monkeypatch.setattr(_fuzz_worker, "conclude", lambda found: 1 / 0)
    row = _fuzz_worker.verified(Verifier(), b"no picture", "nobody")
    assert row["raised"] == "ZeroDivisionError: division by zero"
    report = {"died": {}, "raised": {row["raised"]: 1}, "forged": 0}
    report |= {"slowest_s": 0, "slowest_cpu_s": 0, "peak_mib": 1}
    monkeypatch.setattr(fuzz_verify, "fuzz", lambda *_, **__: report)
    assert fuzz_verify.main(["--count", "1"]) == 1


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("signal.setitimer(signal.ITIMER_PROF, 0.1)\nwhile True: pass", "over a minute of the processor"),
        ("os._exit(3)", "exit 3"),
    ],
)
def test_a_process_that_dies_is_a_finding(tmp_path, death, cause):
    """The second of three files kills whatever verifies it."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, signal, sys\n"
        "for number in map(int, sys.argv[3].split(',')):\n"
        "    print(json.dumps({'start': number}), flush=True)\n"
        "    if number == 1:\n        " + death.replace("\n", "\n        ") + "\n"
        "    row = {'file': number, 'exit_code': 5, 'wall_s': 0.1, 'cpu_s': 0.1, 'peak_mib': 9}\n"
        "    print(json.dumps(row))\n"
    )
    state = tmp_path / "state"
    report = fuzz_verify.fuzz(3, state=state, worker=(sys.executable, str(script)))
    assert report["died"] == {cause: 1}
    assert report["exit_codes"] == {5: 2}
    assert (state / "found-1.bin").exists()


def test_several_processes_share_the_files(tmp_path):
    """Each file once, and all of them."""
    report = fuzz_verify.fuzz(12, state=tmp_path, jobs=3, seconds=60)
    found = [json.loads(line)["file"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sorted(found) == list(range(12))
    assert report["files"] == sum(report["exit_codes"].values()) == 12


def test_slow_by_the_clock_alone_is_measured_again(tmp_path):
    """A file that was slow once, as on a machine that was asleep, and then is not."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, sys\n"
        "import pathlib\n"
        "seen = pathlib.Path(sys.argv[1]) / 'seen'\n"
        "again = seen.exists()\n"
        "seen.touch()\n"
        "for number in map(int, sys.argv[3].split(',')):\n"
        "    print(json.dumps({'start': number}))\n"
        "    wall = 7.0 * (number == 1) + 0.5 if again else 300.0 if number < 2 else 0.5\n"
        "    row = {'file': number, 'exit_code': 0, 'wall_s': wall, 'cpu_s': 0.2, 'peak_mib': 9}\n"
        "    print(json.dumps(row))\n"
    )
    report = fuzz_verify.fuzz(4, state=tmp_path / "state", worker=(sys.executable, str(script)))
    assert report["verified_again"] == 2
    assert report["slowest_before_again_s"] == 300.0
    assert (report["slowest_s"], report["slowest_cpu_s"]) == (7.5, 0.2)
