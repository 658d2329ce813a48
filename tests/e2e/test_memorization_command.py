"""`clearmark memorization` from end to end: calibrate, audit against an index, and a picture made again."""

import json

import numpy as np
import PIL.Image
import pytest


@pytest.mark.slow
def test_calibrate_then_audit(clearmark, tmp_path):
    pytest.importorskip("torch")
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
    seen = clearmark(
        "memorization", "audit", "--prompts", str(prompts), "--steps", "2", "--seeds", "2",
        "--home", str(home), "--out", str(out), "--json",
    )  # fmt: skip
    assert seen.code == 0, seen.err
    *rows, summary = map(json.loads, seen.out.splitlines())
    assert [row["prompt"] for row in rows] == ["a red apple", "a green tree"]
    assert all(row["guidance"]["magnitude"] > 0 and not row["extracted"] for row in rows)
    assert all(row["drift"]["drift"] > 0 and row["drift"]["p_value"] is None for row in rows)
    # The index of what the reference model was trained on ships with it, and is asked without being named.
    assert (summary["prompts"], summary["pictures"], summary["extracted_prompts"]["count"]) == (2, 4, 0)
    assert len(list(out.glob("*.png"))) == 4


def test_copies_of_the_index_are_proof(clearmark, tmp_path):
    """A backend that always gives one picture: every sign but that of guidance, which it does not show."""
    items = tmp_path / "items"
    items.mkdir()
    rng = np.random.default_rng(3)
    pixels = np.zeros((256, 256, 3), np.uint8)
    for side in (5, 13, 40):
        part = PIL.Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels = pixels // 2 + np.asarray(part.resize((256, 256), PIL.Image.Resampling.BICUBIC)) // 2
    PIL.Image.fromarray(pixels).save(items / "trained.png")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a thing\n", encoding="utf-8")
    index, sheet = tmp_path / "training.index", tmp_path / "sheet"
    assert clearmark("index", "build", str(index), str(items), "--json").code == 0
    seen = clearmark(
        "memorization", "audit", "--prompts", str(prompts), "--backend", f"file:{items / 'trained.png'}",
        "--seeds", "3", "--index", str(index), "--out", str(sheet), "--json",
    )  # fmt: skip
    assert seen.code == 0, seen.err
    row, summary = map(json.loads, seen.out.splitlines())
    assert (row["extracted"], row["signs"], row["copies"]) == (True, ["copy", "seeds"], 3)
    assert row["guidance"] == {"magnitude": None, "p_value": None}
    assert row["drift"] == {"drift": None, "p_value": None}
    assert row["matches"][0]["item"] == str(items / "trained.png")
    assert summary["extracted_prompts"]["count"] == 1
    assert 0 < summary["extracted_prompts"]["low"] < 1.0 == summary["extracted_prompts"]["high"]
    assert len(list(sheet.glob("00000-*.html"))) == 3
    assert (sheet / "index.html").read_text().count("-item") == 3


def test_prompts_that_are_none(clearmark, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    assert clearmark("memorization", "audit", "--prompts", str(empty)).code == 2
    assert clearmark("memorization", "audit", "--prompts", str(tmp_path / "missing.txt")).code == 2
