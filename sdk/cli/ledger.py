"""`clearmark ledger`: check, read and prove what is on record."""

from __future__ import annotations

import datetime as dt
import json
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable, UsageError
from clearmark.sdk.cli import _ledger_keeping as keeping
from clearmark.sdk.cli import _ledger_keys as keys
from clearmark.sdk.cli._console import command, emit, err, out, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption
from clearmark.sdk.home import Home

__all__ = ["app", "open_for_reading", "record_read"]

app = typer.Typer(no_args_is_help=True)
app.command("export")(keeping.export)
app.command("reconcile")(keeping.reconcile)
app.command("add-key")(keys.add_key)
app.command("timestamp")(keys.timestamp)
app.add_typer(keeping.holds, name="hold", help="Legal holds: what may neither be pruned nor erased.")


def open_for_reading(home: Path | None) -> Any:
    """Open the ledger of a state folder that must be there.

    Raises:
        UsageError: when it is not.
    """
    from clearmark.sdk.home import Home
    from clearmark.sdk.studio import open_ledger

    place = Home.locate(home)
    if not place.database.exists():
        raise UsageError(f"no ledger in {place.path}", hint="name its state folder with --home")
    return open_ledger(place, create=False)


@app.command("verify")
@command
def verify(home: HomeOption = None, json_: JsonOption = False) -> int:
    """Recompute every hash, the tree and every signature, and say whether anything was changed."""
    with open_for_reading(home) as ledger:
        report = ledger.verify()
    document = report.to_dict()
    if json_:
        emit(document)
    else:
        colour = "green" if report.ok else "red"
        out().print(f"[bold {colour}]{'ok' if report.ok else 'tampered'}[/]")
        say(f"  {report.events:,} events, tree size {report.tree_size:,}, root {report.root}")
        if report.first_bad is not None:
            say(f"  first bad sequence number: {report.first_bad}")
        for check in document["checks"]:
            say("  " + "  ".join(f"{value}" for value in check.values()))
    return 0 if report.ok else 4


@app.command("show")
@command
def show(
    event: Annotated[str | None, typer.Argument(help="An event id; without it, the latest events.")] = None,
    request: Annotated[str | None, typer.Option("--request", help="Events of one request.")] = None,
    mark: Annotated[str | None, typer.Option("--mark", help="Events that a mark id leads to.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Events of one kind.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many of the latest events.")] = 20,
    by: keeping.ByOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Show events: one in full, or a list. That they were read goes on record."""
    with open_for_reading(home) as ledger:
        if event is not None:
            stored = [ledger.get(event)]
        elif mark is not None:
            stored = list(ledger.find_mark(mark))
        elif request is not None:
            stored = list(ledger.find_request(request))
        else:
            stored = list(deque(ledger.events(kind=kind), maxlen=limit))
        if stored:
            what = {"event": event, "request": request, "mark": mark, "kind": kind}
            record_read(ledger, what, by=keeping.operator(by), events=len(stored))
    if not stored or stored[0] is None:
        raise LedgerError("no such event on record", hint="clearmark ledger show lists the latest")
    documents = [_document(item) for item in stored]
    if json_:
        for item, document in zip(stored, documents, strict=True):
            emit({"seq": item.seq, "leaf_hash": item.leaf_hash, **document})
    elif event is not None:
        out().print_json(json.dumps({"seq": stored[0].seq, "leaf_hash": stored[0].leaf_hash, **documents[0]}))
    else:
        table(
            "",
            ("seq", "time", "kind", "verdict", "event", "request"),
            [
                (
                    item.seq,
                    dt.datetime.fromtimestamp(document["ts_us"] / 1e6, dt.UTC).isoformat(
                        timespec="milliseconds"
                    ),
                    document["kind"],
                    document["body"].get("verdict", ""),
                    document["event_id"],
                    document["request_id"],
                )
                for item, document in zip(stored, documents, strict=True)
            ],
        )
    return 0


def _document(item: Any) -> dict[str, Any]:
    """Return an event as it is on record; of a pruned one, what is left of it."""
    if not item.pruned:
        document: dict[str, Any] = json.loads(item.envelope)
        return document
    kept = ("event_id", "kind", "request_id", "tenant", "ts_us")
    return {**{name: getattr(item, name) for name in kept}, "body": {}, "pruned": item.pruned}


def record_read(ledger: Any, what: Mapping[str, str | None], *, by: str, events: int) -> None:
    """Record that events were read, and why; say so where that cannot be done."""
    try:
        ledger.record_read(what, by=by, events=events)
    except (LedgerTampered, LedgerUnavailable) as error:
        # What is damaged has to be looked at all the same.
        err().print(f"not on record that this was read: {error}", markup=False)


@app.command("prove")
@command
def prove(
    event: Annotated[str, typer.Argument(help="The event id.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the receipt to a file.")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Print the receipt of an event: a proof that a stranger checks with one small file."""
    with open_for_reading(home) as ledger:
        receipt = ledger.receipt(event)
        record_read(ledger, {"for": "ledger prove", "event": event}, by=keeping.operator(None), events=1)
        key = ledger.verifier_key
    if out_file is not None:
        out_file.write_text(receipt.text)
    if json_:
        emit({**receipt.to_dict(), "verifier_key": key})
    elif out_file is None:
        typer.echo(receipt.text, nl=not receipt.text.endswith("\n"))
    if not json_:
        err().print(f"check it with: python verify_standalone.py RECEIPT --key '{key}'", markup=False)
    return 0


@app.command("checkpoint")
@command
def checkpoint(home: HomeOption = None, json_: JsonOption = False) -> int:
    """Print the latest signed tree head."""
    with open_for_reading(home) as ledger:
        latest = ledger.checkpoint()
        key, second = ledger.verifier_key, ledger.second_key
    if json_:
        emit(
            {
                "origin": latest.origin,
                "tree_size": latest.size,
                "root": latest.root,
                "note": latest.note,
                "verifier_key": key,
                **({"second_key": second} if second else {}),
            }
        )
    else:
        typer.echo(latest.note, nl=False)
    return 0


@app.command("erase")
@command
def erase(
    subject: Annotated[str, typer.Argument(help="The actor, as it was given to --actor.")],
    tenant: Annotated[str, typer.Option("--tenant")] = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Make one person's data unreadable for good. Every proof stays valid."""
    with open_for_reading(home) as ledger:
        erased = ledger.erase(f"{tenant}/{subject}", tenant=tenant)
    place = Home.locate(home)
    if place.sessions.exists():
        from clearmark.guardrails.sessions import SessionGuard, SessionStore

        SessionGuard(SessionStore(place.sessions, place.vault_key)).forget(subject, tenant)
    if json_:
        emit({"erased": erased.values, "event_id": erased.event.event_id, "seq": erased.event.seq})
    else:
        say(f"{erased.values} values erased, on record as event {erased.event.seq}")
    return 0
