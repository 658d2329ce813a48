"""`clearmark trust`: whom `verify` believes, beside the state folder's own authority."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Annotated
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import typer

from clearmark.core.errors import MediaError, Unavailable, UsageError
from clearmark.sdk.cli._console import command, emit, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption
from clearmark.sdk.home import Home

__all__ = ["OFFICIAL", "app"]

app = typer.Typer(no_args_is_help=True, help="Whose Content Credentials are trusted: list, update, add.")

OFFICIAL = "https://raw.githubusercontent.com/c2pa-org/conformance-public/main/trust-list/C2PA-TRUST-LIST.pem"
"""C2PA's own list of certification authorities (CC BY 4.0)."""

_MAX_BYTES = 8 * 1024 * 1024
_IdentitiesOption = Annotated[
    bool, typer.Option("--identities", help="The list of who vouches for names, not for signing tools.")
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@app.command("list")
@command
def list_(identities: _IdentitiesOption = False, home: HomeOption = None, json_: JsonOption = False) -> int:
    """Say which certificates are trusted, from which list, and until when."""
    from clearmark.provenance.credentials import anchors_of

    rows = [
        {
            "list": path.stem,
            "subject": anchor.subject,
            "expires": anchor.expires.date().isoformat(),
            "sha256": anchor.sha256,
        }
        for path in _lists(Home.locate(home), identities=identities)
        for anchor in anchors_of(path.read_bytes())
    ]
    if json_:
        for row in rows:
            emit(row)
    else:
        table("", ("list", "subject", "expires", "sha256"), [tuple(row.values()) for row in rows])
    return 0


@app.command()
@command
def add(
    paths: Annotated[list[Path], typer.Argument(help="PEM files of certificates to trust.")],
    name: Annotated[str, typer.Option("--name", help="Name of the list. Default: the file's.")] = "",
    identities: _IdentitiesOption = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Trust the certificates of PEM files, each as a list of its own; one of the same name is replaced."""
    if name and len(paths) > 1:
        raise UsageError("one name for several files", hint="add them one by one")
    for path in paths:
        _keep(_folder(Home.locate(home), identities=identities), name or path.stem, _read(path), json_=json_)
    return 0


@app.command()
@command
def update(
    source: Annotated[str, typer.Option("--from", help="Where the list is: an https address or a file.")] = (
        OFFICIAL
    ),
    name: Annotated[str, typer.Option("--name", help="Name of the list.")] = "official",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Fetch a trust list, C2PA's own by default, and say what it adds and removes.

    What does not parse leaves the list that is there as it is.
    """
    data = _fetch(source) if "://" in source else _read(Path(source))
    _keep(_folder(Home.locate(home), identities=False), name, data, json_=json_)
    return 0


def _lists(home: Home, *, identities: bool) -> list[Path]:
    return home.identity_trust_lists if identities else home.trust_lists


def _folder(home: Home, *, identities: bool) -> Path:
    return home.path / ("trust-identities" if identities else "trust")


def _keep(folder: Path, name: str, pem: bytes, *, json_: bool) -> None:
    from clearmark.provenance.credentials import anchors_of, pem_blocks

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:64]!r} cannot be a list's name", hint="letters, digits, dot, dash, underscore"
        )
    clean = pem_blocks(pem)
    target = folder / f"{name}.pem"
    before = {one.sha256 for one in anchors_of(target.read_bytes())} if target.exists() else set()
    now = {one.sha256 for one in anchors_of(clean)}
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In one step: a list that was written in part would trust fewer, or nobody.
    draft = target.with_name(f".{name}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(clean)
    draft.replace(target)
    if json_:
        document = {"list": name, "certificates": len(now)}
        emit({**document, "added": sorted(now - before), "removed": sorted(before - now)})
    else:
        say(f"{name}: {len(now)} certificates, {len(now - before)} new, {len(before - now)} gone")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise MediaError(f"{path}: {exc.strerror}") from exc


def _fetch(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) != ("http", "127.0.0.1"):
        raise UsageError(f"a trust list is fetched over https only, not {url[:200]!r}")
    try:
        with urlopen(url, timeout=20) as answer:  # noqa: S310  the scheme is checked above
            data: bytes = answer.read(_MAX_BYTES + 1)
    except (URLError, OSError, ValueError) as exc:
        raise Unavailable(
            f"{url}: {exc}", hint="without network, fetch it elsewhere and give the file to --from"
        ) from exc
    return data
