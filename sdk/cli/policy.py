"""`clearmark policy`: check and read policy files."""

from __future__ import annotations

from typing import Annotated

import typer

from clearmark.sdk.cli._console import command, emit, err, out, say, table
from clearmark.sdk.cli._options import JsonOption

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command("lint")
@command
def lint(
    files: Annotated[list[str], typer.Argument(help="Policy files, or names of shipped profiles.")],
    json_: JsonOption = False,
) -> int:
    """Report every fault of policy files at once, as file:line:col: path: message."""
    from clearmark.policies import lint as lint_files

    found = lint_files(files)
    for diagnostic in found:
        err().print(diagnostic.render(), markup=False)
    if json_:
        emit({"ok": not found, "diagnostics": [diagnostic.render() for diagnostic in found]})
    elif not found:
        say(f"{len(files)} policies, no faults")
    return 2 if found else 0


@app.command("show")
@command
def show(
    policy: Annotated[
        str, typer.Argument(help="A policy file, or the name of a shipped profile.")
    ] = "default",
    json_: JsonOption = False,
) -> int:
    """Show a policy as it is applied: resolved, with its digest."""
    from clearmark.policies import Policy

    loaded = Policy.load(policy)
    if json_:
        emit({**loaded.ref.to_dict(), "policy": loaded.to_dict()})
        return 0
    say(f"{loaded.ref.name} {loaded.ref.version}  {loaded.ref.digest}")
    import json

    out().print_json(json.dumps(loaded.to_dict()))
    return 0


@app.command("test")
@command
def run_tests(
    files: Annotated[list[str], typer.Argument(help="Policy files, or names of shipped profiles.")],
    json_: JsonOption = False,
) -> int:
    """Run the tests that stand in policy files."""
    from clearmark.policies import Policy
    from clearmark.policies import run_tests as run

    rows = [
        (name, result.name, result.passed, result.message)
        for name in files
        for result in run(Policy.load(name))
    ]
    if json_:
        emit(
            {
                "ok": all(ok for _, _, ok, _ in rows),
                "tests": [dict(zip(("policy", "name", "ok", "message"), row, strict=True)) for row in rows],
            }
        )
    else:
        table("", ("policy", "test", "", ""), [(p, n, "ok" if ok else "FAILED", m) for p, n, ok, m in rows])
    return 0 if all(ok for _, _, ok, _ in rows) else 1


@app.command("list")
@command
def list_(json_: JsonOption = False) -> int:
    """List the profiles that are shipped."""
    from clearmark.policies import Policy, profiles

    refs = [Policy.load(name).ref for name in profiles()]
    if json_:
        emit([ref.to_dict() for ref in refs])
    else:
        table("", ("profile", "version", "digest"), [(ref.name, ref.version, ref.digest) for ref in refs])
    return 0
