"""The front door: `Studio` walks a request through every room, `guard` guards a diffusers pipeline.

>>> from clearmark.sdk import Studio
>>> studio = Studio.from_policy("default")
>>> result = studio.generate("a red apple on a table", actor="user-42")
>>> result.verdict.word
'allow'
"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.sdk, not sdk: the bare name makes a second class object")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.sdk.home import Home
    from clearmark.sdk.pipelines import GuardedPipeline, SafetyChecker, guard
    from clearmark.sdk.results import Check, Marked, Released, Result, Verified, Withheld
    from clearmark.sdk.studio import Studio

__all__ = [
    "Check",
    "GuardedPipeline",
    "Home",
    "Marked",
    "Released",
    "Result",
    "SafetyChecker",
    "Studio",
    "Verified",
    "Withheld",
    "guard",
]

_HOMES = {
    **dict.fromkeys(("Check", "Marked", "Released", "Result", "Verified", "Withheld"), "results"),
    **dict.fromkeys(("GuardedPipeline", "SafetyChecker", "guard"), "pipelines"),
    "Home": "home",
    "Studio": "studio",
}


def __getattr__(name: str) -> Any:
    # The rooms behind these names are heavy; each is loaded by the first use of one of its names.
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"clearmark.sdk.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'clearmark.sdk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
