"""What stays stable of the command line: JSON shapes, exit codes, and nothing else on stdout."""

from __future__ import annotations

import json

import pytest

SEXUAL = "explicit porn, naked woman having sex"


def test_help_names_every_command(clearmark) -> None:
    shown = clearmark("--help")
    assert shown.code == 0
    for word in ("generate", "check", "mark", "verify", "ledger", "policy", "models", "bench"):
        assert word in shown.out
    assert clearmark().code == 2
    assert clearmark("nonsense").code == 2
    assert clearmark("--version").out.strip() == "0.1.0"


def test_prompts_are_checked_a_line_each(clearmark, tmp_path) -> None:
    rows = [
        {"id": "a", "prompt": "a red apple on a table"},
        {"id": "b", "prompt": SEXUAL},
        {"id": "c", "prompt": "a red apple", "negative_prompt": "nudity, gore"},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    checked = clearmark("check", "prompt", "--file", file, "--json")
    assert checked.code == 3
    assert [line["id"] for line in checked.lines] == ["a", "b", "c"]
    assert [line["verdict"] for line in checked.lines] == ["allow", "block", "allow"]
    for line in checked.lines:
        assert set(line) >= {"id", "verdict", "scores", "findings", "reasons"}
        assert all(0 <= score <= 1 for score in line["scores"].values())
    assert not clearmark.home.exists()


def test_a_row_that_cannot_be_read_is_a_line_and_exit_2(clearmark, tmp_path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"id": 1, "prompt": "a red apple"}\n{broken\n{"id": 3}\n\n'
        + json.dumps({"id": 4, "prompt": "x" * 20_001})
    )
    checked = clearmark("check", "prompt", "--file", file, "--json")
    assert checked.code == 2
    assert [line["verdict"] for line in checked.lines] == ["allow", "block", "block", "block"]
    assert "prompts.jsonl:2" in checked.lines[1]["reasons"][0]["message"]


def test_pictures_and_folders_are_checked(clearmark, apple, flagged, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    checked = clearmark("check", "image", tmp_path, "--json")
    assert checked.code == 3
    assert {line["path"].rsplit("/", 1)[-1]: line["verdict"] for line in checked.lines} == {
        "apple.png": "allow",
        "flagged.png": "block",
    }
    assert clearmark("check", "image", tmp_path / "notes.txt").code == 2
    assert clearmark("check", "image", tmp_path / "absent.png").code == 2


@pytest.mark.parametrize("json_", [True, False])
def test_a_broken_policy_lists_its_faults(clearmark, tmp_path, json_) -> None:
    policy = tmp_path / "broken.yaml"
    policy.write_text("schema: clearmark/policy/v1\nname: x\nname: y\nnonsense: 1\n")
    linted = clearmark("policy", "lint", policy, *(["--json"] if json_ else []))
    assert linted.code == 2
    assert "broken.yaml:3:" in linted.err
    assert "broken.yaml:4:" in linted.err
    used = clearmark("check", "prompt", "an apple", "--policy", policy)
    assert used.code == 2
    assert "broken.yaml:3:" in used.err


def test_shipped_policies_hold(clearmark) -> None:
    assert clearmark("policy", "lint", "default", "strict").code == 0
    assert clearmark("policy", "test", "default", "strict").code == 0
    shown = clearmark("policy", "show", "strict", "--json").json
    assert shown["digest"].startswith("sha256:")
    assert shown["policy"]["marking"]


def test_models_are_listed_and_verified(clearmark) -> None:
    listed = clearmark("models", "list", "--json")
    assert listed.code == 0
    for model in listed.json:
        assert set(model) >= {"id", "task", "source", "licence", "digest", "size", "state"}
    assert clearmark("models", "verify").code == 0
    assert clearmark("models", "verify", "nonsense").code == 2


def test_errors_say_what_to_do(clearmark) -> None:
    for words, code, hint in (
        (("ledger", "verify"), 2, "--home"),
        (("generate", "an apple", "--backend", "file:/no/such/file.png"), None, ""),
        (("generate", "an apple", "--backend", "nonsense"), 2, "reference"),
        (("generate", "an apple", "--size", "big"), 2, "256x256"),
        (("check", "prompt"), 2, "--file"),
    ):
        done = clearmark(*words)
        assert done.code == code if code else done.code in {2, 6}
        assert hint in done.err
        assert "Traceback" not in done.err
    assert not (clearmark.folder / "out").exists()


def test_a_person_is_erased(clearmark, apple) -> None:
    clearmark(
        "generate", "an apple named Melchior", "--backend", f"file:{apple}", "--actor", "ada", "--out", "out"
    )
    erased = clearmark("ledger", "erase", "ada", "--json")
    assert erased.code == 0
    assert erased.json["erased"] >= 2
    assert clearmark("ledger", "verify").code == 0


def test_decisions_on_record_are_replayed_and_explained(clearmark, apple, tmp_path) -> None:
    made = clearmark("generate", "an apple", "--backend", f"file:{apple}", "--out", "out", "--json").json
    same = clearmark("policy", "replay", "default", "--json").json
    assert same["coverage"] == {"seen": 2, "replayed": 2, "skipped": {}}
    assert same["drifted"] == 0
    assert same["deltas"] == []
    told = clearmark("policy", "explain", made["assets"][0]["receipt"]["event_id"])
    assert told.code == 0
    assert "allow" in told.out
    compared = clearmark("policy", "diff", "default", "strict", "--json")
    assert compared.code == 0
    assert compared.json["changes"]
    assert compared.json["inputs"]
