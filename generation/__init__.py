"""Generators: what is made.

>>> from clearmark.generation import create
>>> create("reference").name
'reference'
"""

if not __name__.startswith("clearmark."):
    raise ImportError(
        "import clearmark.generation, not generation: the bare name makes a second class object"
    )

from typing import Any

from clearmark.core.weights import ModelEntry
from clearmark.generation._backend import Defaults, Generator, LatentGenerator, ModelInfo, Noise, create

_LAZY = {
    "DiffusersGenerator": "clearmark.generation.diffusers_backend",
    "FileGenerator": "clearmark.generation.file_backend",
    "Inverter": "clearmark.generation.inversion",
    "OpenAIGenerator": "clearmark.generation.openai_backend",
    "ReferenceGenerator": "clearmark.generation.reference.backend",
}

__all__ = [
    "Defaults",
    "DiffusersGenerator",
    "FileGenerator",
    "Generator",
    "Inverter",
    "LatentGenerator",
    "ModelInfo",
    "Noise",
    "OpenAIGenerator",
    "ReferenceGenerator",
    "catalogue",
    "create",
]


def catalogue() -> tuple[ModelEntry, ...]:
    """Return the models that the room ships or needs, with the digests on record."""
    from clearmark.generation.reference.catalogue import entries

    return entries()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
