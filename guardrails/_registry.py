"""Which guards there are: those that ship, and those that other packages add.

A package adds a guard through the entry-point group `clearmark.guards`: a name, and a callable that takes
nothing and returns a guard of that name. Installing such a package changes nothing by itself; a guard runs
where it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from clearmark.core import Guard
from clearmark.core.errors import ExtraMissing, GuardUnavailable, UsageError

__all__ = ["ENTRY_POINTS", "default_guards", "get_guard", "guard_names"]

ENTRY_POINTS = "clearmark.guards"
"""The entry-point group in which packages announce guards."""


def default_guards() -> tuple[Guard, ...]:
    """Return the guards that ship and need nothing but the base install."""
    return tuple(make() for make in _shipped().values())


def get_guard(name: str) -> Guard:
    """Return the guard of that name, shipped or from another package.

    Raises:
        UsageError: when there is none of that name, or two packages claim it.
        GuardUnavailable: when its package cannot be loaded or makes no guard.
    """
    shipped = _shipped()
    if name in shipped:
        return shipped[name]()
    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
    if not found:
        raise UsageError(f"no guard {name!r}", hint="one of " + ", ".join(guard_names()))
    if len(found) > 1:
        raise UsageError(f"{len(found)} packages announce a guard {name!r}", hint="uninstall all but one")
    try:
        guard = found[0].load()()
    except ExtraMissing:
        raise
    except Exception as exc:
        raise GuardUnavailable(f"guard {name!r} cannot be loaded: {type(exc).__name__}: {exc}") from exc
    if not isinstance(guard, Guard) or guard.name != name:
        raise GuardUnavailable(f"the package of guard {name!r} makes no guard of that name")
    return guard


def guard_names() -> tuple[str, ...]:
    """Return the names that `get_guard` knows, shipped ones first."""
    announced = sorted({point.name for point in entry_points(group=ENTRY_POINTS)})
    shipped = _shipped()
    return (*shipped, *(name for name in announced if name not in shipped))


def _shipped() -> dict[str, Callable[[], Guard]]:
    from clearmark.guardrails.likeness import PeopleGuard
    from clearmark.guardrails.output import NudityGuard
    from clearmark.guardrails.prompt import PromptGuard
    from clearmark.guardrails.trademark import BrandGuard, CharacterGuard

    return {
        "prompt": PromptGuard,
        "people": PeopleGuard,
        "brands": BrandGuard,
        "characters": CharacterGuard,
        "nudity": NudityGuard,
    }
