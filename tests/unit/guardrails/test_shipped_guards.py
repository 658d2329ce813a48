"""The guards that ship keep the contract."""

import importlib.util
import sys
from pathlib import Path

import pytest

from clearmark.core import Guard
from clearmark.guardrails import default_guards, get_guard


def _contract():
    # tests/ is no package; the contract is loaded by its place.
    name = "clearmark_guard_contract"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "contract" / "guard_contract.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


GuardContract = _contract().GuardContract


class TestPromptGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return get_guard("prompt")


class TestNudityGuard(GuardContract):
    @pytest.fixture
    def guard(self) -> Guard:
        return get_guard("nudity")


def test_names_are_unique():
    names = [guard.name for guard in default_guards()]
    assert len(names) == len(set(names))
