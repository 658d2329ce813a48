"""`clearmark generate`: one guarded, marked, recorded picture (or several) from a prompt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from clearmark.core.errors import MediaError, UsageError
from clearmark.sdk.cli._console import command, emit, err, out, progress, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption
from clearmark.sdk.results import Result

__all__ = ["generate"]

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@command
def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for pictures and receipts.")] = Path(),
    n: Annotated[int, typer.Option("--n", help="How many pictures.")] = 1,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed; the same one makes the same picture.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Denoising steps.")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="WxH", help="Size in pixels.")] = None,
    backend: Annotated[
        str, typer.Option("--backend", help="reference, diffusers:PATH-or-id, openai:URL#model, file:PATH")
    ] = "reference",
    negative: Annotated[str, typer.Option("--negative", help="What the picture should not show.")] = "",
    init_image: Annotated[Path | None, typer.Option("--init-image", help="Picture to start from.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="White where the picture may change.")] = None,
    actor: Annotated[str, typer.Option("--actor", help="Who asks; kept encrypted.")] = "anonymous",
    region: Annotated[str, typer.Option("--region", help="Where the user is, for the policy.")] = "",
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Make a picture: checked before and after, watermarked, signed, on record."""
    from clearmark.core import Request, Task
    from clearmark.sdk.studio import Studio, load_asset

    width, height = _size(size)
    start = load_asset(init_image) if init_image else None
    hole = load_asset(mask) if mask else None
    task = Task.TEXT_TO_IMAGE if start is None else Task.INPAINT if hole else Task.IMAGE_TO_IMAGE
    request = Request(
        prompt,
        negative_prompt=negative,
        task=task,
        init_image=start,
        mask=hole,
        n=n,
        width=width,
        height=height,
        steps=steps,
        seed=seed,
        actor=actor,
        region=region,
    )
    _writable(out_dir)
    with Studio.from_policy(policy, home=home, backend=backend) as studio, progress("generating", None):
        result = studio.generate_batch([request])[0]
    return finish(result, out_dir, json_=json_)


def finish(result: Result, out_dir: Path, *, json_: bool) -> int:
    """Write the pictures and receipts of a result, say what happened, and return the exit code."""
    paths = _write(result, out_dir)
    if json_:
        emit(result.to_dict(paths=tuple(str(path) for path in paths)))
    else:
        _print(result, paths)
    return exit_code(result)


def exit_code(result: Result) -> int:
    """Return 0 when something left, 6 when nothing did because a guard was down, 3 otherwise."""
    if result.assets:
        return 0
    return 6 if result.blocked_by_failure else 3


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = _SIZE.fullmatch(text)
    if not found:
        raise UsageError(f"--size {text!r} is not WxH", hint="for example --size 256x256")
    return int(found[1]), int(found[2])


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"--out {folder}: {exc.strerror}", hint="name a folder that can be written") from exc


def _write(result: Result, folder: Path) -> list[Path]:
    paths = []
    for index, released in enumerate(result.assets):
        path = folder / f"{result.request_id}-{index}{released.asset.extension}"
        try:
            released.save(path)
            path.with_suffix(".receipt").write_text(released.receipt.text)
        except OSError as exc:
            raise MediaError(
                f"{path}: {exc.strerror}", hint="free some space, or choose another --out"
            ) from exc
        paths.append(path)
    return paths


def _print(result: Result, paths: list[Path]) -> None:
    colour = "green" if result.assets else "red"
    out().print(f"[bold {colour}]{result.verdict.word}[/]  request {result.request_id}")
    for reason in result.reasons:
        say(f"  {reason.rule}: {reason.message}")
    for failure in result.failures:
        err().print(f"guard {failure.guard} failed: {failure.error}: {failure.message}", markup=False)
    if result.withheld:
        say(f"  {len(result.withheld)} withheld")
    for review in result.reviews:
        say(f"  held for review: {review}")
    table(
        "",
        ("picture", "seed", "mark id", "watermark", "credentials", "on record as"),
        [
            (
                path,
                asset.asset.origin.seed if asset.asset.origin else "",
                asset.mark.id,
                f"{asset.mark.watermark.codec}, {asset.mark.watermark.psnr_db:.1f} dB"
                if asset.mark.watermark
                else "none",
                asset.mark.manifest.signer if asset.mark.manifest else "none",
                f"event {asset.receipt.seq} of {asset.receipt.tree_size}",
            )
            for path, asset in zip(paths, result.assets, strict=True)
        ],
    ) if paths else None
    say("  ".join(f"{stage} {ms:,.0f} ms" for stage, ms in result.timings_ms.items()))
