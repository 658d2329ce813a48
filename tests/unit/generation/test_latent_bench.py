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


def test_a_run_that_was_cut_off_goes_on(tiny_pipeline, monkeypatch, tmp_path):
    from clearmark.benchmarks import latent

    monkeypatch.setattr(latent, "ATTACKS", {"none": latent.ATTACKS["none"]})
    monkeypatch.setattr(latent, "ON_RECORD", 50)
    backend, state = f"diffusers:{tiny_pipeline}", tmp_path / "state.jsonl"
    first = latent.measure(backend=backend, pictures=1, side=64, state=state)
    with state.open("a") as file:
        file.write('{"run": {"mod')  # cut off while it wrote
    made = []
    monkeypatch.setattr(latent, "_measured", _counted(latent._measured, made))
    second = latent.measure(backend=backend, pictures=2, side=64, state=state)
    assert made == [1]
    assert (first["pictures"], second["pictures"]) == (1, 2)
    with pytest.raises(UsageError, match="another model, guidance, side or prompts"):
        latent.measure(backend=backend, pictures=2, side=128, state=state)


def _counted(function, numbers):
    def counted(generator, number, *rest):
        numbers.append(number)
        return function(generator, number, *rest)

    return counted


def test_what_takes_no_noise_is_refused(tmp_path):
    from PIL import Image

    from clearmark.benchmarks import latent

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no initial noise"):
        latent.measure(backend=f"file:{tmp_path / 'a.png'}")
