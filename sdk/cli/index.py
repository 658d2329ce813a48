"""`clearmark index`: what a model was trained on, so that pictures can be held against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clearmark.core.errors import Error, MediaError, UsageError
from clearmark.sdk.cli._console import command, emit, progress, say, table
from clearmark.sdk.cli._options import HomeOption, JsonOption

if TYPE_CHECKING:
    from clearmark.guardrails.memorization import Item, PictureIndex

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_BATCH = 256
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
IndexArgument = Annotated[
    str, typer.Argument(metavar="INDEX", help="Folder of the index, postgresql://…, or lancedb:FOLDER.")
]
FoldersArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[PICTURES]...", help="Pictures, or folders of pictures.")
]
DatasetOption = Annotated[
    str, typer.Option("--dataset", help="NAME[@VERSION] of the register: what it holds and nobody reserved.")
]
LicenceOption = Annotated[str, typer.Option("--licence", help="Licence of pictures from folders.")]
CreatorOption = Annotated[str, typer.Option("--creator", help="Creator of pictures from folders.")]


@app.command("build")
@command
def build(
    index: IndexArgument,
    paths: FoldersArgument = None,
    dataset: DatasetOption = "",
    licence: LicenceOption = "",
    creator: CreatorOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Make an index of a dataset of the register, or of folders."""
    from clearmark.guardrails.memorization import create_index, default_descriptor

    if not paths and not dataset:
        raise UsageError("nothing to index", hint="give folders, or --dataset")
    with create_index(index, descriptor=default_descriptor().ref) as made:
        return _fill(made, _given(paths, dataset, licence, creator, home), json_=json_)


@app.command("add")
@command
def add(
    index: IndexArgument,
    paths: FoldersArgument = None,
    dataset: DatasetOption = "",
    licence: LicenceOption = "",
    creator: CreatorOption = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Add to an index; what is in it already is passed over, so a run that was cut off goes on."""
    from clearmark.guardrails.memorization import open_index

    if not paths and not dataset:
        raise UsageError("nothing to add", hint="give folders, or --dataset")
    with open_index(index) as found:
        return _fill(found, _given(paths, dataset, licence, creator, home), json_=json_)


@app.command("remove")
@command
def remove(
    index: IndexArgument,
    key: Annotated[list[str] | None, typer.Option("--key", help="Items of this key.")] = None,
    sha256: Annotated[list[str] | None, typer.Option("--sha256", help="Items with these bytes.")] = None,
    json_: JsonOption = False,
) -> int:
    """Erase items from every answer and every file of an index."""
    from clearmark.guardrails.memorization import open_index

    with open_index(index) as found:
        done = found.remove(keys=key or (), sha256=sha256 or ())
    if json_:
        emit(done.to_dict())
    else:
        say(f"{done.items:,} items erased, {done.rewritten} segments rewritten")
        say(f"  {done.before} -> {done.after}")
    return 0


@app.command("query")
@command
def query(
    index: IndexArgument,
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    pages: Annotated[
        Path | None, typer.Option("--pages", help="Folder for an evidence page (HTML) of each copy.")
    ] = None,
    json_: JsonOption = False,
) -> int:
    """Say of each picture whether it is a copy of an item, of which, and where."""
    from clearmark.guardrails.memorization import CopyChecker, evidence_page, open_index

    worst = 0
    with open_index(index) as found:
        checker = CopyChecker(found)
        for path in _pictures(paths):
            try:
                data = _read(path)
                check = checker.check(data)
                if pages is not None and check.memorized:
                    pages.mkdir(parents=True, exist_ok=True)
                    page = pages / f"{hashlib.sha256(data).hexdigest()[:16]}.html"
                    page.write_text(evidence_page(data, checker, check, title=path.name), encoding="utf-8")
            except Error as error:
                worst = worst or error.exit_code
                emit({"path": str(path), "error": str(error)}) if json_ else say(f"{path}: {error}")
                continue
            shown = [match.to_dict() for match in check.matches]
            if json_:
                confidence = round(check.score, 6)
                emit(
                    {
                        "path": str(path),
                        "memorized": check.memorized,
                        "confidence": confidence,
                        "threshold": check.threshold,
                        "matches": shown,
                    }
                )
            elif check.memorized:
                best = check.matches[0]
                rights = best.item.licence or "no licence"
                say(f"{path}: {best.kind} of {best.item.key} ({rights}), {best.score:.3f}")
            else:
                say(f"{path}: none, {check.score:.3f}")
    return worst


@app.command("calibrate")
@command
def calibrate(
    index: IndexArgument,
    negatives: Annotated[list[Path], typer.Argument(help="Pictures that are copies of no item.")],
    fpr: Annotated[float, typer.Option("--fpr", help="Share of them that may alarm.")] = 1e-3,
    json_: JsonOption = False,
) -> int:
    """Fit the threshold to a false-positive rate, and say how far the negatives support it."""
    from clearmark.guardrails.memorization import CopyChecker, open_index
    from clearmark.guardrails.memorization import calibrate as fit

    scores, unread = [], 0
    with open_index(index) as found:
        checker = CopyChecker(found)
        with progress("checking negatives", None) as advance:
            for path in _pictures(negatives):
                try:
                    scores.append(checker.check(_read(path)).score)
                except MediaError:
                    unread += 1
                advance(1)
        made = fit(scores, target=fpr)
        document = {**made.to_dict(), "unread": unread, "index": found.digest}
        found.set_calibration(document)
    if json_:
        emit(document)
        return 0
    say(f"threshold {made.threshold:.6f}: {made.alarms} alarms among {made.negatives:,} negatives")
    say(f"  false-positive rate between {made.low:.6f} and {made.high:.6f} (95%)")
    if not made.supported:
        say(f"  too few to claim {fpr:g}: it takes {made.needed:,} negatives without an alarm")
    return 0


@app.command("stats")
@command
def stats(index: IndexArgument, json_: JsonOption = False) -> int:
    """Count items, bytes and licences of an index."""
    from clearmark.guardrails.memorization import open_index

    with open_index(index) as found:
        document = found.stats()
    if json_:
        emit(document)
    else:
        table("", ("", ""), [(name, value) for name, value in document.items() if name != "licences"])
        table("", ("licence", "items"), list(document["licences"].items()))
    return 0


@app.command("copy")
@command
def copy(
    index: IndexArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to; made if nothing is there.")],
    json_: JsonOption = False,
) -> int:
    """Add all that an index holds to another, of any engine; a run that was cut off goes on."""
    from clearmark.guardrails.memorization import copy_index, create_index, open_index

    with open_index(index) as source:
        try:
            made = open_index(target)
        except UsageError:
            made = create_index(target, descriptor=source.descriptor)
        with made:
            document = {"added": copy_index(source, made), "items": len(made), "digest": made.digest}
    if json_:
        emit(document)
    else:
        say(f"{document['added']:,} added, {document['items']:,} in {target.partition('://')[0]}")
    return 0


def _fill(index: PictureIndex, given: Iterable[tuple[Item, bytes]], *, json_: bool) -> int:
    from clearmark.guardrails.memorization import default_descriptor, entry_of

    descriptor = default_descriptor()
    added, unread, rest = 0, 0, iter(given)
    with progress("indexing", None) as advance:
        while batch := list(islice(rest, _BATCH)):
            entries = []
            for item, data in batch:
                advance(1)
                if item.key in index:
                    continue
                try:
                    entries.append(entry_of(data, item, descriptor=descriptor))
                except MediaError:
                    unread += 1
            added += index.add(entries)
        document = {"added": added, "unread": unread, "items": len(index), "digest": index.digest}
    if json_:
        emit(document)
    else:
        say(f"{added:,} added, {unread:,} could not be read or are blank, {len(index):,} in the index")
    return 0


def _given(
    paths: list[Path] | None, dataset: str, licence: str, creator: str, home: Path | None
) -> Iterator[tuple[Item, bytes]]:
    from clearmark.guardrails.memorization import Item

    for path in _pictures(paths or []):
        data = _read(path)
        digest = hashlib.sha256(data).hexdigest()
        yield Item(key=str(path), sha256=digest, source=str(path), licence=licence, creator=creator), data
    if dataset:
        yield from _registered(dataset, home)


def _registered(dataset: str, home: Path | None) -> Iterator[tuple[Item, bytes]]:
    """Yield the items that a version holds and nobody reserved, with the bytes that are on record."""
    from clearmark.guardrails.memorization import Item
    from clearmark.provenance.training_data import open_source
    from clearmark.sdk.home import Home
    from clearmark.sdk.training_data import open_register

    with open_register(Home.locate(home)) as register:
        version = register.version(dataset)
        held = {
            item.key: item for item in register.items(version, state="held") if item.opt_out != "reserved"
        }
        for candidate in open_source(version.kind, version.location).read(""):
            item = held.get(candidate.key)
            if item is None or candidate.load is None:
                continue
            data = candidate.load()
            if hashlib.sha256(data).hexdigest() != item.sha256:
                continue  # not what stands on record, so nothing that the record says holds for it
            yield (
                Item(
                    key=f"{version.name}/{item.key}",
                    sha256=item.sha256,
                    source=item.source,
                    licence=item.licence.spdx,
                    creator=item.creator,
                    opt_out=item.opt_out,
                ),
                data,
            )


def _pictures(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
        else:
            yield path


def _read(path: Path) -> bytes:
    from clearmark.core.pixels import MAX_BYTES

    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc
