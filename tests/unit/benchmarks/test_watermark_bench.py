"""The watermark bench: it goes on where it stopped, and says what it counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clearmark.benchmarks import watermark
from clearmark.benchmarks._watermark_attacks import ATTACKS
from clearmark.benchmarks._watermark_pictures import texture
from clearmark.benchmarks._watermark_trials import State


def run(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> dict[str, object]:
    arguments = ["--json", "--only", "attacks", "--pictures", str(folder), "--size", "256", "--packages", "0"]
    code = watermark.main([*arguments, "--codecs", "clearmark", "--attacks", "none", "jpeg 50", *more])
    assert code == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder, state = tmp_path / "pictures", tmp_path / "state.jsonl"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(texture(256, seed)).save(folder / f"{seed}.png")
    first = run(capsys, folder, "--state", str(state), "--count", "1")
    before = state.read_text()
    both = run(capsys, folder, "--state", str(state), "--count", "2")
    assert state.read_text().startswith(before)
    assert len(state.read_text().splitlines()) == 2
    assert [document["codecs"][0]["pictures"] for document in (first, both)] == [1, 2]  # type: ignore[index]
    assert both["codecs"][0]["exact"] == {"none": 2, "jpeg 50": 2}  # type: ignore[index]
    assert both["codecs"][0]["false_accepts"] == 0  # type: ignore[index]


def test_what_is_known_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    assert State(path)("one", lambda: {"value": 1})["value"] == 1
    assert State(path)("one", lambda: pytest.fail("measured again"))["value"] == 1
    assert list(State(path).known("o")) == ["ne"]


def test_every_attack_of_the_issue_is_there() -> None:
    picture = texture(128, 1)
    named = {"none", "jpeg 90", "jpeg 70", "jpeg 50", "jpeg 30", "webp 50", "half and back", "size 75%"}
    named |= {"blur 1.5", "noise 10", "brightness 1.3", "contrast 1.4", "turn 5°", "mirror", "stretch 1.15"}
    named |= {"screenshot", "crop 75%", "crop 50%", "crop+half+jpeg 50"}
    assert named <= set(ATTACKS)
    for name in named:
        assert ATTACKS[name](picture).dtype == picture.dtype
