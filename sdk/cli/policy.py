"""`clearmark policy`: check and read policy files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, emit, err, out, say, table
from clearmark.sdk.cli._ledger_keeping import ByOption, operator
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption
from clearmark.sdk.home import Home

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(help="A policy file.")]
RuleArgument = Annotated[str, typer.Argument(help="The id of a rule that stands in the file.")]


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
    faults = [diagnostic for diagnostic in found if diagnostic.severity == "error"]
    if json_:
        emit({"ok": not faults, "diagnostics": [diagnostic.render() for diagnostic in found]})
    elif not faults:
        say(f"{len(files)} policies, no faults")
    return 2 if faults else 0


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


@app.command("diff")
@command
def diff(
    before: Annotated[str, typer.Argument(help="A policy file, or the name of a shipped profile.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    json_: JsonOption = False,
) -> int:
    """Show what differs between two policies, and inputs that they judge differently."""
    from clearmark.policies import Policy, changed_inputs
    from clearmark.policies import diff as compare

    one, other = Policy.load(before), Policy.load(after)
    changes, witnesses = compare(one, other), changed_inputs(one, other)
    if json_:
        emit(
            {
                "before": one.ref.to_dict(),
                "after": other.ref.to_dict(),
                "changes": [change.to_dict() for change in changes],
                "inputs": [witness.to_dict() for witness in witnesses],
            }
        )
        return 0
    say(f"{len(changes)} changes in the text, {len(witnesses)} kinds of input that are judged differently")
    for line in (*(change.render() for change in changes), *(witness.render() for witness in witnesses)):
        say(f"  {line}")
    return 0


@app.command("replay")
@command
def replay(
    policy: Annotated[str, typer.Argument(help="The policy to try.")],
    since: Annotated[dt.datetime | None, typer.Option("--from", help="First day or moment (UTC).")] = None,
    until: Annotated[dt.datetime | None, typer.Option("--to", help="End, not included (UTC).")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say what another policy would have decided on what is on record; its coverage first."""
    from clearmark.policies import Policy
    from clearmark.policies import replay as run

    result = run(Policy.load(policy), _recorded(policy, home, since, until))
    if json_:
        emit(result.to_dict())
    else:
        say(result.render())
    return 0


@app.command("explain")
@command
def explain(
    event: Annotated[str, typer.Argument(help="The id of a decision event.")],
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say in words why a decision on record came out as it did."""
    from clearmark.policies import Policy, explain_record
    from clearmark.sdk.cli.ledger import open_for_reading, record_read

    with open_for_reading(home) as ledger:
        stored = ledger.get(event)
        record_read(ledger, {"for": "policy explain", "event": event}, by=operator(None), events=1)
    text = explain_record(stored.body, Policy.load(policy))
    if json_:
        emit({"event_id": event, "seq": stored.seq, "explanation": text})
    else:
        say(text)
    return 0


@app.command("pin")
@command
def pin(
    files: Annotated[list[Path], typer.Argument(help="Policy files that extend others.")],
    json_: JsonOption = False,
) -> int:
    """Write the present digests of what policy files extend into them. Look at the difference first."""
    from clearmark.policies import pin as update

    changes = {str(file): update(file) for file in files}
    if json_:
        emit(changes)
    else:
        for file, lines in changes.items():
            for line in lines or ["up to date"]:
                say(f"{file}: {line}")
    return 0


@app.command("shadow")
@command
def shadow(
    file: FileArgument,
    rule: RuleArgument,
    expires: Annotated[
        dt.datetime,
        typer.Option("--expires", formats=["%Y-%m-%d"], help="The day from which it is enforced again."),
    ],
    by: ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Let a rule decide nothing until a day, and only be on record; `replay` counts what it would do."""
    from clearmark.sdk.policy_changes import shadow_rule

    made = shadow_rule(Home.locate(home), file, rule, expires=expires.date(), by=operator(by))
    return _changed(file, made, json_)


@app.command("promote")
@command
def promote(
    file: FileArgument,
    rule: RuleArgument,
    by: ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Put a rule that is in shadow or off into force."""
    from clearmark.sdk.policy_changes import promote_rule

    return _changed(file, promote_rule(Home.locate(home), file, rule, by=operator(by)), json_)


@app.command("rollback")
@command
def rollback(
    file: FileArgument,
    to: Annotated[
        str, typer.Option("--to", help="The digest of the policy; by default the one before.")
    ] = "",
    by: ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Give a policy file the text again that it had before `shadow`, `promote` or `rollback`."""
    from clearmark.sdk.policy_changes import roll_back

    return _changed(file, roll_back(Home.locate(home), file, by=operator(by), to=to), json_)


def _changed(file: Path, made: Any, json_: bool) -> int:
    if json_:
        emit({"file": str(file), **made.ref.to_dict()})
    else:
        say(f"{file}: {made.ref.digest}, on record; a running Studio takes it when it next looks")
    return 0


def _recorded(
    policy: str, home: Path | None, since: dt.datetime | None, until: dt.datetime | None
) -> Iterator[Mapping[str, Any]]:
    from clearmark.sdk.cli.ledger import open_for_reading, record_read

    if since is not None and until is not None and since >= until:
        raise UsageError("--from must be before --to")
    count = 0
    with open_for_reading(home) as ledger:
        for kind in ("prompt.decided", "input.decided", "output.decided"):
            for stored in ledger.events(kind=kind, since=_micros(since), until=_micros(until)):
                count += 1
                yield stored.body
        what = {"for": "policy replay", "policy": policy}
        record_read(ledger, what, by=operator(None), events=count)


def _micros(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=dt.UTC).timestamp() * 1_000_000)
