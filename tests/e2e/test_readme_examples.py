"""The Python of the README, run as it is written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEARMARK_HOME", str(tmp_path / "home"))


@pytest.fixture
def pipeline(tmp_path):
    sys.path.insert(0, str(Path(__file__).parents[1] / "assets"))
    from make_tiny_pipeline import make_tiny_xl

    return make_tiny_xl(tmp_path / "tiny")


def test_there_are_two_examples():
    assert len(BLOCKS) == 2
    assert "Studio.from_policy" in BLOCKS[0]
    assert 'StableDiffusionXLPipeline.from_pretrained("your/model")' in BLOCKS[1]


def test_the_studio(tmp_path):
    scope: dict[str, object] = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), scope)
    result = scope["result"]
    assert result.verdict.word == "allow"
    assert (tmp_path / "apple.png").read_bytes() == result.assets[0].data
    scope["studio"].close()


def test_around_a_pipeline(pipeline, monkeypatch):
    """Only the weights are other ones: what `your/model` stands for is random, and so is the picture."""
    import diffusers

    named = []
    monkeypatch.setattr(
        diffusers.StableDiffusionXLPipeline,
        "from_pretrained",
        classmethod(lambda _cls, name: named.append(name) or pipeline),
    )
    scope: dict[str, object] = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), scope)
    assert named == ["your/model"]
    output = scope["output"]
    assert len(output.images) == len(output.verdicts) == len(output.assets) == 1
    assert output.receipt.event_id
    if output.assets[0] is None:  # noise may look like anything to a guard
        assert not output.verdicts[0].releases
    else:
        assert output.assets[0].image().size == (256, 256)
    scope["pipe"].studio.close()


def test_its_noise_is_found_again(pipeline):
    """Stable Diffusion XL is started from given noise and run backwards, size conditioning and all."""
    from clearmark.generation.inversion import Inverter, takes_noise, usual_size

    assert takes_noise(pipeline)
    assert usual_size(pipeline) == (256, 256)
    picture = pipeline("a cat", num_inference_steps=2, generator=None).images[0]
    noise = Inverter(pipeline).invert([picture])
    assert noise.shape == (1, 4, 32, 32)
    assert np.isfinite(noise).all()
