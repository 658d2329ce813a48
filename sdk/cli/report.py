"""`clearmark report`: what happened in a period, for those outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, err
from clearmark.sdk.cli._options import HomeOption

__all__ = ["report"]


@command
def report(
    kind: Annotated[str, typer.Argument(help="transparency")],
    since: Annotated[
        str, typer.Option("--from", metavar="DAY", help="First day (UTC), or an ISO 8601 time.")
    ],
    until: Annotated[
        str, typer.Option("--to", metavar="DAY", help="Last day (UTC), included; or a time, excluded.")
    ],
    form: Annotated[str, typer.Option("--format", help="html, json, csv")] = "html",
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="File to write; for csv also a folder, with a file per figure."),
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Events of one tenant only.")] = None,
    home: HomeOption = None,
) -> int:
    """Compute a report from the ledger; every figure states its query and its checkpoint."""
    from clearmark.sdk.home import Home
    from clearmark.sdk.reporting import build_report, parse_period, record_report, render, write_files
    from clearmark.sdk.studio import open_ledger

    since_us, until_us = parse_period(since, until)
    place = Home.locate(home)
    if not place.database.exists():
        raise UsageError(f"no ledger in {place.path}", hint="name its state folder with --home")
    with open_ledger(place, create=False) as ledger:
        made = build_report(kind, ledger, since_us=since_us, until_us=until_us, tenant=tenant)
        text = render(made, form)
        try:
            if out_file is None:
                sys.stdout.write(text)
            elif form == "csv" and out_file.suffix != ".csv":
                write_files(made, out_file)
            else:
                out_file.parent.mkdir(parents=True, exist_ok=True)
                out_file.write_text(text, encoding="utf-8", newline="")
        except OSError as exc:
            raise UsageError(f"--out {out_file}: {exc.strerror}", hint="choose another --out") from exc
        record_report(ledger, made, form=form, text=text)
    if out_file is not None:
        line = made.lineage
        err().print(
            f"{out_file}: {line.events:,} events, under the checkpoint of {line.tree_size:,}", markup=False
        )
    return 0
