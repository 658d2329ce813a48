"""`__all__` says what is public; every name in it resolves, and importing the package costs little."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = (
    "clearmark",
    "clearmark.audits",
    "clearmark.core",
    "clearmark.errors",
    "clearmark.generation",
    "clearmark.guardrails",
    "clearmark.policies",
    "clearmark.provenance",
    "clearmark.sdk",
)
HEAVY = ("torch", "diffusers", "transformers", "cv2", "onnxruntime", "sqlalchemy", "numpy", "PIL", "pydantic")


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_resolves(name: str) -> None:
    module = importlib.import_module(name)
    assert len(module.__all__) == len(set(module.__all__))
    for public in module.__all__:
        getattr(module, public)


def test_importing_clearmark_loads_nothing_heavy() -> None:
    code = f"import sys, clearmark; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_using_the_values_and_the_front_door_loads_no_torch() -> None:
    code = (
        "import sys, clearmark; clearmark.Studio; clearmark.Request('x'); clearmark.Result;"
        "import clearmark.sdk.cli._app;"
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
