"""`clearmark bench`: the measurements behind the figures in the documentation."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, table
from clearmark.sdk.cli._options import JsonOption

__all__ = ["bench"]

# The benchmarks stand above this floor, so they are loaded by name.
_PACKAGE = "clearmark.benchmarks"
_ALSO = {"c2pa": "credentials"}
"""Benchmarks under a name that no module may have: `c2pa` is the library's."""


@command
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Which one; without it, the list.")] = None,
    json_: JsonOption = False,
) -> int:
    """Run a benchmark: peers and ours in the same run, with ratios. Further options go to it."""
    package = importlib.import_module(_PACKAGE)
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    if name is None:
        if context.args:
            raise UsageError(f"no benchmark to give {context.args[0]!r} to", hint="name it first")
        modules = [importlib.import_module(f"{_PACKAGE}.{each}") for each in names]
        table(
            "",
            ("name", "what it measures"),
            [(each, (m.__doc__ or "").split("\n")[0]) for each, m in zip(names, modules, strict=True)],
        )
        return 0
    chosen = _ALSO.get(name, name)
    if chosen not in names:
        raise UsageError(f"no benchmark {name!r}", hint=f"one of {', '.join(sorted({*names, *_ALSO}))}")
    module = importlib.import_module(f"{_PACKAGE}.{chosen}")
    code = module.main([*(["--json"] if json_ else []), *context.args])
    return int(code or 0)
