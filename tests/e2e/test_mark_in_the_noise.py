"""A policy asks for a mark in the initial noise; a copy without metadata and pixel mark is led back by it."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageFilter

from clearmark import policies

DEFAULT = Path(policies.__file__).parent / "default.yaml"


def test_a_copy_is_led_back_by_its_noise(clearmark, tmp_path):
    policy = tmp_path / "noise.yaml"
    text = DEFAULT.read_text(encoding="utf-8")
    assert "watermark: true" in text
    policy.write_text(text.replace("watermark: true", "watermark: {latent: true}"))
    made = clearmark(
        "generate",
        "a cat",
        "--n",
        "2",
        "--seed",
        "3",
        "--out",
        "out",
        "--policy",
        policy,
        "--json",
        limit=900,
    )
    assert made.code == 0, made.err
    marked = [asset for asset in made.json["assets"] if asset["mark"]["latent"]]
    assert marked, "neither picture kept its noise"
    asset = marked[0]
    assert asset["mark"]["latent"]["score"] > 4.9
    # Strong enough to destroy the pixel mark: a quarter of the size, blurred, JPEG 20.
    picture = Image.open(clearmark.folder / asset["path"]).convert("RGB")
    small = picture.filter(ImageFilter.GaussianBlur(2)).resize((96, 96)).resize((256, 256))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=20)
    (tmp_path / "copy.jpg").write_bytes(out.getvalue())
    read = clearmark("verify", tmp_path / "copy.jpg", "--json", limit=900)
    assert read.json["watermark"]["codec"] == "latent", read.out
    assert read.json["watermark"]["mark_id"] == asset["mark"]["id"]
    assert read.json["recovered"]["via"] == "watermark"
    assert read.json["ledger"]["inclusion"] == "verified"
