"""Which guards there are: those that ship, and those that other packages add.

A package adds a guard through the entry-point group `clearmark.guards`: a name, and a callable that takes
nothing and returns a guard of that name. Installing such a package changes nothing by itself; a guard runs
where it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from clearmark.core import Guard
from clearmark.core.errors import ExtraMissing, GuardUnavailable, UsageError

__all__ = ["ENTRY_POINTS", "default_guards", "get_guard", "guard_names"]

ENTRY_POINTS = "clearmark.guards"
"""The entry-point group in which packages announce guards."""


def default_guards(home: Path | None = None) -> tuple[Guard, ...]:
    """Return the guards that ship and need nothing but the base install.

    With a state folder they use what its owner keeps there: enrolled people (`likeness/`), banks of known
    pictures (`banks/CATEGORY/NAME.txt`), the record of a CLIP (`models/zero-shot.json`, written by
    `Checkpoint.write`); the guards of the latter two run only where there is one. Others, such as `words`,
    run where they are asked for by name.

    Raises:
        UsageError: when a bank or the record in the folder is none.
        KeyUnavailable: when the registry of people cannot be opened.
    """
    left_out = {"words"}
    if not _bank_files(home):
        left_out.add("hash-banks")
    if not (record := _zero_shot_record(home)) or not record.is_file():
        left_out.add("zero-shot")
    return tuple(make() for name, make in _shipped(home).items() if name not in left_out)


def get_guard(name: str, *, home: Path | None = None) -> Guard:
    """Return the guard of that name, shipped or from another package; `home` as in `default_guards`.

    Raises:
        UsageError: when there is none of that name, or two packages claim it; for `hash-banks` and
            `zero-shot` without what they need in the state folder.
        GuardUnavailable: when its package cannot be loaded or makes no guard.
    """
    shipped = _shipped(home)
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
    shipped = _shipped(None)
    return (*shipped, *(name for name in announced if name not in shipped))


def _shipped(home: Path | None) -> dict[str, Callable[[], Guard]]:
    from clearmark.guardrails.likeness import PeopleGuard
    from clearmark.guardrails.output import NudityGuard, OverlayGuard, TextGuard
    from clearmark.guardrails.prompt import PromptGuard
    from clearmark.guardrails.trademark import BrandGuard, CharacterGuard, MarkGuard

    return {
        "prompt": PromptGuard,
        "people": PeopleGuard,
        "brands": BrandGuard,
        "characters": CharacterGuard,
        "nudity": NudityGuard,
        "faces": partial(_faces, home),
        "marks": MarkGuard,
        "overlay": OverlayGuard,
        "hash-banks": partial(_banks, home),
        "zero-shot": partial(_zero_shot, home),
        "words": TextGuard,
    }


def _faces(home: Path | None) -> Guard:
    from clearmark.guardrails.likeness import LikenessGuard, LikenessRegistry

    folder = None if home is None else home / "likeness"
    # Opening a registry makes one: only where somebody has.
    return LikenessGuard(LikenessRegistry(folder) if folder is not None and folder.is_dir() else None)


def _bank_files(home: Path | None) -> list[Path]:
    return [] if home is None else sorted((home / "banks").rglob("*.txt"))


def _banks(home: Path | None) -> Guard:
    from clearmark.guardrails.output import HashBank, HashBankGuard

    root = (home or Path()) / "banks"
    banks = []
    for path in _bank_files(home):
        category = path.parent.relative_to(root)
        try:
            banks.append(HashBank.read(path.stem, category.as_posix(), path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as exc:
            raise UsageError(f"{path}: cannot be read", hint="a text file with one hash a line") from exc
    return HashBankGuard(banks)


def _zero_shot_record(home: Path | None) -> Path | None:
    return None if home is None else home / "models" / "zero-shot.json"


def _zero_shot(home: Path | None) -> Guard:
    from clearmark.guardrails.adapters import Checkpoint, ZeroShotGuard

    record = _zero_shot_record(home)
    if record is None or not record.is_file():
        raise UsageError(
            "no CLIP to tell categories by words",
            hint="write the record of a checkpoint to models/zero-shot.json in the state folder",
        )
    return ZeroShotGuard(Checkpoint.read(record))
