"""`clearmark check prompt` and `clearmark check image`: measure and judge, make nothing, record nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from clearmark.core import Action, Asset, Request
from clearmark.core.errors import Error, MediaError, UsageError
from clearmark.sdk.checking import Checker
from clearmark.sdk.cli._console import command, emit, progress, table, worst
from clearmark.sdk.cli._options import HomeOption, JsonOption, PolicyOption
from clearmark.sdk.home import Home
from clearmark.sdk.results import Check

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
T = TypeVar("T")

_PROMPTS_AT_ONCE = 256
_IMAGES_AT_ONCE = 16
_MAX_LINE = 1_000_000


@app.command("prompt")
@command
def prompt(
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Prompts.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="JSON Lines with {id, prompt, negative_prompt?}.")
    ] = None,
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say what the guards see in prompts, and what the policy decides."""
    rows = [(str(place), {"prompt": text}) for place, text in enumerate(texts or [])]
    source: Iterable[tuple[str, dict[str, Any] | Error]] = rows
    if file is not None:
        source = [*rows, *_read_rows(file)]
    elif not rows:
        raise UsageError("no prompt given", hint='clearmark check prompt "a red apple", or --file F.jsonl')
    checker = Checker.from_policy(policy, home=Home.locate(home).path)
    report = _Report("id", json_=json_)
    with progress("checking prompts", None) as advance:
        for batch in _in_batches(source, _PROMPTS_AT_ONCE):
            made = [(name, _request(row)) for name, row in batch]
            _check(report, made, checker.check_requests)
            advance(len(batch))
    return report.finish()


@app.command("image")
@command
def image(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    policy: PolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say what the guards see in pictures, and what the policy decides."""
    checker = Checker.from_policy(policy, home=Home.locate(home).path)
    report = _Report("path", json_=json_)
    files = list(picture_files(paths))
    with progress("checking pictures", len(files)) as advance:
        for batch in _in_batches(files, _IMAGES_AT_ONCE):
            made = [(str(path), _asset(path)) for path in batch]
            _check(report, made, checker.check_images)
            advance(len(batch))
    return report.finish()


class _Report:
    """A line for each subject, as it comes; the exit code that stands for all of them."""

    def __init__(self, key: str, *, json_: bool) -> None:
        self._key = key
        self._json = json_
        self._codes: list[int] = []
        self._rows: list[tuple[Any, ...]] = []

    def check(self, name: str, check: Check) -> None:
        self._codes.append(0 if check.verdict.releases else 6 if check.failures else 3)
        top = max(check.scores.items(), key=lambda item: item[1], default=("", 0.0))
        self._line(
            {self._key: name, **check.to_dict()},
            (name, check.action.word, f"{top[0]} {top[1]:.3f}", "; ".join(r.message for r in check.reasons)),
        )

    def refuse(self, name: str, error: Error) -> None:
        # What cannot be read cannot be cleared: a line like the others, and the error's own exit code.
        self._codes.append(error.exit_code)
        reason = {"rule": "unreadable", "category": "", "message": str(error)}
        self._line(
            {
                self._key: name,
                "verdict": Action.BLOCK.word,
                "scores": {},
                "findings": [],
                "reasons": [reason],
                "error": {"type": type(error).__name__, "message": str(error), "hint": error.hint},
            },
            (name, Action.BLOCK.word, "", str(error)),
        )

    def _line(self, document: dict[str, Any], row: tuple[Any, ...]) -> None:
        if self._json:
            emit(document)
        else:
            self._rows.append(row)

    def finish(self) -> int:
        if not self._json:
            table("", (self._key, "verdict", "highest score", "reasons"), self._rows)
        return worst(self._codes)


def picture_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named, and the pictures under the folders named (told by their first bytes)."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for found in sorted(path.rglob("*")):
            if found.is_file() and not found.is_symlink() and _looks_like_picture(found):
                yield found


def _looks_like_picture(path: Path) -> bool:
    from clearmark.core.pixels import sniff

    try:
        with path.open("rb") as stream:
            sniff(stream.read(16))
    except (OSError, MediaError):
        return False
    return True


def _check(report: _Report, made: list[tuple[str, Any]], check: Any) -> None:
    checks = iter(check([subject for _, subject in made if not isinstance(subject, Error)]))
    for name, subject in made:
        if isinstance(subject, Error):
            report.refuse(name, subject)
        else:
            report.check(name, next(checks))


def _request(row: dict[str, Any] | Error) -> Request | Error:
    if isinstance(row, Error):
        return row
    try:
        return Request(row["prompt"], negative_prompt=row.get("negative_prompt") or "")
    except Error as error:
        return error


def _asset(path: Path) -> Asset | Error:
    from clearmark.sdk.studio import load_asset

    try:
        return load_asset(path)
    except Error as error:
        return error


def _read_rows(file: Path) -> Iterator[tuple[str, dict[str, Any] | Error]]:
    try:
        with file.open("rb") as stream:
            for number in range(1, 2**63):
                line = stream.readline(_MAX_LINE + 1)
                if not line:
                    return
                if len(line) > _MAX_LINE:
                    raise UsageError(f"{file}:{number}: a line of more than {_MAX_LINE:,} bytes")
                if line.strip():
                    yield _row(file, number, line)
    except OSError as exc:
        raise UsageError(f"{file}: {exc.strerror}") from exc


def _row(file: Path, number: int, line: bytes) -> tuple[str, dict[str, Any] | Error]:
    hint = 'one JSON object a line: {"id": "1", "prompt": "a red apple"}'
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return f"line {number}", UsageError(f"{file}:{number}: not JSON", hint=hint)
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        return f"line {number}", UsageError(f"{file}:{number}: no text under `prompt`", hint=hint)
    return str(row.get("id", number)), row


def _in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
