"""`clearmark memorization` from end to end: calibrate, audit against an index, and a picture made again."""

import json

import pytest

pytest.importorskip("torch")


@pytest.mark.slow
def test_calibrate_then_audit(clearmark, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red apple\n\na green tree\na red apple\n", encoding="utf-8")
    home, out = tmp_path / "home", tmp_path / "sheet"
    made = clearmark(
        "memorization", "calibrate", "--prompts", str(prompts), "--steps", "2", "--home", str(home), "--json"
    )
    assert made.code == 0, made.err
    found = json.loads(made.out)
    assert (found["prompts"], found["supported"], found["needed"]) == (2, False, 99)
    kept = json.loads((home / "guidance.json").read_text())
    assert list(kept["models"]) == [found["model"]]
    # What the model drew of the first prompt goes into an index, as if it had been trained on it.
    seen = clearmark(
        "memorization", "audit", "--prompts", str(prompts), "--steps", "2", "--seeds", "2",
        "--home", str(home), "--out", str(out), "--json",
    )  # fmt: skip
    assert seen.code == 0, seen.err
    *rows, summary = map(json.loads, seen.out.splitlines())
    assert [row["prompt"] for row in rows] == ["a red apple", "a green tree"]
    assert all(row["guidance"]["magnitude"] > 0 and not row["extracted"] for row in rows)
    assert (summary["prompts"], summary["pictures"], summary["extracted_prompts"]) == (2, 4, None)
    assert len(list(out.glob("*.png"))) == 4
    items = tmp_path / "items"
    items.mkdir()
    (out / "00000-0.png").rename(items / "drawn.png")
    index = tmp_path / "training.index"
    assert clearmark("index", "build", str(index), str(items), "--json").code == 0
    again = clearmark(
        "memorization", "audit", "--prompts", str(prompts), "--steps", "2", "--seeds", "2",
        "--home", str(home), "--index", str(index), "--json",
    )  # fmt: skip
    first, _, summary = map(json.loads, again.out.splitlines())
    assert first["extracted"] is True
    assert "copy" in first["signs"]
    assert first["matches"][0]["item"] == str(items / "drawn.png")
    assert summary["extracted_prompts"]["count"] >= 1
    assert summary["extracted_prompts"]["low"] < 1.0


def test_prompts_that_are_none(clearmark, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    assert clearmark("memorization", "audit", "--prompts", str(empty)).code == 2
    assert clearmark("memorization", "audit", "--prompts", str(tmp_path / "missing.txt")).code == 2
