"""`clearmark mark`: mark pictures that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clearmark.core.errors import Error, MediaError
from clearmark.sdk.cli._console import command, emit, err, progress, table, worst
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption
from clearmark.sdk.cli.check import picture_files

__all__ = ["mark"]


@command
def mark(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the marked pictures.")],
    source: Annotated[
        str, typer.Option("--source", help="created: a model made it; altered: made from another picture.")
    ] = "created",
    parent: Annotated[
        list[Path] | None,
        typer.Option("--parent", help="Picture that they were made from; its credentials are carried over."),
    ] = None,
    placed: Annotated[
        list[Path] | None,
        typer.Option("--placed", help="Picture that stands in them, as in a composition; likewise."),
    ] = None,
    actor: Annotated[str, typer.Option("--actor", help="Who asks; kept encrypted.")] = "anonymous",
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Label, watermark, sign and record pictures that were made elsewhere."""
    from clearmark.sdk.studio import Studio

    files = list(picture_files(paths))
    codes: list[int] = []
    rows = []
    out_dir.mkdir(parents=True, exist_ok=True)
    with (
        Studio.from_policy(policy, home=home) as studio,
        progress("marking", len(files)) as advance,
    ):
        for path in files:
            try:
                marked = studio.mark(
                    path, source=source, actor=actor, parents=parent or (), placed=placed or ()
                )
                target = out_dir / f"{path.stem}{marked.asset.extension}"
                if target.exists():
                    raise MediaError(f"{target} exists already", hint="choose another --out")
                marked.asset.save(target)
            except Error as error:
                codes.append(error.exit_code)
                err().print(f"{path}: {error.diagnostics()}", markup=False)
                if json_:
                    emit(
                        {"path": str(path), "out": None, "error": {"message": str(error), "hint": error.hint}}
                    )
                continue
            finally:
                advance(1)
            document = marked.to_dict(path=str(path), out=str(target))
            codes.append(0)
            if json_:
                emit(document)
            rows.append((path, target, marked.mark.id, document["psnr_db"], document["ssim"]))
    if not json_:
        table("", ("picture", "marked", "mark id", "PSNR dB", "SSIM"), rows)
    return worst(codes)
