"""Is it a copy? Pictures held against an index of what a model was trained on.

>>> from clearmark.guardrails.memorization import CopyChecker, Index
>>> checker = CopyChecker(Index("training.index"))
>>> checker.check(Path("picture.png").read_bytes()).memorized
False
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.guardrails.memorization._guard import MemorizationGuard
    from clearmark.guardrails.memorization.calibration import Calibration, calibrate
    from clearmark.guardrails.memorization.checker import Check, CopyChecker, CopyMatch, entry_of
    from clearmark.guardrails.memorization.descriptor import Descriptor, OnnxDescriptor, default_descriptor
    from clearmark.guardrails.memorization.engine import (
        PictureIndex,
        copy_index,
        create_index,
        open_index,
    )
    from clearmark.guardrails.memorization.evidence import evidence_page
    from clearmark.guardrails.memorization.geometry import KINDS, Region
    from clearmark.guardrails.memorization.hashes import pdq
    from clearmark.guardrails.memorization.index import Entry, Index, IndexDamaged, Item, Removal

_HOMES = {
    "_guard": ("MemorizationGuard",),
    "calibration": ("Calibration", "calibrate"),
    "checker": ("Check", "CopyChecker", "CopyMatch", "entry_of"),
    "descriptor": ("Descriptor", "OnnxDescriptor", "default_descriptor"),
    "engine": ("PictureIndex", "copy_index", "create_index", "open_index"),
    "evidence": ("evidence_page",),
    "geometry": ("KINDS", "Region"),
    "hashes": ("pdq",),
    "index": ("Entry", "Index", "IndexDamaged", "Item", "Removal"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "KINDS",
    "Calibration",
    "Check",
    "CopyChecker",
    "CopyMatch",
    "Descriptor",
    "Entry",
    "Index",
    "IndexDamaged",
    "Item",
    "MemorizationGuard",
    "OnnxDescriptor",
    "PictureIndex",
    "Region",
    "Removal",
    "calibrate",
    "copy_index",
    "create_index",
    "default_descriptor",
    "entry_of",
    "evidence_page",
    "open_index",
    "pdq",
]


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
