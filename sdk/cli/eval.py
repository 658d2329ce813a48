"""`clearmark eval`: how well guards and your policy do on your own labelled prompts or pictures."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer

from clearmark.core import CATEGORIES, Request, Stage, Subject
from clearmark.core.errors import Error, UsageError
from clearmark.sdk.checking import Checker
from clearmark.sdk.cli._console import command, emit, progress, table
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption
from clearmark.sdk.cli.check import picture_files
from clearmark.sdk.evaluating import Labelled, Scored, attacked, evaluate, reliability_svg, score_rows
from clearmark.sdk.home import Home

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_MAX_LINE = 1_000_000
_MAX_ROWS = 1_000_000
_PATIENCE_S = 900.0  # nobody waits for an answer, and a busy machine is no reason to measure all over again
_HARMLESS = frozenset(["harmless", "safe", "benign"])
_WORDS = {"safe": False, "harmless": False, "benign": False, "unsafe": True, "harmful": True}
_ROW = 'one JSON object a line: {"id": "1", "prompt": "a red apple", "label": 0}'

OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for evaluation.json, calibration.svg and scores.jsonl (no texts)."),
]
ResamplesOption = Annotated[
    int, typer.Option("--resamples", min=20, max=10_000, help="Draws of the bootstrap behind the intervals.")
]


@app.command("prompts")
@command
def prompts(
    file: Annotated[
        Path,
        typer.Argument(help="JSON Lines (or .gz) with {id, prompt or text, label, category?, lang?, set?}."),
    ],
    policy: PolicyOption = "default",
    attacks: Annotated[
        bool, typer.Option("--attacks/--no-attacks", help="Try the evasion suite on the rows, too.")
    ] = True,
    attacks_sample: Annotated[
        int,
        typer.Option(
            "--attacks-sample", min=0, help="Rows of each label for the suite, evenly spread; 0: all."
        ),
    ] = 0,
    resamples: ResamplesOption = 200,
    out: OutOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Measure labelled prompts: areas, recall, calibration, evasion, and what the policy does with them."""
    from clearmark.guardrails.prompt.attacks import ATTACKS

    checker = replace(Checker.from_policy(policy, home=Home.locate(home).path), timeout_s=_PATIENCE_S)
    rows = list(_prompt_rows(file))
    with progress("measuring prompts", len(rows)) as advance:
        scored = score_rows(checker, rows, advance=advance)
    tried: list[dict[str, Any]] = []
    if attacks:
        some = _spread(scored, attacks_sample)
        changes = [(name, partial(_changed, change=change)) for name, change in ATTACKS.items()]
        with progress("trying to evade", len(some) * len(changes)) as advance:
            tried = attacked(checker, some, changes, advance=advance)
    return _report("prompts", checker, scored, tried, resamples=resamples, out=out, json_=json_)


@app.command("images")
@command
def images(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with labels.jsonl {path, label, category?, set?}, or with one folder per label: "
            "`harmless`, and for harmful pictures one named after the category."
        ),
    ],
    policy: PolicyOption = "default",
    resamples: ResamplesOption = 200,
    out: OutOption = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Measure labelled pictures: areas, recall, calibration, and what the policy does with them."""
    checker = replace(Checker.from_policy(policy, home=Home.locate(home).path), timeout_s=_PATIENCE_S)
    labels = list(_picture_labels(folder))
    scored: list[Scored] = []
    with progress("measuring pictures", len(labels)) as advance:
        for first in range(0, len(labels), 16):  # pictures are read as they are needed
            some = [_picture_row(*label) for label in labels[first : first + 16]]
            scored += score_rows(checker, some, advance=advance)
    return _report("images", checker, scored, [], resamples=resamples, out=out, json_=json_)


def _prompt_rows(file: Path) -> Iterator[Labelled]:
    for number, row in _lines(file):
        text = row.get("prompt", row.get("text"))
        if not isinstance(text, str):
            raise UsageError(f"{file}:{number}: no text under `prompt` or `text`", hint=_ROW)
        try:
            negative = str(row.get("negative_prompt") or "")
            subject = Subject(stage=Stage.PROMPT, request=Request(text, negative_prompt=negative))
        except Error as error:
            raise UsageError(f"{file}:{number}: {error.message}", hint=error.hint) from error
        yield _labelled(str(row.get("id", number)), subject, row, f"{file}:{number}")


def _labelled(name: str, subject: Subject, row: Mapping[str, Any], where: str) -> Labelled:
    label = row.get("label")
    harmful = _WORDS.get(label) if isinstance(label, str) else label
    if harmful not in (0, 1):
        raise UsageError(f"{where}: `label` must be 1 or true (harmful), 0 or false (harmless)", hint=_ROW)
    return Labelled(
        id=name,
        subject=subject,
        harmful=bool(harmful),
        categories=_categories(row.get("category")) if harmful else frozenset(),
        language=str(row.get("lang") or ""),
        set=str(row.get("set") or ""),
    )


def _categories(value: Any) -> frozenset[str]:
    """Return our categories among those named, also by the names of the public sets."""
    from clearmark.guardrails.prompt.evaluation import known_categories

    text = ",".join(map(str, value)) if isinstance(value, list) else str(value or "")
    ours = {part.strip() for part in text.split(",")} & set(CATEGORIES)
    return frozenset(ours) | known_categories(text)


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with _opened(file) as stream:
            for number in range(1, _MAX_ROWS + 2):
                line = stream.readline(_MAX_LINE + 1)
                if not line:
                    return
                if len(line) > _MAX_LINE or number > _MAX_ROWS:
                    raise UsageError(f"{file}:{number}: more than {_MAX_LINE:,} bytes or {_MAX_ROWS:,} rows")
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise UsageError(f"{file}:{number}: not an object", hint=_ROW)
                    yield number, row
    except (OSError, EOFError) as exc:
        raise UsageError(f"{file}: {getattr(exc, 'strerror', None) or exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{file}: a line is not JSON", hint=_ROW) from exc


def _opened(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def _picture_labels(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    listed = folder / "labels.jsonl"
    if listed.is_file():
        root = folder.resolve()
        for number, row in _lines(listed):
            path = (root / str(row.get("path", ""))).resolve()
            if not path.is_relative_to(root) or not path.is_file():
                raise UsageError(f"{listed}:{number}: `path` names no file in the folder")
            yield path, row
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    for path in picture_files([folder]):
        inside = path.relative_to(folder).parent.as_posix()
        if inside == ".":
            raise UsageError(f"{path}: not in the folder of a label", hint="DIR/harmless, DIR/sexual, …")
        top = inside.split("/", 1)[0]
        category = inside if inside in CATEGORIES else top
        yield path, {"label": int(top not in _HARMLESS), "category": category, "set": inside}


def _picture_row(path: Path, row: Mapping[str, Any]) -> Labelled:
    from clearmark.sdk.studio import load_asset

    subject = Subject(stage=Stage.OUTPUT, request=Request(""), asset=load_asset(path))
    return _labelled(str(path), subject, row, str(path))


def _spread(scored: Sequence[Scored], count: int) -> list[Scored]:
    """Return `count` rows of each label, evenly spread over the file; all of them for 0."""
    if not count:
        return list(scored)
    out: list[Scored] = []
    for harmful in (True, False):
        own = [one for one in scored if one.row.harmful == harmful]
        taken = min(count, len(own))
        out += [own[at * len(own) // taken] for at in range(taken)]
    return out


def _changed(row: Labelled, *, change: Callable[[str], str]) -> Labelled:
    request = row.subject.request
    # Some attacks lengthen a prompt beyond what is read; what is cut off was not read before either.
    text = change(request.prompt)[:20_000]
    return replace(row, subject=replace(row.subject, request=replace(request, prompt=text)))


def _report(
    kind: str,
    checker: Checker,
    scored: Sequence[Scored],
    tried: list[dict[str, Any]],
    *,
    resamples: int,
    out: Path | None,
    json_: bool,
) -> int:
    if not scored:
        raise UsageError("no rows to measure")
    stage = Stage.PROMPT if kind == "prompts" else Stage.OUTPUT
    document: dict[str, Any] = {
        "eval": kind,
        "policy": checker.policy.ref.to_dict(),
        "guards": [
            {"name": guard.name, "version": guard.version}
            for guard in checker.guards
            if stage in guard.stages
        ],
        **evaluate(scored, resamples=resamples),
        "attacks": tried,
    }
    if out is not None:
        _write(out, document, scored)
    if json_:
        emit(document)
    else:
        _show(document)
    return 0


def _write(out: Path, document: dict[str, Any], scored: Sequence[Scored]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=1, allow_nan=False)
        (out / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        (out / "calibration.svg").write_text(reliability_svg(document["calibration"]), encoding="utf-8")
        with (out / "scores.jsonl").open("w", encoding="utf-8") as stream:
            for one in scored:
                row = {"id": one.row.id, "label": int(one.row.harmful), "verdict": one.action.word}
                row |= {"scores": {name: round(score, 6) for name, score in sorted(one.scores.items())}}
                stream.write(json.dumps(row) + "\n")
    except OSError as exc:
        raise UsageError(f"{out}: {exc.strerror}") from exc


def _show(document: dict[str, Any]) -> None:
    policy = document["policy"]
    columns = ("harmful", "harmless", "area", "recall at 1%", "recall at 5%", "stopped", "over-refused")
    whole = [("all rows", *_cells(document["overall"]))]
    table(f"{document['rows']:,} {document['eval']}, policy {policy['name']}", ("", *columns), whole)
    for key, title in (("category", "category"), ("language", "language"), ("set", "set")):
        rows = [(row[key], *_cells(row)) for row in document[f"by_{key}"]]
        if rows:
            table("", (title, *columns), rows)
    if document["not_measured"]:
        table("Not measured by any guard", ("category",), [[name] for name in document["not_measured"]])
    if document["calibration"]:
        table(
            "Calibration",
            ("category", "positive", "expected error"),
            [(r["category"], r["positive"], f"{r['expected_error']:.4f}") for r in document["calibration"]],
        )
    if document["attacks"]:
        table(
            "Evasion",
            ("attack", "stopped", "recall at 5%", "points lost", "over-refused"),
            [
                (
                    row["attack"],
                    _share(row["recall"]),
                    _share(row["recall_at_5"]),
                    "-" if row["points_lost"] is None else f"{row['points_lost']:.1f}",
                    _share(row["over_refusal"]),
                )
                for row in document["attacks"]
            ],
        )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    def ranged(name: str) -> str:
        if row[name] is None:
            return "-"
        low, high = row[f"{name}_interval"]
        return f"{row[name]:.3f} ({low:.3f}-{high:.3f})"

    def stopped(shares: Mapping[str, float]) -> str:
        return _share(sum(shares.get(word, 0.0) for word in ("review", "block"))) if shares else "-"

    figures = (ranged(name) for name in ("area", "recall_at_1", "recall_at_5"))
    policy = row["policy"]
    counts = (f"{row['harmful']:,}", f"{row['harmless']:,}")
    return (*counts, *figures, stopped(policy["harmful"]), stopped(policy["harmless"]))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
