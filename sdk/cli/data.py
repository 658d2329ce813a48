"""`clearmark data`: the register of training data."""

from __future__ import annotations

import json
import re
from collections import deque
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearmark.core.errors import UsageError
from clearmark.sdk.cli._console import command, emit, out, progress, say, table
from clearmark.sdk.cli._data_tables import print_audit, print_summary
from clearmark.sdk.cli._options import HomeOption, JsonOption
from clearmark.sdk.home import Home

if TYPE_CHECKING:
    from clearmark.provenance.training_data import Register

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_MAX_PROOF = 256 * 1024 * 1024
DatasetArgument = Annotated[
    str | None,
    typer.Argument(metavar="[NAME[@VERSION]]", help="A dataset; without it, every version on record."),
]
DataPolicyOption = Annotated[str, typer.Option("--policy", help="A data policy file, or `default`.")]


@app.command("add")
@command
def add(
    kind: Annotated[
        str, typer.Argument(help="openclipart, folder, csv, jsonl, parquet, webdataset or huggingface.")
    ],
    path: Annotated[Path | None, typer.Argument(help="What to import. openclipart finds Debian's.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the dataset. Default: from the path.")
    ] = None,
    version: Annotated[str, typer.Option("--version", help="Name of this version.")] = "1",
    description: Annotated[str, typer.Option("--description")] = "",
    homepage: Annotated[str, typer.Option("--homepage")] = "",
    publisher: Annotated[str, typer.Option("--publisher")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of items that name none.")] = "",
    creator: Annotated[str, typer.Option("--creator", help="Creator of items that name none.")] = "",
    acquired: Annotated[str, typer.Option("--acquired", help="Day of acquisition, as 2026-08-02.")] = "",
    method: Annotated[str, typer.Option("--method", help="How it was acquired.")] = "",
    consent: Annotated[str, typer.Option("--consent", help="given, refused or not-needed.")] = "",
    sites: Annotated[
        Path | None,
        typer.Option("--sites", help="Folder HOST/robots.txt, HOST/tdmrep.json that a crawler kept."),
    ] = None,
    screen: Annotated[
        list[str] | None, typer.Option("--screen", help="Look at every picture: nudity.")
    ] = None,
    abuse_hashes: Annotated[
        list[Path] | None, typer.Option("--abuse-hashes", help="List of hashes of known abuse material.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Threads that decode.")] = 2,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Put a dataset on record, item by item; an import that was cut off goes on where it stopped."""
    from clearmark.provenance.training_data import (
        Dataset,
        ImportOptions,
        Licence,
        Sites,
        import_source,
        open_source,
    )
    from clearmark.provenance.training_data.items import CONSENTS
    from clearmark.provenance.training_data.licences import identify
    from clearmark.sdk.training_data import open_register, record_import, screens

    if consent not in CONSENTS:
        raise UsageError(f"consent is one of: {', '.join(CONSENTS[1:])}")
    if acquired and not re.fullmatch(r"\d{4}-\d\d-\d\d", acquired):
        raise UsageError("--acquired is a day, as 2026-08-02")
    options = ImportOptions(
        workers=workers,
        acquired=acquired,
        method=method,
        creator=creator,
        licence=Licence(identify(licence), f"stated at import: {licence}") if licence else None,
        consent=consent,
        sites=Sites(sites) if sites else None,
        screens=screens(screen or [], abuse_hashes or []),
    )
    source = open_source(kind, path)
    place = Home.locate(home)
    dataset = name or _name_of(kind, path)
    with open_register(place, create=True) as register:
        register.put_dataset(
            Dataset(name=dataset, description=description, homepage=homepage, publisher=publisher)
        )
        with progress(f"importing {dataset}", source.total) as advance:
            made = import_source(
                register, source, dataset=dataset, label=version, options=options, progress=advance
            )
    record_import(place, made)
    if json_:
        emit(made.to_dict())
    else:
        say(f"{made.name}: {made.read:,} items, {made.held:,} held, {made.quarantined:,} in quarantine")
        say(f"  {made.digest}")
    return 0


@app.command("list")
@command
def show(home: HomeOption = None, json_: JsonOption = False) -> int:
    """List the versions on record, and what was made of them."""
    with _open(home) as register:
        versions, uses = register.versions(), register.uses()
    if json_:
        for version in versions:
            made = [use.to_dict() for use in uses if use.version == version.name]
            emit({**version.to_dict(), "uses": made})
        return 0
    columns = ("dataset", "importer", "state", "items", "held", "quarantined", "removed", "used by")
    rows = [
        (
            version.name,
            version.kind,
            version.state,
            f"{version.read:,}",
            f"{version.held:,}",
            f"{version.quarantined:,}",
            f"{version.removed:,}",
            ", ".join(f"{use.kind} {use.name}" for use in uses if use.version == version.name),
        )
        for version in versions
    ]
    table("", columns, rows)
    return 0


@app.command("audit")
@command
def audit(
    dataset: DatasetArgument = None,
    policy: DataPolicyOption = "default",
    limit: Annotated[int, typer.Option("--limit", help="How many denied items to show.")] = 10,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Say item by item what may be trained on, and under which rule."""
    from clearmark.provenance.training_data import DataPolicy
    from clearmark.provenance.training_data import audit as run_audit

    rules = DataPolicy.load(policy)
    with _open(home) as register:
        for version in _versions(register, dataset):
            run = run_audit(register, version, rules)
            if json_:
                for outcome in run:
                    emit({"dataset": version.name, **outcome.to_dict()})
                emit({"summary": run.summary.to_dict()})
                continue
            with progress(f"auditing {version.name}", version.read) as advance:
                outcomes = (outcome for outcome in _counted(run, advance) if not outcome.allowed)
                denied = list(islice(outcomes, limit))
                deque(outcomes, maxlen=0)  # the counts are complete after the last item
            print_audit(run, denied)
    return 0


@app.command("summary")
@command
def summary(
    dataset: DatasetArgument = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Write Croissant, SPDX, CycloneDX, the list of items and the card there."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="JSON facts of a model made of it, for its card and BOM."),
    ] = None,
    policy: DataPolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Count licences, creators and categories, and write the documents about a dataset."""
    from clearmark.provenance.training_data import ModelFacts, summarize

    if model is not None and (out_folder is None or dataset is None):
        raise UsageError("--model needs the dataset's name and --out")
    facts = ModelFacts.from_dict(_read_json(model)) if model is not None else None
    with _open(home) as register:
        for version in _versions(register, dataset):
            counts = summarize(register, version)
            written: dict[str, str] = {}
            if out_folder is not None:
                folder = out_folder / version.name.replace("@", "-")
                written = _write(register, version, folder, policy, facts)
            if json_:
                emit({**counts.to_dict(), "documents": written})
                continue
            print_summary(counts)
            for path in written.values():
                say(f"  wrote {path}")
    return 0


@app.command("use")
@command
def use(
    dataset: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="What it was made from.")],
    items: Annotated[Path, typer.Option("--items", help="Keys of the items used: one a line, or JSON.")],
    model: Annotated[str, typer.Option("--model", help="Name of the model.")] = "",
    index: Annotated[str, typer.Option("--index", help="Name of the index, when it is no model.")] = "",
    digest: Annotated[str, typer.Option("--digest", help="sha256:… of its weights or files.")] = "",
    policy: DataPolicyOption = "default",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Record what was made from a dataset, once every item that it used is one that may be used."""
    from clearmark.provenance.training_data import DataPolicy, check_use, read_keys
    from clearmark.sdk.training_data import record_use

    if bool(model) == bool(index) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise UsageError("a use has --model or --index, and --digest sha256:…")
    rules, keys = DataPolicy.load(policy), read_keys(items)
    place = Home.locate(home)
    with _open(home) as register:
        version = register.version(dataset)
        found = check_use(register, version, keys, rules)
        if found.ok:
            kind = "model" if model else "index"
            made = register.record_use(
                version, kind=kind, name=model or index, digest=digest, policy=rules.digest
            )
    if found.ok:
        record_use(place, made, items=found.used, version=version)
    if json_:
        emit(found.to_dict())
    elif found.ok:
        say(f"{found.used:,} items used, all of them allowed; on record as made from {version.name}")
    else:
        say(f"{len(found.refused):,} of {found.used:,} items may not be used, {len(found.unknown):,} unknown")
        rows = [(item.key, item.rule, item.because) for item in found.refused]
        table("", ("item", "rule", "because"), [*rows, *((key, "unknown", "") for key in found.unknown)][:50])
    return 0 if found.ok else 3


@app.command("remove")
@command
def remove(
    reason: Annotated[str, typer.Option("--reason", help="Why, for the proof.")],
    sha256: Annotated[list[str] | None, typer.Option("--sha256", help="Items with these bytes.")] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="Items of this key.")] = None,
    creator: Annotated[list[str] | None, typer.Option("--creator", help="Items of this creator.")] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Items whose address begins with this.")
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Only in NAME or NAME@VERSION.")] = "",
    copies: Annotated[bool, typer.Option("--copies", help="Near-copies of them, too.")] = False,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the signed proof to a file.")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Remove items for good, and prove it: what, from which versions, and which models had seen them."""
    from clearmark.provenance.training_data import Selection, remove_items
    from clearmark.sdk.training_data import erase_from_index, record_removal, removal_signer

    selection = Selection(
        sha256=sha256 or (),
        keys=key or (),
        creators=creator or (),
        sources=source or (),
        dataset=dataset,
        copies=copies,
    )
    place = Home.locate(home)
    with _open(home) as register:
        proof = remove_items(register, selection, reason=reason, signer=removal_signer(place))
    record_removal(place, proof)
    erased = erase_from_index(place, proof)
    document = proof.to_dict()
    if out_file is not None:
        out_file.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if json_:
        emit(document)
        return 0
    say(f"{len(proof.body['items']):,} items removed, removal {proof.id}")
    if erased is not None:
        say(f"  index of the training data: {erased.items:,}, digest {erased.before} -> {erased.after}")
    for row in proof.body["versions"]:
        say(f"  {row['name']}: {row['items']:,}, digest {row['before']} -> {row['after']}")
    for row in proof.body["used_by"]:
        say(f"  {row['kind']} {row['name']} ({row['digest']}): {row['outcome']}")
    return 0


@app.command("check")
@command
def check(
    proof: Annotated[Path, typer.Argument(help="A proof that `data remove` wrote.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Check a proof of removal against the register and the ledger's key."""
    from clearmark.audits import NoteSigner
    from clearmark.provenance.training_data import RemovalProof, check_removal
    from clearmark.sdk.training_data import verifies

    place = Home.locate(home)
    given = RemovalProof.from_dict(_read_json(proof))
    verifier = NoteSigner.from_pem(place.ledger_key, place.ledger_name).verifier
    with _open(home) as register:
        found = check_removal(register, given, verify=verifies(verifier))
    if json_:
        emit({"ok": found.ok, "faults": list(found.faults)})
    else:
        out().print("[bold green]ok[/]" if found.ok else "[bold red]does not hold[/]")
        for fault in found.faults:
            say(f"  {fault}")
    return 0 if found.ok else 4


@app.command("opt-out")
@command
def opt_out(
    kind: Annotated[str, typer.Argument(help="sha256, phash, host, prefix or creator.")],
    values: Annotated[list[str], typer.Argument(help="What is opted out.")],
    reason: Annotated[str, typer.Option("--reason", help="Who asked, and why.")] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> int:
    """Register opt-outs: audits deny what they cover at once, imports turn it away."""
    from clearmark.sdk.training_data import open_register

    with open_register(Home.locate(home), create=True) as register:
        added = register.register_opt_outs([(kind, value) for value in values], reason=reason)
    if json_:
        emit({"added": added})
    else:
        say(f"{added} opt-outs registered, {len(values) - added} known already")
    return 0


def _open(home: Path | None) -> Register:
    from clearmark.sdk.training_data import open_register

    return open_register(Home.locate(home))


def _versions(register: Register, name: str | None) -> list[Any]:
    if name is not None:
        return [register.version(name)]
    found = list(register.versions())
    if not found:
        raise UsageError("nothing is on record", hint="clearmark data add")
    return found


def _counted(run: Any, advance: Any) -> Any:
    for number, outcome in enumerate(run, 1):
        if number % 500 == 0:
            advance(500)
        yield outcome


def _write(register: Register, version: Any, folder: Path, policy: str, model: Any) -> dict[str, str]:
    from clearmark import __version__
    from clearmark.provenance.training_data import DataPolicy, write_documents

    try:
        written = write_documents(
            register,
            version,
            folder,
            policy=DataPolicy.load(policy),
            model=model,
            software=f"clearmark {__version__}",
        )
    except OSError as exc:
        raise UsageError(f"{folder}: {exc.strerror}", hint="choose another --out") from exc
    return {name: str(path) for name, path in written.items()}


def _name_of(kind: str, path: Path | None) -> str:
    if path is None:
        return kind
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._")
    return words[:100] or kind


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_PROOF + 1)
        if len(data) > _MAX_PROOF:
            raise UsageError(f"{path}: larger than any proof")
        return json.loads(data)
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path}: not JSON") from exc
