"""`Register`: what a model was trained on, item by item, and what became of it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from clearmark.core.closing import Closing
from clearmark.core.errors import UsageError
from clearmark.provenance.training_data._database import Database
from clearmark.provenance.training_data._rows import item_of, items_query, version_of, versions_query
from clearmark.provenance.training_data._schema import DATASET, ITEM, OPT_OUT, SIGNAL, USE, VERSION
from clearmark.provenance.training_data.items import REMOVED, Dataset, Item, Signal, Use, Version
from clearmark.provenance.training_data.opt_outs import OptOutList
from clearmark.provenance.training_data.opt_outs.listed import normal_value

__all__ = ["Register", "now_us", "version_digest"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PAGE = 1000


class Register(Closing):
    """The register in a database: a path (SQLite), a database URL, or an SQLAlchemy engine.

    >>> with Register("register.db") as register:
    ...     [version.name for version in register.versions()]
    ['openclipart@0.18']

    Raises:
        Unavailable: when the database cannot be opened.
        UsageError: when it is absent and `create` is not set, or of another format.
    """

    def __init__(self, database: str | Path | Engine, *, create: bool = True) -> None:
        self.database = Database(database, create=create)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def datasets(self) -> tuple[Dataset, ...]:
        """Return every dataset, by name."""
        with self.database.reading() as conn:
            rows = conn.execute(select(DATASET).order_by(DATASET.c.name)).all()
        return tuple(
            Dataset(
                name=row.name,
                description=row.description,
                homepage=row.homepage,
                publisher=row.publisher,
                created_us=row.created_us,
            )
            for row in rows
        )

    def dataset(self, name: str) -> Dataset:
        """Return one dataset.

        Raises:
            UsageError: when there is none of that name.
        """
        for dataset in self.datasets():
            if dataset.name == name:
                return dataset
        raise UsageError(f"no dataset is called {name!r}", hint="clearmark data list shows them")

    def put_dataset(self, dataset: Dataset) -> None:
        """Make a dataset, or bring what is said about it up to date; empty words leave what stands.

        Raises:
            UsageError: when the name has other characters than letters, digits, `.`, `_` and `-`.
        """
        _check_name(dataset.name, "a dataset's name")
        said = {
            name: value
            for name, value in (
                ("description", dataset.description),
                ("homepage", dataset.homepage),
                ("publisher", dataset.publisher),
            )
            if value
        }
        with self.database.writing() as conn:
            found = conn.execute(select(DATASET.c.id).where(DATASET.c.name == dataset.name)).scalar()
            if found is None:
                blank = {"description": "", "homepage": "", "publisher": ""}
                values = {**blank, **said, "name": dataset.name, "created_us": now_us()}
                conn.execute(insert(DATASET).values(**values))
            elif said:
                conn.execute(update(DATASET).where(DATASET.c.id == found).values(**said))

    def versions(self, dataset: str | None = None) -> tuple[Version, ...]:
        """Return every version, in the order in which their imports began."""
        query = versions_query().order_by(VERSION.c.id)
        if dataset is not None:
            query = query.where(DATASET.c.name == dataset)
        with self.database.reading() as conn:
            return tuple(version_of(row) for row in conn.execute(query))

    def version(self, name: str) -> Version:
        """Return the version `dataset@version`, or the latest one of `dataset`.

        Raises:
            UsageError: when there is none.
        """
        dataset, _, label = name.partition("@")
        found = [version for version in self.versions(dataset) if label in {"", version.label}]
        if not found:
            raise UsageError(f"no dataset {name!r} is on record", hint="clearmark data list shows them")
        return found[-1]

    def start(
        self, dataset: str, label: str, *, kind: str, location: str, fingerprint: str, method: str
    ) -> Version:
        """Begin the import of a version, or find the one that was cut off.

        Raises:
            UsageError: when the version is complete, or was begun from something else.
        """
        _check_name(label, "a version's name")
        with self.database.writing() as conn:
            owner = conn.execute(select(DATASET.c.id).where(DATASET.c.name == dataset)).scalar()
            if owner is None:
                raise UsageError(f"no dataset is called {dataset!r}")
            same = (VERSION.c.dataset_id == owner) & (VERSION.c.label == label)
            row = conn.execute(versions_query().where(same)).first()
            if row is None:
                conn.execute(
                    insert(VERSION).values(
                        dataset_id=owner,
                        label=label,
                        kind=kind,
                        location=location,
                        fingerprint=fingerprint,
                        method=method,
                        state="importing",
                        cursor="",
                        read=0,
                        held=0,
                        quarantined=0,
                        removed=0,
                        digest="",
                        started_us=now_us(),
                    )
                )
                row = conn.execute(versions_query().where(same)).one()
        version = version_of(row)
        if version.state == "complete":
            raise UsageError(
                f"{version.name} is complete, with {version.read:,} items on record",
                hint="name another one with --version",
            )
        if version.fingerprint != fingerprint:
            raise UsageError(
                f"{version.name} was begun from something else ({version.kind} {version.location})",
                hint="go on with the same files and options, or name another --version",
            )
        return version

    def finish(self, version: Version) -> Version:
        """Mark an import as complete and set the digest of the version."""
        with self.database.writing() as conn:
            digest = version_digest(conn, version.id)
            conn.execute(
                update(VERSION)
                .where(VERSION.c.id == version.id)
                .values(state="complete", digest=digest, finished_us=now_us())
            )
        return self.version(version.name)

    def items(self, version: Version, *, state: str | None = None, after: int = 0) -> Iterator[Item]:
        """Yield the items of a version in order, reading page by page: memory does not grow with them."""
        query = items_query().where(ITEM.c.version_id == version.id).order_by(ITEM.c.number).limit(_PAGE)
        if state is not None:
            query = query.where(ITEM.c.state == state)
        while True:
            with self.database.reading() as conn:
                rows = conn.execute(query.where(ITEM.c.number > after)).all()
            yield from (item_of(row) for row in rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1].number

    def find(self, sha256: str) -> tuple[tuple[Version, Item], ...]:
        """Return every item with these bytes, whatever the dataset."""
        try:
            digest = bytes.fromhex(sha256.removeprefix("sha256:"))
        except ValueError as exc:
            raise UsageError("sha256 must be 64 hex digits") from exc
        versions = {version.id: version for version in self.versions()}
        with self.database.reading() as conn:
            rows = conn.execute(items_query().where(ITEM.c.sha256 == digest)).all()
        return tuple((versions[row.version_id], item_of(row)) for row in rows)

    def signals(self, version: Version, number: int) -> tuple[Signal, ...]:
        """Return the raw opt-out signals of one item."""
        query = select(SIGNAL).where(SIGNAL.c.version_id == version.id, SIGNAL.c.number == number)
        with self.database.reading() as conn:
            rows = conn.execute(query.order_by(SIGNAL.c.place_number)).all()
        return tuple(
            Signal(
                kind=row.kind,
                raw=row.raw,
                reserved=None if row.reserved is None else bool(row.reserved),
                place=row.place,
                read_us=row.read_us,
            )
            for row in rows
        )

    def register_opt_outs(self, entries: Sequence[tuple[str, str]], *, reason: str = "") -> int:
        """Register opt-outs (kind, value) and return how many of them are new.

        Raises:
            UsageError: for an unknown kind, or a value that is none of its kind.
        """
        wanted = dict.fromkeys((kind, normal_value(kind, value)) for kind, value in entries)
        with self.database.writing() as conn:
            return add_opt_outs(conn, list(wanted), reason)

    def opt_outs(self) -> OptOutList:
        """Return the registered opt-outs, ready to be matched."""
        with self.database.reading() as conn:
            rows = conn.execute(select(OPT_OUT.c.kind, OPT_OUT.c.value)).all()
        return OptOutList.of((row.kind, row.value) for row in rows)

    def record_use(self, version: Version, *, kind: str, name: str, digest: str, policy: str = "") -> Use:
        """Record that a model or an index was made from a version, under the policy with that digest.

        Raises:
            UsageError: when `kind` is neither `model` nor `index`.
        """
        if kind not in {"model", "index"}:
            raise UsageError(f"a use is a model or an index, not {kind!r}")
        values = {"kind": kind, "name": name, "digest": digest}
        with self.database.writing() as conn:
            same = [USE.c[column] == value for column, value in values.items()]
            if conn.execute(select(USE.c.id).where(USE.c.version_id == version.id, *same)).first() is None:
                conn.execute(
                    insert(USE).values(version_id=version.id, policy=policy, recorded_us=now_us(), **values)
                )
        return next(
            use for use in self.uses(version) if (use.kind, use.name, use.digest) == (kind, name, digest)
        )

    def uses(self, version: Version | None = None) -> tuple[Use, ...]:
        """Return what was made from a version, or from any."""
        names = {found.id: found.name for found in self.versions()}
        query = select(USE).order_by(USE.c.id)
        if version is not None:
            query = query.where(USE.c.version_id == version.id)
        with self.database.reading() as conn:
            rows = conn.execute(query).all()
        return tuple(
            Use(
                kind=row.kind,
                name=row.name,
                digest=row.digest,
                version=names[row.version_id],
                policy=row.policy,
                recorded_us=row.recorded_us,
            )
            for row in rows
        )


def version_digest(conn: Connection, version_id: int, *, undone: Collection[str] = ()) -> str:
    """Return `sha256:` over the leaves of every item that is not removed, in order.

    Items removed by a removal in `undone` count as if they were still there: the digest before it.
    """
    state = hashlib.sha256()
    query = select(ITEM.c.leaf, ITEM.c.state, ITEM.c.removal_id).where(ITEM.c.version_id == version_id)
    stream: Any = conn.execute(query.order_by(ITEM.c.number).execution_options(yield_per=10_000))
    for leaf, item_state, removal in stream:
        if item_state != REMOVED or removal in undone:
            state.update(leaf)
    return f"sha256:{state.hexdigest()}"


def add_opt_outs(conn: Connection, entries: Sequence[tuple[str, str]], reason: str) -> int:
    """Insert what is not there yet, inside a transaction of the caller's."""
    added = 0
    for kind, value in entries:
        known = select(OPT_OUT.c.id).where(OPT_OUT.c.kind == kind, OPT_OUT.c.value == value)
        if conn.execute(known).first() is None:
            values = {"kind": kind, "value": value, "reason": reason, "registered_us": now_us()}
            conn.execute(insert(OPT_OUT).values(**values))
            added += 1
    return added


def now_us() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} holds letters, digits, '.', '_' and '-', at most 100 of them: {name[:100]!r}"
        )
