"""`clearmark memorization`: which prompts of a model give back what it was trained on."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, emit, progress, say
from clearmark.sdk.cli._options import HomeOption, JsonOption

if TYPE_CHECKING:
    from clearmark.guardrails.memorization import CopyChecker
    from clearmark.sdk.memorization import PromptAudit

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_MOST_BYTES = 32 << 20
PromptsOption = Annotated[Path, typer.Option("--prompts", help="File with one prompt a line.")]
BackendOption = Annotated[
    str, typer.Option("--backend", "--pipeline", help="reference, diffusers:PATH-or-id, openai:URL#model")
]
SeedsOption = Annotated[int, typer.Option("--seeds", help="Pictures of each prompt.")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]


@app.command("audit")
@command
def audit(
    prompts: PromptsOption,
    backend: BackendOption = "reference",
    index: Annotated[
        str | None,
        typer.Option(
            "--index", help="Index of the training data; default: the state folder's, else the model's own."
        ),
    ] = None,
    seeds: SeedsOption = 4,
    steps: StepsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the contact sheet and evidence pages.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Make every prompt with several seeds: whose pictures are copies, or come out the same each time."""
    from clearmark.generation import create
    from clearmark.guardrails.memorization import CopyChecker, open_index
    from clearmark.guardrails.memorization.generation import read_calibrations
    from clearmark.sdk.home import Home
    from clearmark.sdk.memorization import Audit, audit_prompts
    from clearmark.sdk.reference_index import memorization_evidence

    place, lines = Home.locate(home), _lines(prompts)
    generator = create(backend)
    held, files = memorization_evidence(place, backend)
    path = index or held
    checker = CopyChecker(open_index(path)) if path is not None else None
    known = {digest: row for file in files for digest, row in read_calibrations(file).items()}
    rows = []
    try:
        with progress("auditing", len(lines)) as advance:
            for row in audit_prompts(
                generator,
                lines,
                seeds=seeds,
                steps=steps,
                checker=checker,
                calibration=known.get(generator.model.digest),
                advance=advance,
            ):
                rows.append(row)
                if json_:
                    emit(row.to_dict())
                elif row.signs:
                    say(f"{row.prompt}: {', '.join(row.signs)}")
        if out is not None:
            _write(out, rows, checker)
    finally:
        if checker is not None:
            checker.index.close()
    found = Audit(model=generator.model.digest, rows=tuple(rows), indexed=checker is not None).to_dict()
    if json_:
        emit(found)
        return 0
    for name in ("memorized_prompts", "extracted_prompts", "copied_pictures"):
        rate = found[name]
        if rate is not None:
            words = f"{rate['count']:,} ({rate['share']:.4f}, 95% {rate['low']:.4f} to {rate['high']:.4f})"
            say(f"{name.replace('_', ' ')}: {words}")
    if checker is None:
        say("  no index of the training data was given, so nothing could be proven to be a copy")
    return 0


@app.command("calibrate")
@command
def calibrate(
    prompts: PromptsOption,
    backend: BackendOption = "reference",
    seeds: SeedsOption = 1,
    steps: StepsOption = None,
    fpr: Annotated[float, typer.Option("--fpr", help="Share of clean prompts that may alarm.")] = 0.01,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the calibration; default: the state folder's.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Learn how clean prompts pull and drift, so that memorized ones are noticed as they are made."""
    from clearmark.generation import create
    from clearmark.guardrails.memorization.generation import write_calibration
    from clearmark.sdk.home import Home
    from clearmark.sdk.memorization import calibrate_guidance

    place, lines = Home.locate(home), _lines(prompts)
    if not 0 < fpr < 1:
        raise UsageError("--fpr lies between 0 and 1")
    generator = create(backend)
    with progress("calibrating", len(lines)) as advance:
        made = calibrate_guidance(generator, lines, seeds=seeds, steps=steps, target=fpr, advance=advance)
    if out is None:
        out = place.ensure().guidance
    try:
        write_calibration(out, generator.model.digest, made)
    except OSError as exc:
        raise UsageError(f"{out}: {exc.strerror}", hint="choose a writable --out") from exc
    document = {
        "model": generator.model.digest,
        "prompts": len(lines),
        "fpr": fpr,
        "supported": made.supported,
        "needed": round(1 / fpr) - 1,
        "median": round(made.median, 5),
        "highest": round(made.clean[-1], 5) if made.clean else None,
        "lowest_drift": round(made.drift[0], 5) if made.drift else None,
    }
    if json_:
        emit(document)
        return 0
    say(f"{len(lines):,} clean prompts")
    if made.clean:
        say(f"  guidance: median {made.median:.4f}, highest {made.clean[-1]:.4f}")
    if made.drift:
        say(f"  drift: median {made.drift[len(made.drift) // 2]:.4f}, lowest {made.drift[0]:.4f}")
    if not made.supported:
        say(f"  too few to claim {fpr:g}: it takes {document['needed']:,}; nothing will alarm until then")
    return 0


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: larger than {_MOST_BYTES >> 20} MiB", hint="cut it up")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: cannot be read as text", hint="one prompt a line, UTF-8") from exc
    found = list(dict.fromkeys(line for line in lines if line))
    if not found:
        raise UsageError(f"{path}: no prompt in it", hint="one prompt a line")
    return found


def _write(folder: Path, rows: list[PromptAudit], checker: CopyChecker | None) -> None:
    """Write the pictures, a sheet of all prompts, copies beside their items, and a page for every copy."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = []
        for number, row in enumerate(rows):
            shown = [
                _shown(folder, f"{number:05d}-{place}", row, place, checker)
                for place in range(len(row.assets))
            ]
            words = ", ".join(row.signs) or "nothing"
            parts.append(
                f"<h2>{html.escape(row.prompt)}</h2><p>Signs: {words}</p><div>{''.join(shown)}</div>"
            )
        sheet = f'<!doctype html><meta charset="utf-8"><title>Audit</title><style>{_STYLE}</style>'
        (folder / "index.html").write_text(sheet + "\n".join(parts), encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{folder}: {exc.strerror}", hint="choose a writable --out") from exc


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem}img{width:9rem;height:9rem;object-fit:contain}"
    "figure{display:inline-block;margin:.3rem;padding:.3rem;border:1px solid #ccc;vertical-align:top}"
    "figcaption{font-size:.75rem;max-width:19rem;overflow-wrap:anywhere}"
)


def _shown(folder: Path, name: str, row: PromptAudit, place: int, checker: CopyChecker | None) -> str:
    """Write one picture of a prompt; return how the sheet shows it: a copy beside the item it is of."""
    from clearmark.guardrails.memorization.evidence import evidence_page

    asset = row.assets[place]
    (folder / f"{name}.png").write_bytes(asset.data)
    if checker is None or not row.checks[place].memorized:
        return f'<figure><img src="{name}.png" alt=""></figure>'
    check = row.checks[place]
    match = check.matches[0]
    page = evidence_page(asset.data, checker, check, title=row.prompt)
    (folder / f"{name}.html").write_text(page, encoding="utf-8")
    item = checker.index.picture(match.item.id)
    beside = ""
    if item:
        (folder / f"{name}-item").write_bytes(item)
        beside = f'<img src="{name}-item" alt="">'
    rights = match.item.licence or "no licence"
    said = html.escape(f"{match.kind}, {match.score:.3f}: {match.item.key} ({rights})")
    return (
        f'<figure><a href="{name}.html"><img src="{name}.png" alt="">{beside}</a>'
        f"<figcaption>{said}</figcaption></figure>"
    )
