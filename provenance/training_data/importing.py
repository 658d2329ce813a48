"""Import a source into the register: streaming, bounded, and whole again after being cut off.

Items, their signals and the cursor of the source move in one transaction. Whatever stops an import (a kill, a
full disk), the next one goes on behind the last item on record: none is lost, none is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, insert, update
from sqlalchemy.dialects import sqlite

from clearmark.core.errors import Error, UsageError
from clearmark.core.pixels import MAX_PIXELS
from clearmark.provenance.training_data._pictures import Look, look_at
from clearmark.provenance.training_data._rows import leaf_of, measures_text, resolve_licences, signed
from clearmark.provenance.training_data._schema import ITEM, QUARANTINE, SIGNAL, VERSION
from clearmark.provenance.training_data.importers.source import Source
from clearmark.provenance.training_data.items import (
    CONSENTS,
    HELD,
    QUARANTINED,
    Candidate,
    Fault,
    Licence,
    Signal,
    Version,
)
from clearmark.provenance.training_data.licences import identify
from clearmark.provenance.training_data.opt_outs import OptOutList, Sites, read_manifest, state_of
from clearmark.provenance.training_data.opt_outs.cawg import ManifestReader
from clearmark.provenance.training_data.register import Register, now_us

__all__ = ["ImportOptions", "Screen", "import_source"]

_LIMITS: Mapping[str, int] = {
    "key": 1000, "source": 2000, "creator": 500, "caption": 4000, "category": 200, "acquired": 40,
    "method": 200, "consent_ref": 500, "media_type": 100, "evidence": 2000, "detail": 500,
}  # fmt: skip
_CERTAIN = 500_000
_ITEM_COLUMNS = tuple(column.name for column in ITEM.columns if column.name != "removal_id")
_ITEM_SQL = str(insert(ITEM).compile(dialect=sqlite.dialect(), column_keys=_ITEM_COLUMNS))
_MAX_INT = 2**31 - 1


class Screen(Protocol):
    """Looks at one picture while it is imported: nudity, faces, known hashes.

    Called with the bytes and with what was already read of them; returns micro-units by category. It may be
    called from several threads. An exception puts the item into quarantine: only what was screened is held.
    """

    name: str

    def __call__(self, data: bytes, look: Look) -> Mapping[str, int]:
        """Measure one picture."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How an import goes, and what holds for every item that does not say otherwise itself.

    `workers` threads decode pictures. `acquired` (an ISO date), `method`, `creator`, `licence`, `consent` are
    defaults; `sites` are signals that a crawler kept; `screens` look at every picture.
    """

    workers: int = 2
    max_pixels: int = MAX_PIXELS
    acquired: str = ""
    method: str = ""
    creator: str = ""
    licence: Licence | None = None
    consent: str = ""
    sites: Sites | None = None
    screens: Sequence[Screen] = ()
    manifest_reader: ManifestReader = read_manifest


@dataclass(slots=True)
class _Ready:
    row: dict[str, Any]
    licence: Licence
    signals: tuple[Signal, ...] = ()
    fault: Fault | None = None


@dataclass
class _Run:
    register: Register
    version: Version
    options: ImportOptions
    opt_outs: OptOutList
    licences: dict[Licence, int] = field(default_factory=dict)


def import_source(
    register: Register,
    source: Source,
    *,
    dataset: str,
    label: str = "1",
    options: ImportOptions | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Version:
    """Import `source` as `dataset@label`, or go on with the import that was cut off, and return the version.

    `progress` is called with the number of items put on record since the last call; on a resumed import it
    is first called with what is on record already.

    Raises:
        UsageError: when the version is complete, was begun from something else, or is being imported by
            another process.
        Unavailable: when the register cannot be written.
    """
    chosen = options or ImportOptions()
    version = register.start(
        dataset,
        label,
        kind=source.kind,
        location=source.location,
        fingerprint=source.fingerprint,
        method=chosen.method or source.method,
    )
    run = _Run(register, version, chosen, register.opt_outs())
    if version.read:
        progress(version.read)
    with ThreadPoolExecutor(max(1, chosen.workers)) as pool:
        for batch in _batches(source.read(version.cursor), source.batch):
            if any(candidate.load for candidate in batch):
                ready = list(pool.map(lambda one: _prepare(run, one), batch))
            else:
                ready = [_prepare(run, one) for one in batch]
            run.version = _store(run, ready, batch[-1].cursor)
            progress(len(batch))
    return register.finish(run.version)


def _prepare(run: _Run, candidate: Candidate) -> _Ready:
    """Look at one candidate. Whatever is wrong with it ends as a reason, never as an exception."""
    options = run.options
    look, fault, measures = None, candidate.fault, dict(candidate.measures)
    read_us = now_us()
    if fault is None and candidate.load is not None:
        try:
            data = candidate.load()
        except Error as exc:
            fault = Fault("too-large", exc.message)
        except OSError as exc:
            fault = Fault("unreadable", exc.strerror or type(exc).__name__)
        else:
            look = look_at(
                data, max_pixels=options.max_pixels, manifest_reader=options.manifest_reader, read_us=read_us
            )
            fault = look.fault
            if fault is None:
                fault = _screen(options.screens, data, look, measures)
            look.picture = None
            if look.blank:
                measures["blank"] = 1_000_000
    signals, looked = _signals(options, candidate, look)
    statement = candidate.statement or (look.statement if look else "")
    licence = candidate.licence or (
        Licence(identify(statement), _text(statement, "evidence"))
        if statement
        else options.licence or Licence()
    )
    row = _row(run, candidate, look, state_of(signals, looked=looked), measures)
    if fault is None and run.opt_outs:
        fault = _registered(run.opt_outs, row)
    if fault is not None:
        row["state"] = QUARANTINED
        if fault.code in {"registered-opt-out", "known-abuse"}:
            # On record that it was turned away, without keeping more of it than that takes.
            row |= {"creator": "", "caption": ""}
    row["leaf"] = leaf_of(row, licence.spdx)
    row["phash"] = signed(row["phash"])
    return _Ready(row, licence, signals, fault)


def _row(
    run: _Run, candidate: Candidate, look: Look | None, opt_out: str, measures: Mapping[str, int]
) -> dict[str, Any]:
    options = run.options
    return {
        "version_id": run.version.id,
        "key": _text(candidate.key, "key"),
        "state": HELD,
        "source": _text(candidate.source, "source"),
        "creator": _text(candidate.creator or (look.creator if look else "") or options.creator, "creator"),
        "caption": _text(candidate.caption, "caption"),
        "category": _text(candidate.category, "category"),
        "acquired": _text(candidate.acquired or options.acquired, "acquired"),
        "method": _text(candidate.method or run.version.method, "method"),
        "sha256": bytes.fromhex(look.sha256) if look else _digest(candidate.sha256),
        "phash": look.phash if look else None,
        "colours": look.colours if look else None,
        "media_type": (look.media_type if look else "") or _text(candidate.media_type, "media_type"),
        "bytes": look.size if look else min(max(candidate.size, 0), 2**62),
        "width": min(max((look.width if look else 0) or candidate.width, 0), _MAX_INT),
        "height": min(max((look.height if look else 0) or candidate.height, 0), _MAX_INT),
        "consent": next((c for c in (candidate.consent, options.consent) if c in CONSENTS and c), ""),
        "consent_ref": _text(candidate.consent_ref, "consent_ref"),
        "opt_out": opt_out,
        "measures": measures_text(measures),
    }


def _screen(screens: Sequence[Screen], data: bytes, look: Look, measures: dict[str, int]) -> Fault | None:
    for screen in screens:
        try:
            measures.update(screen(data, look))
        except Exception as exc:  # noqa: BLE001  a screen is a plug-in: whatever it raises, the item is not held
            return Fault("screen-failed", f"{screen.name}: {type(exc).__name__}")
    if measures.get("known-abuse", 0) >= _CERTAIN:
        return Fault("known-abuse", "its hash is on a list of known abuse material")
    return None


def _signals(
    options: ImportOptions, candidate: Candidate, look: Look | None
) -> tuple[tuple[Signal, ...], bool]:
    signals = candidate.signals + (look.signals if look else ())
    looked = candidate.signals_read or (look is not None and look.fault is None)
    if options.sites is not None and candidate.source:
        of_site, read = options.sites.read(candidate.source)
        signals, looked = signals + of_site, looked or read
    return signals[:50], looked


def _registered(opt_outs: OptOutList, row: Mapping[str, Any]) -> Fault | None:
    found = opt_outs.match(
        sha256=row["sha256"].hex() if row["sha256"] else "",
        phash=row["phash"],
        source=row["source"],
        creator=row["creator"],
    )
    return Fault("registered-opt-out", f"by {found[0]}") if found else None


def _store(run: _Run, ready: Sequence[_Ready], cursor: str) -> Version:
    """Put a batch on record and move the cursor, whole or not at all."""
    version = run.version
    number = version.read
    signals: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    with run.register.database.writing() as conn:
        resolve_licences(conn, {one.licence for one in ready}, run.licences)
        for one in ready:
            number += 1
            place = {"version_id": version.id, "number": number}
            one.row |= {"number": number, "licence_id": run.licences[one.licence]}
            if one.fault is not None:
                faults.append({**place, "code": one.fault.code, "detail": _text(one.fault.detail, "detail")})
            for index, signal in enumerate(one.signals):
                signals.append(
                    {
                        **place,
                        "place_number": index,
                        "kind": signal.kind,
                        "raw": _text(signal.raw, "source"),
                        "reserved": None if signal.reserved is None else int(signal.reserved),
                        "place": _text(signal.place, "source"),
                        "read_us": signal.read_us or now_us(),
                    }
                )
        _insert_items(conn, [one.row for one in ready])
        for table, rows in ((SIGNAL, signals), (QUARANTINE, faults)):
            if rows:
                conn.execute(insert(table), rows)
        moved = conn.execute(
            update(VERSION)
            .where(VERSION.c.id == version.id, VERSION.c.read == version.read, VERSION.c.state == "importing")
            .values(
                cursor=cursor,
                read=number,
                # Added to what stands there: a removal may have changed it while the import went on.
                held=VERSION.c.held + len(ready) - len(faults),
                quarantined=VERSION.c.quarantined + len(faults),
            )
        )
        if moved.rowcount != 1:
            raise UsageError(
                f"{version.name} is being imported by another process", hint="wait until it has ended"
            )
    return replace(version, cursor=cursor, read=number)


def _insert_items(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert as SQLAlchemy would, but for SQLite without building a second dictionary for every row."""
    if conn.dialect.name != "sqlite":
        conn.execute(insert(ITEM), rows)
        return
    take = itemgetter(*_ITEM_COLUMNS)
    conn.exec_driver_sql(_ITEM_SQL, [take(row) for row in rows])


def _text(value: str, field_name: str) -> str:
    """Cut to the limit of a field; leave out what databases and terminals cannot hold."""
    if not value:
        return ""
    limit = _LIMITS[field_name]
    if value.isprintable():
        return value[:limit]
    return "".join(c if c.isprintable() else " " for c in value[:limit]).strip()


def _digest(text: str) -> bytes | None:
    text = text.lower().removeprefix("sha256:")
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def _batches(candidates: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    iterator = iter(candidates)
    while batch := list(islice(iterator, size)):
        yield batch
