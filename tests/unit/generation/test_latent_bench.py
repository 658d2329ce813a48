"""The benchmark of the noise layer runs from end to end, here on a model with random weights."""

from __future__ import annotations

import pytest

from clearmark.core.errors import UsageError

pytest.importorskip("diffusers")


def test_it_measures_any_folder(tiny_pipeline, monkeypatch):
    from clearmark.benchmarks import latent

    few = {name: latent.ATTACKS[name] for name in ("none", "flip", "crop 90%")}
    monkeypatch.setattr(latent, "ATTACKS", few)
    monkeypatch.setattr(latent, "ON_RECORD", 50)
    report = latent.measure(backend=f"diffusers:{tiny_pipeline}", pictures=1, side=64)
    assert set(report["attacks"]) == set(few)
    assert report["shape"] == [4, 32, 32]
    assert report["unmarked"]["tpr_at_1e-6"] == 0
    assert report["unmarked"]["wrong_id"] == 0
    assert 0.4 < report["attacks"]["none"]["signs_right"] <= 1


def test_what_takes_no_noise_is_refused(tmp_path):
    from PIL import Image

    from clearmark.benchmarks import latent

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no initial noise"):
        latent.measure(backend=f"file:{tmp_path / 'a.png'}")
