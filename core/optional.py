"""Optional packages: imported where they are used, with an error that names the pip command."""

from __future__ import annotations

import importlib
from typing import Any

from clearmark.core.errors import ExtraMissing

__all__ = ["import_optional"]


def import_optional(name: str, *, extra: str = "", pip: str = "") -> Any:
    """Import `name`, which comes with the extra `extra` or by the command `pip`.

    Raises:
        ExtraMissing: when the package is absent. A fault inside the package itself is not hidden.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Another module missing inside the package is a broken install, which pip cannot explain away.
        if exc.name is None or exc.name.split(".")[0] != name.split(".", maxsplit=1)[0]:
            raise
        command = pip or f'pip install "clearmark[{extra}]"'
        raise ExtraMissing(f"the package {name} is not installed", hint=command) from exc
