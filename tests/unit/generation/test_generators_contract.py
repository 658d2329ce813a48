"""Every generator that ships keeps the contract: each is real, the server included (on the loopback)."""

from __future__ import annotations

import base64
import importlib.util
import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from clearmark.generation import (
    Defaults,
    DiffusersGenerator,
    FileGenerator,
    OpenAIGenerator,
    ReferenceGenerator,
    create,
)


def _contract():
    # tests/ is no package; the contract is loaded by its place.
    name = "clearmark_generator_contract"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "contract" / "generator_contract.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


GeneratorContract = _contract().GeneratorContract


@pytest.fixture(scope="module")
def file_generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        Image.new("RGB", (40 + number, 30), (number * 50, 0, 0)).save(folder / f"{number}.png")
    return FileGenerator(folder)


@pytest.fixture(scope="module")
def diffusers_generator(tiny_pipeline):
    return DiffusersGenerator(tiny_pipeline, steps=2)


class QuickReference(ReferenceGenerator):
    """Two steps are enough to see whether it keeps the contract."""

    defaults = Defaults(width=128, height=128, steps=2, guidance=5.0)


class TestFileGenerator(GeneratorContract):
    @pytest.fixture
    def generator(self, file_generator):
        return file_generator


class TestOpenAIGenerator(GeneratorContract):
    seeded = False

    @pytest.fixture
    def generator(self, images_server):
        out = io.BytesIO()
        Image.new("RGB", (48, 32), "teal").save(out, "PNG")
        row = {"b64_json": base64.b64encode(out.getvalue()).decode()}
        images_server.answer = lambda body: (200, {"data": [row] * body["n"]})
        return create(f"openai:{images_server.url}#painter")


class TestDiffusersGenerator(GeneratorContract):
    @pytest.fixture
    def generator(self, diffusers_generator):
        return diffusers_generator


class TestReferenceGenerator(GeneratorContract):
    @pytest.fixture
    def generator(self):
        return QuickReference()


def test_the_classes_are_what_create_makes(tmp_path, tiny_pipeline):
    assert isinstance(create("reference"), ReferenceGenerator)
    assert isinstance(create(f"diffusers:{tiny_pipeline}"), DiffusersGenerator)
    assert isinstance(create(f"file:{tmp_path}"), FileGenerator)
    assert isinstance(create("openai:http://localhost:9#m"), OpenAIGenerator)
