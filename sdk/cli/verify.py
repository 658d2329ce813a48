"""`clearmark verify`: what a file tells about itself, what is on record, and what follows from both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clearmark.core.errors import Error, MediaError
from clearmark.sdk.cli._console import command, emit, err, out, progress, say, worst
from clearmark.sdk.cli._options import HomeOption, JsonOption
from clearmark.sdk.cli.check import picture_files
from clearmark.sdk.results import Verified

__all__ = ["verify"]


@command
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", help="PEM file of further root certificates to trust."),
    ] = None,
    trust_identities: Annotated[
        list[Path] | None,
        typer.Option(
            "--trust-identities",
            help="PEM file of authorities that vouch for who signed for a picture (CAWG identity).",
        ),
    ] = None,
    resolver: Annotated[
        str,
        typer.Option(
            "--resolver", help="Soft Binding Resolution API to ask for manifests that are not on record here."
        ),
    ] = "",
    upload: Annotated[
        bool,
        typer.Option("--upload", help="Send the resolver the picture itself when all else leads nowhere."),
    ] = False,
    ask_revocation: Annotated[
        bool,
        typer.Option(
            "--ask-revocation",
            help="Ask the authority that a certificate names whether it was revoked (OCSP).",
        ),
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Read credentials, watermark and metadata, and look the mark up in the ledger."""
    from clearmark.sdk.home import Home
    from clearmark.sdk.studio import load_bytes
    from clearmark.sdk.verifying import Inspector

    files = list(picture_files(paths))
    codes: list[int] = []
    anchors = b"".join(_pem(path) for path in trust or [])
    with (
        Inspector.open(
            Home.locate(home),
            trust=anchors,
            trust_identities=b"".join(_pem(path) for path in trust_identities or []),
            resolver=resolver,
            upload=upload,
            ask_revocation=ask_revocation,
        ) as inspector,
        progress("verifying", len(files)) as advance,
    ):
        for path in files:
            try:
                verified = inspector.inspect([load_bytes(path)])[0]
            except Error as error:
                codes.append(error.exit_code)
                err().print(f"{path}: {error.diagnostics()}", markup=False)
                if json_:
                    emit({"path": str(path), "error": {"message": str(error), "hint": error.hint}})
                continue
            finally:
                advance(1)
            codes.append(verified.exit_code)
            if json_:
                emit(verified.to_dict(path=str(path)))
            else:
                _print(path, verified)
    return worst(codes)


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes() + b"\n"
    except OSError as exc:
        raise MediaError(f"{path}: {exc.strerror}") from exc


def _print(path: Path, verified: Verified) -> None:
    document = verified.to_dict()
    colour = {0: "green", 4: "red"}.get(verified.exit_code, "yellow")
    say(str(path))
    out().print(f"  [bold {colour}]{verified.conclusion}[/]")
    credentials: dict[str, Any] = document["credentials"]
    say(
        f"  credentials  {_words(credentials, ('state', 'signer', 'claim_generator', 'digital_source_type'))}"
    )
    for item in credentials.get("validation", []):
        say(f"               {item['code']}: {item['explanation']}")
    for ingredient in credentials.get("ingredients", []):
        say(f"  ingredient   {_words(ingredient, ('relationship', 'state', 'media_type', 'manifest'))}")
    for identity in credentials.get("identities", []):
        say(f"  identity     {_words(identity, ('state', 'name', 'issuer'))}")
        for item in identity["validation"]:
            say(f"               {item['code']}: {item['explanation']}")
    say(f"  watermark    {_words(document['watermark'], ('state', 'codec', 'mark_id', 'confidence'))}")
    if document.get("recovered"):
        say(
            f"  recovered    {_words(document['recovered'], ('via', 'mark_id', 'signer_state', 'unchanged'))}"
        )
    metadata = document["metadata"]
    say(f"  metadata     {'; '.join(f'{k}: {v}' for k, v in metadata.items() if v) or 'absent'}")
    say(f"  ledger       {_words(document['ledger'], ('found', 'event_id', 'seq', 'inclusion'))}")


def _words(part: dict[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{part[name]}" for name in names if part.get(name) not in (None, ""))
