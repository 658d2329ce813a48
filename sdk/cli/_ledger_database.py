"""`clearmark db`: the tables that a ledger is kept in. Nothing here runs by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, emit, say
from clearmark.sdk.cli._ledger_keeping import ByOption, operator
from clearmark.sdk.cli._options import HomeOption, JsonOption

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", help="URL of a PostgreSQL database, in place of the state folder's file."),
]


@app.callback()
def root() -> None:
    """Tables of a ledger: bring them to the present format, give roles their rights."""


@app.command("upgrade")
@command
def upgrade(database: DatabaseOption = None, home: HomeOption = None, json_: JsonOption = False) -> int:
    """Bring the tables to the format of this version. No event is changed; make a backup first."""
    from clearmark.audits.ledger import upgrade_database

    before, after = upgrade_database(database or _file(home))
    if json_:
        emit({"before": before, "after": after})
    elif before == after:
        say(f"the tables have format {after} already")
    else:
        say(f"the tables were brought from format {before} to {after}; run `clearmark ledger verify`")
    return 0


@app.command("roles")
@command
def roles(
    database: Annotated[str, typer.Option("--database", help="URL, as the owner of the tables.")],
    prefix: Annotated[str, typer.Option("--prefix", help="How the names begin.")] = "clearmark",
    json_: JsonOption = False,
) -> int:
    """Make roles that read, append, and erase or prune, each with no more rights than that."""
    from clearmark.audits.ledger import grant_database_roles

    names = grant_database_roles(database, prefix=prefix)
    if json_:
        emit({"roles": names})
    else:
        say(f"{', '.join(names)}: grant them to the users that the services log in as")
    return 0


@app.command("fence")
@command
def fence(
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays on record for good.")],
    by: ByOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="End the connection that holds the lock (PostgreSQL).")
    ] = False,
    database: DatabaseOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Keep every process from writing that has the ledger open now; they have to open it again."""
    from clearmark.sdk.home import Home
    from clearmark.sdk.studio import open_ledger

    if database is None:
        _file(home)
    with open_ledger(Home.locate(home), database=database, create=False) as ledger:
        epoch = ledger.fence(reason, by=operator(by), force=force)
    if json_:
        emit({"epoch": epoch})
    else:
        say(f"epoch {epoch} has begun: who had the ledger open before writes no more")
    return 0


def _file(home: Path | None) -> Path:
    from clearmark.sdk.home import Home

    place = Home.locate(home)
    if not place.database.exists():
        raise UsageError(f"no ledger in {place.path}", hint="name its state folder with --home")
    return place.database
