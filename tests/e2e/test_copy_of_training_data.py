"""With an index of the training data in the state folder, a copy of an item never leaves."""

import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from clearmark.sdk.cli._app import app


def run(home, *words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"CLEARMARK_HOME": str(home)})


def scene(path, seed):
    rng = np.random.default_rng(seed)
    blocks = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    blocks.resize((256, 256), Image.Resampling.BICUBIC).save(path)
    return path


def test_a_copy_is_made_again_then_blocked_and_another_picture_leaves(tmp_path):
    home, train = tmp_path / "home", tmp_path / "train"
    train.mkdir()
    copied = scene(train / "item.png", 1)
    scene(train / "other.png", 2)
    own = scene(tmp_path / "own.png", 3)

    def generate(picture, out):
        words = ("a pattern", "--backend", f"file:{picture}", "--out", tmp_path / out, "--json")
        return run(home, "generate", *words)

    assert generate(copied, "before").exit_code == 0
    built = run(home, "index", "build", home / "training.index", train, "--licence", "CC0-1.0")
    assert built.exit_code == 0, built.output
    refused = generate(copied, "after")
    assert refused.exit_code == 3
    said = json.loads(refused.stdout)
    assert said["assets"] == []
    assert "copy-of-training-data" in {reason["rule"] for reason in said["reasons"]}
    assert not list((tmp_path / "after").glob("*.png"))
    assert generate(own, "own").exit_code == 0
