"""clearmark: every picture that leaves is cleared, marked and on record.

>>> from clearmark import Studio
>>> studio = Studio.from_policy("default")
>>> result = studio.generate("a red apple on a table", actor="user-42")
>>> result.assets[0].save("apple.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.core import Action, Asset, Event, Finding, Mark, Request, Task, Verdict
    from clearmark.sdk import Result, Studio, guard

__version__ = "0.1.0"

__all__ = [
    "Action",
    "Asset",
    "Event",
    "Finding",
    "Mark",
    "Request",
    "Result",
    "Studio",
    "Task",
    "Verdict",
    "__version__",
    "errors",
    "guard",
]

_HOMES = {
    **dict.fromkeys(("Action", "Asset", "Event", "Finding", "Mark", "Request", "Task", "Verdict"), "core"),
    **dict.fromkeys(("Result", "Studio", "guard"), "sdk"),
}


def __getattr__(name: str) -> Any:
    # Names are resolved when first used, so that `import clearmark` loads no room at all.
    import importlib

    if name == "errors":
        return importlib.import_module("clearmark.errors")
    if name in _HOMES:
        return getattr(importlib.import_module(f"clearmark.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'clearmark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
