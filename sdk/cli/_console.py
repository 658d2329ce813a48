"""How the command line speaks: results on stdout, everything else on stderr, errors with their exit code."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from clearmark.core.errors import Error

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command", "emit", "err", "out", "progress", "table", "worst"]

P = ParamSpec("P")

_SEVERITY = (1, 6, 4, 2, 3, 5, 0)


@functools.cache
def out() -> Console:
    """Return the console on stdout."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@functools.cache
def err() -> Console:
    """Return the console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def command(function: Callable[P, int]) -> Callable[P, None]:
    """Turn a function that returns an exit code into a command; an `Error` becomes words and its code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs)
        except Error as error:
            if kwargs.get("json_"):
                emit({"error": {"type": type(error).__name__, "message": str(error), "hint": error.hint}})
            err().print(f"[bold red]error:[/] {_escaped(error.diagnostics())}")
            code = error.exit_code
        raise typer.Exit(code)

    run.__annotations__["return"] = None
    return run


def emit(document: Any) -> None:
    """Print one JSON document on one line of stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table for people. Cells are text, never markup: they may hold what strangers wrote."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(printable(str(cell))) for cell in row))
    out().print(grid)


def say(text: str) -> None:
    """Print a line for people on stdout, as text."""
    from rich.text import Text

    out().print(Text.from_markup(text) if "[/]" in text else Text(printable(text)))


def printable(text: str) -> str:
    """Replace control characters: what a file claims must not drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextlib.contextmanager
def progress(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr and yield the function that moves it. Silent where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err(),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.update(task, advance=step)


def worst(codes: Sequence[int]) -> int:
    """Return the exit code that says most about a batch: errors before refusals, refusals before success."""
    return min(codes, key=_SEVERITY.index, default=0)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
