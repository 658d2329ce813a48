"""The second key of a ledger: ML-DSA-44, beside the Ed25519 key with which it was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clearmark.core.errors import KeyUnavailable, UsageError
from clearmark.sdk.cli._console import command, emit, say
from clearmark.sdk.cli._options import HomeOption, JsonOption

__all__ = ["add_key", "timestamp"]


@command
def add_key(
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the public key to a file, to be published.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Sign checkpoints a second time from now on, with a new ML-DSA-44 key in the state folder.

    Whoever checks can then demand both signatures; who knows only the first passes over the second.
    """
    from clearmark.audits.ledger import new_second_key
    from clearmark.sdk.cli.ledger import open_for_reading
    from clearmark.sdk.home import Home
    from clearmark.sdk.studio import SECOND_KEY

    place = Home.locate(home)
    path = place.keys / SECOND_KEY
    if path.exists():
        raise UsageError(f"{path} is there already", hint="ledger checkpoint --json prints its public half")
    if not place.database.exists():
        raise UsageError(f"no ledger in {place.path}", hint="name its state folder with --home")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(new_second_key())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as exc:
        raise KeyUnavailable(f"{path} cannot be written: {exc.strerror}", hint="check the folder") from exc
    with open_for_reading(home) as ledger:
        head, key = ledger.checkpoint(), ledger.second_key
    if out_file is not None:
        out_file.write_text(key + "\n")
    if json_:
        emit({"second_key": key, "tree_size": head.size, "path": str(path)})
    else:
        say(f"checkpoints are signed a second time from size {head.size:,} on; the key is {path}")
        say("  back it up: without it the ledger does not open any more")
        say("  check receipts with both: python verify_standalone.py RECEIPT --key KEY --witness SECOND_KEY")
    return 0


@command
def timestamp(
    url: Annotated[str, typer.Argument(help="The authority, such as https://tsa.example/rfc3161.")],
    roots: Annotated[
        Path | None, typer.Option("--roots", help="PEM file; one of these must stand above the authority.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Have the present checkpoint stamped by a time-stamping authority (RFC 3161), and keep the token."""
    from clearmark.sdk.cli.ledger import open_for_reading

    try:
        pem = b"" if roots is None else roots.read_bytes()
    except OSError as exc:
        raise UsageError(f"{roots} cannot be read: {exc.strerror}", hint="check the path") from exc
    with open_for_reading(home) as ledger:
        stamp = ledger.timestamp(url, roots_pem=pem)
    if json_:
        emit(stamp.to_dict())
    else:
        say(f"{stamp.size:,} events stood so at {stamp.time.isoformat()}, says {stamp.authority}")
        if not stamp.trusted:
            say("  whether that authority can be trusted was not checked; name its root with --roots")
    return 0
