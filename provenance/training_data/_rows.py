"""From values to rows and back; the leaf that stands for an item in digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from clearmark.provenance.training_data._schema import DATASET, ITEM, LICENCE, QUARANTINE, VERSION
from clearmark.provenance.training_data.items import Fault, Item, Licence, Version

__all__ = [
    "item_of",
    "items_query",
    "leaf_of",
    "licence_fingerprint",
    "measures_text",
    "resolve_licences",
    "signed",
    "unsigned",
    "version_of",
    "versions_query",
]


_facts = json.JSONEncoder().encode
_measures = json.JSONEncoder(sort_keys=True).encode


def leaf_of(row: Mapping[str, Any], spdx: str) -> bytes:
    """Return the SHA-256 of what an item is: any other bytes, owner, licence, caption give another leaf."""
    sha256 = row["sha256"]
    facts = (
        row["key"],
        sha256.hex() if sha256 else "",
        row["source"],
        row["creator"],
        spdx,
        row["caption"],
        row["acquired"],
        row["method"],
        row["state"],
    )
    return hashlib.sha256(_facts(facts).encode()).digest()


def licence_fingerprint(licence: Licence) -> bytes:
    """Return what makes two licences the same row."""
    return hashlib.sha256(f"{licence.spdx}\0{licence.evidence}".encode()).digest()


def measures_text(measures: Mapping[str, int]) -> str:
    """Write measures as JSON; empty for none, which is the usual case."""
    return _measures(dict(measures)) if measures else ""


def signed(phash: int | None) -> int | None:
    """Turn a 64-bit hash into what databases call BIGINT."""
    return phash - (1 << 64) if phash is not None and phash >= 1 << 63 else phash


def unsigned(phash: int | None) -> int | None:
    """Undo `signed`."""
    return phash + (1 << 64) if phash is not None and phash < 0 else phash


def items_query() -> Select[Any]:
    """Select items with their licence and, where there is one, the reason of their quarantine."""
    joined = ITEM.join(LICENCE, LICENCE.c.id == ITEM.c.licence_id).outerjoin(
        QUARANTINE,
        (QUARANTINE.c.version_id == ITEM.c.version_id) & (QUARANTINE.c.number == ITEM.c.number),
    )
    return select(
        ITEM, LICENCE.c.spdx, LICENCE.c.evidence, QUARANTINE.c.code, QUARANTINE.c.detail
    ).select_from(joined)


def item_of(row: Row[Any]) -> Item:
    """Make an item of a row of `items_query`."""
    return Item(
        number=row.number,
        key=row.key,
        state=row.state,
        source=row.source,
        creator=row.creator,
        licence=Licence(row.spdx, row.evidence),
        caption=row.caption,
        category=row.category,
        acquired=row.acquired,
        method=row.method,
        sha256=row.sha256.hex() if row.sha256 else "",
        phash=unsigned(row.phash),
        colours=row.colours,
        media_type=row.media_type,
        size=row.bytes,
        width=row.width,
        height=row.height,
        consent=row.consent,
        consent_ref=row.consent_ref,
        opt_out=row.opt_out,
        measures=json.loads(row.measures) if row.measures else {},
        leaf=row.leaf.hex(),
        fault=Fault(row.code, row.detail) if row.code else None,
        removal=row.removal_id or "",
    )


def versions_query() -> Select[Any]:
    """Select versions with the name of their dataset."""
    return select(VERSION, DATASET.c.name).join(DATASET, DATASET.c.id == VERSION.c.dataset_id)


def version_of(row: Row[Any]) -> Version:
    """Make a version of a row of `versions_query`."""
    return Version(
        id=row.id,
        dataset=row.name,
        label=row.label,
        kind=row.kind,
        location=row.location,
        fingerprint=row.fingerprint,
        method=row.method,
        state=row.state,
        cursor=row.cursor,
        read=row.read,
        held=row.held,
        quarantined=row.quarantined,
        removed=row.removed,
        digest=row.digest,
        started_us=row.started_us,
        finished_us=row.finished_us,
    )


def resolve_licences(conn: Connection, wanted: Iterable[Licence], known: dict[Licence, int]) -> None:
    """Put the ids of licences into `known`, making rows for new ones."""
    new = {licence_fingerprint(licence): licence for licence in wanted if licence not in known}
    if not new:
        return
    if len(known) > 50_000:  # a source where every item has words of its own must not fill the memory
        known.clear()
    for _ in range(2):
        rows = conn.execute(
            select(LICENCE.c.fingerprint, LICENCE.c.id).where(LICENCE.c.fingerprint.in_(list(new)))
        ).all()
        found = {bytes(row.fingerprint): row.id for row in rows}
        missing = [
            {"fingerprint": mark, "spdx": licence.spdx, "evidence": licence.evidence}
            for mark, licence in new.items()
            if mark not in found
        ]
        if not missing:
            break
        conn.execute(insert(LICENCE), missing)
    known.update((licence, found[mark]) for mark, licence in new.items())
