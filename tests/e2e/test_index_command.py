"""`clearmark index` from end to end: build, add, query, calibrate, stats and remove, through JSON."""

import json
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

_MAIN = "from clearmark.sdk.cli import main; main()"


def run(home, *words, ok=(0,)):
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, *map(str, words), "--json"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "CLEARMARK_HOME": str(home), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode in ok, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def picture(seed):
    rng = np.random.default_rng(seed)
    out = np.zeros((200, 220, 3), dtype=np.uint8)
    for side in (5, 13, 40):
        part = PIL.Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        out = out // 2 + np.asarray(part.resize((220, 200), PIL.Image.Resampling.BICUBIC)) // 2
    return PIL.Image.fromarray(out)


@pytest.mark.slow
def test_index_commands(tmp_path):
    home, index = tmp_path / "home", tmp_path / "training.index"
    first, second, clean = (tmp_path / name for name in ("first", "second", "clean"))
    for folder, seeds in ((first, range(4)), (second, range(4, 6)), (clean, range(100, 106))):
        folder.mkdir()
        for seed in seeds:
            picture(seed).save(folder / f"{seed}.png")
    (second / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    (made,) = run(home, "index", "build", index, first, "--licence", "CC0-1.0", "--creator", "someone")
    assert (made["added"], made["unread"], made["items"]) == (4, 0, 4)
    run(home, "index", "build", index, first, ok=(2,))
    (added,) = run(home, "index", "add", index, first, second)
    assert (added["added"], added["unread"], added["items"]) == (2, 1, 6)
    (stats,) = run(home, "index", "stats", index)
    assert (stats["items"], stats["licences"]) == (6, {"CC0-1.0": 4, "": 2})
    (copy,) = run(home, "index", "query", index, first / "2.png")
    assert copy["memorized"] is True
    assert copy["matches"][0]["item"] == str(first / "2.png")
    assert (copy["matches"][0]["licence"], copy["matches"][0]["creator"]) == ("CC0-1.0", "someone")
    (found,) = run(home, "index", "calibrate", index, clean, "--fpr", "0.01")
    assert found["negatives"] == 6
    assert found["supported"] is False  # six negatives support no claim of one in a hundred
    digest = found["index"]
    (gone,) = run(home, "index", "remove", index, "--key", first / "2.png")
    assert gone["items"] == 1
    assert gone["before"] == digest != gone["after"]
    (after,) = run(home, "index", "query", index, first / "2.png")
    assert str(first / "2.png") not in {match["item"] for match in after["matches"]}
    held = b"".join(path.read_bytes() for path in index.rglob("*") if path.is_file())
    assert str(first / "2.png").encode() not in held
    assert str(first / "1.png").encode() in held
    run(home, "index", "remove", index, "--key", first / "2.png", ok=(2,))
