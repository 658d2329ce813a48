"""What the keeper of a ledger does with it: export, legal holds, reconciling. All of it goes on record."""

from __future__ import annotations

import datetime as dt
import getpass
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, emit, out, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption

__all__ = ["export", "holds", "operator", "reconcile"]

ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it, an id that goes on record. Default: the login name.")
]
SinceOption = Annotated[
    dt.datetime | None, typer.Option("--from", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC.")
]
UntilOption = Annotated[
    dt.datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC, not included."),
]


def operator(by: str | None) -> str:
    """Return who works at this terminal, for the record."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        return f"uid-{os.getuid()}"


@command
def export(
    path: Annotated[Path, typer.Argument(help="The JSON Lines file to write.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="One kind; with a dot or * at its end, many.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by: ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Write events with their proofs to a file that anybody can check without this ledger.

    Personal data is not in it: bodies hold commitments. That it was exported goes on record.
    """
    from clearmark.sdk.cli.ledger import open_for_reading

    if path.exists():
        raise UsageError(f"{path} is there already", hint="name another file: an export overwrites nothing")
    chosen = {"kind": kind, "tenant": tenant, "since": _micro(since), "until": _micro(until)}
    with open_for_reading(home) as ledger:
        recorded = ledger.export(path, by=operator(by), **chosen)
        body = ledger.get(recorded.event_id).body
        key = ledger.verifier_key
    document = {"path": str(path), "event_id": recorded.event_id, "seq": recorded.seq, "verifier_key": key}
    document |= {name: body[name] for name in ("events", "tree_size", "root", "sha256")}
    if json_:
        emit(document)
    else:
        say(f"{body['events']:,} events, tree size {body['tree_size']:,}, in {path}")
        say(f"  sha256 {body['sha256']}, on record as event {recorded.seq}")
        say(f"  check it with: python verify_standalone.py {path} --key '{key}'")
    return 0


holds = typer.Typer(no_args_is_help=True)


@holds.command("list")
@command
def list_holds(home: HomeOption = None, json_: JsonOption = False) -> int:
    """List the holds in force."""
    from clearmark.sdk.cli.ledger import open_for_reading

    with open_for_reading(home) as ledger:
        found = ledger.holds()
    if json_:
        for hold in found:
            emit(hold.to_dict())
    elif found:
        rows = [(hold.hold_id, _time(hold.ts_us), hold.reason, _scope(hold.scope)) for hold in found]
        table("", ("hold", "since", "reason", "covers"), rows)
    else:
        say("no hold is in force")
    return 0


@holds.command("place")
@command
def place(
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays on record for good.")],
    request: Annotated[str, typer.Option("--request", help="Only events of this request.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Only events of this tenant.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Only events of this kind.")] = "",
    mark: Annotated[str, typer.Option("--mark", help="Only events about this mark.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="Only data of this actor.")] = "",
    by: ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Stop pruning and erasure of what the options cover together; without any, of everything."""
    from clearmark.sdk.cli.ledger import open_for_reading

    scope = {"request_id": request, "tenant": tenant, "kind": kind, "mark_id": mark}
    if subject:
        scope["subject"] = f"{tenant or 'default'}/{subject}"
    with open_for_reading(home) as ledger:
        hold = ledger.hold(reason, by=operator(by), **{name: value for name, value in scope.items() if value})
    if json_:
        emit(hold.to_dict())
    else:
        say(f"hold {hold.hold_id} is in force, over {_scope(hold.scope)}")
    return 0


@holds.command("release")
@command
def release(
    hold: Annotated[str, typer.Argument(help="The id of the hold.")],
    by: Annotated[list[str], typer.Option("--by", help="Who agrees; given twice, for two persons.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays on record for good.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Lift a hold. Two different persons have to agree."""
    from clearmark.sdk.cli.ledger import open_for_reading

    with open_for_reading(home) as ledger:
        recorded = ledger.release_hold(hold, by=by, reason=reason)
    if json_:
        emit({"hold_id": hold, "event_id": recorded.event_id, "seq": recorded.seq})
    else:
        say(f"hold {hold} is lifted, on record as event {recorded.seq}")
    return 0


@command
def reconcile(
    since: SinceOption = None,
    until: UntilOption = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that a request may still run.")
    ] = 3600.0,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say which requests were not answered on record, or more than once. Exit code 4 when there are any."""
    from clearmark.sdk.cli.ledger import open_for_reading

    with open_for_reading(home) as ledger:
        found = ledger.reconcile(since=_micro(since), until=_micro(until), grace_s=grace)
    if json_:
        emit(found.to_dict())
        return 0 if found.ok else 4
    colour, word = ("green", "complete") if found.ok else ("red", "incomplete")
    out().print(f"[bold {colour}]{word}[/]")
    say(f"  {found.requests:,} requests, {len(found.running):,} of them still running")
    rows = [("received, never answered", request_id) for request_id in found.unfinished]
    rows += [("on record more than once", request_id) for request_id in found.doubled]
    rows += [("answered, never received", request_id) for request_id in found.unopened]
    rows += [("counted, not recorded", f"{process} #{counter}") for process, counter in found.gaps]
    if rows:
        table("", ("what is wrong", "request"), rows)
    return 0 if found.ok else 4


def _micro(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=dt.UTC).timestamp() * 1_000_000)


def _time(ts_us: int) -> str:
    return dt.datetime.fromtimestamp(ts_us / 1e6, dt.UTC).isoformat(timespec="seconds")


def _scope(scope: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in scope.items()) or "everything"
