"""The weights that guards use: where each comes from, its licence, its digest, and its card."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from clearmark.core.errors import UsageError
from clearmark.core.weights import ModelEntry, load_entries

__all__ = ["catalogue", "entry"]


@lru_cache(maxsize=1)
def catalogue() -> tuple[ModelEntry, ...]:
    """Return the entries of `catalogue.json`."""
    return load_entries((files("clearmark.guardrails") / "models" / "catalogue.json").read_bytes())


def entry(model_id: str) -> ModelEntry:
    """Return the entry of one model.

    Raises:
        UsageError: when the catalogue has none of that id.
    """
    for found in catalogue():
        if found.id == model_id:
            return found
    raise UsageError(f"no model {model_id!r} in the catalogue", hint=", ".join(e.id for e in catalogue()))
