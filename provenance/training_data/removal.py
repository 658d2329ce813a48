"""Take items out, and prove it: what was removed, from which versions, and what had been made of them.

A removed item keeps its place, its digests and the id of its removal; who made it, where it came from and
what was said of it are gone. Its SHA-256 is registered as an opt-out: no later import brings it back.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, insert, or_, select, update

from clearmark.core.canonical import canonical_json
from clearmark.core.errors import Unavailable, UsageError
from clearmark.core.ids import uuid7
from clearmark.provenance.training_data._rows import item_of, items_query, resolve_licences
from clearmark.provenance.training_data._schema import ITEM, LICENCE, QUARANTINE, REMOVAL, SIGNAL, VERSION
from clearmark.provenance.training_data.data_policy import Duplicates
from clearmark.provenance.training_data.duplicates import colour_distance
from clearmark.provenance.training_data.items import HELD, REMOVED, Item, Licence, Use, Version
from clearmark.provenance.training_data.opt_outs import OptOutList
from clearmark.provenance.training_data.opt_outs.listed import normal_value
from clearmark.provenance.training_data.register import Register, add_opt_outs, now_us, version_digest

__all__ = [
    "IndexUpdate",
    "RemovalCheck",
    "RemovalProof",
    "Selection",
    "Signer",
    "check_removal",
    "remove_items",
]

PROOF_TYPE = "clearmark.training-data.removal/1"

Signer = Callable[[bytes], str]
"""Signs bytes and returns the signature in its own text form, key name included."""

IndexUpdate = Callable[[Use, Sequence[str]], str]
"""Deletes the items with these SHA-256 from an index; returns the index's new digest."""

_MAX_ITEMS = 1_000_000
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which items: by their bytes, their key, their creator, or the beginning of their address.

    With `copies`, near-copies of what is selected go, too, whatever dataset they are in. `dataset` (a name,
    or `name@version`) narrows the search.
    """

    sha256: Sequence[str] = ()
    keys: Sequence[str] = ()
    creators: Sequence[str] = ()
    sources: Sequence[str] = ()
    dataset: str = ""
    copies: bool = False


@dataclass(frozen=True, kw_only=True)
class RemovalProof:
    """The signed statement. `signature` is over the canonical JSON (RFC 8785) of `body`."""

    body: Mapping[str, Any]
    signature: str

    @property
    def id(self) -> str:
        """The id of the removal."""
        return str(self.body["id"])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as it is handed out."""
        return {"body": dict(self.body), "signature": self.signature}

    @classmethod
    def from_dict(cls, document: Any) -> RemovalProof:
        """Read what `to_dict` wrote.

        Raises:
            UsageError: when it is no such proof.
        """
        body = document.get("body") if isinstance(document, Mapping) else None
        if not isinstance(body, Mapping) or not _is_proof(body, document.get("signature")):
            raise UsageError("not a proof of removal", hint=f"a JSON object whose body has type {PROOF_TYPE}")
        return cls(body=body, signature=document["signature"])


def _is_proof(body: Mapping[str, Any], signature: Any) -> bool:
    lists = [body.get(name) for name in ("items", "versions", "used_by")]
    return (
        isinstance(signature, str)
        and body.get("type") == PROOF_TYPE
        and isinstance(body.get("id"), str)
        and all(isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows) for rows in lists)
    )


@dataclass(frozen=True, kw_only=True)
class RemovalCheck:
    """What a check of a proof found; `faults` is empty when everything holds."""

    faults: Sequence[str] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return not self.faults


def remove_items(
    register: Register,
    selection: Selection,
    *,
    reason: str,
    signer: Signer,
    update_index: IndexUpdate | None = None,
) -> RemovalProof:
    """Remove items and return the signed proof; all of it happens, or nothing.

    `update_index` is called for each index that was made from a version with removed items.

    Raises:
        UsageError: when nothing is selected, or more than a million items are.
    """
    removal = uuid7()
    with register.database.writing() as conn:
        versions = {version.id: version for version in register.versions()}
        chosen = _choose(conn, selection, versions)
        touched = sorted({version_id for version_id, _ in chosen})
        before = {version_id: version_digest(conn, version_id) for version_id in touched}
        removed_us = now_us()
        _blank(conn, chosen, removal)
        add_opt_outs(
            conn, sorted({("sha256", item.sha256) for _, item in chosen if item.sha256}), f"removal {removal}"
        )
        rows = [_after(conn, versions[version_id], chosen, before[version_id]) for version_id in touched]
        body: dict[str, Any] = {
            "type": PROOF_TYPE,
            "id": removal,
            "removed_us": removed_us,
            "reason": reason,
            "items": [
                {
                    "dataset": versions[version_id].name,
                    "number": item.number,
                    "key": item.key,
                    "sha256": item.sha256,
                    "leaf": item.leaf,
                }
                for version_id, item in chosen
            ],
            "versions": rows,
            "used_by": _used_by(register, [versions[i] for i in touched], chosen, update_index),
        }
        proof = RemovalProof(body=body, signature=signer(canonical_json(body)))
        conn.execute(
            insert(REMOVAL).values(
                id=removal, removed_us=removed_us, reason=reason, proof=json.dumps(proof.to_dict())
            )
        )
    with contextlib.suppress(Unavailable):  # the removal stands; closing the register empties the log, too
        register.database.scrub()
    return proof


def check_removal(
    register: Register, proof: RemovalProof, *, verify: Callable[[bytes, str], bool] | None
) -> RemovalCheck:
    """Check the signature, that the items are gone, and that both digests of every version can be recomputed.

    Without `verify` the signature is not looked at, which is a fault.
    """
    faults: list[str] = []
    if verify is None:
        faults.append("the signature was not checked")
    elif not verify(canonical_json(proof.body), proof.signature):
        faults.append("the signature does not fit")
    versions = {version.name: version for version in register.versions()}
    with register.database.reading() as conn:
        rows = conn.execute(select(REMOVAL.c.id, REMOVAL.c.removed_us).order_by(REMOVAL.c.removed_us)).all()
        order = [row.id for row in rows]
        if proof.id not in order:
            return RemovalCheck(faults=(*faults, "this register knows no such removal"))
        later = order[order.index(proof.id) + 1 :]
        for row in proof.body["items"]:
            version = versions.get(str(row.get("dataset")))
            faults.extend(_still_there(conn, version, row, proof.id))
        for row in proof.body["versions"]:
            version = versions.get(str(row.get("name")))
            if version is None:
                faults.append(f"{row.get('name')} is not on record")
            elif version_digest(conn, version.id, undone=later) != row.get("after"):
                faults.append(f"the digest of {version.name} after the removal is another one")
            elif version_digest(conn, version.id, undone=[*later, proof.id]) != row.get("before"):
                faults.append(f"the digest of {version.name} before the removal is another one")
    return RemovalCheck(faults=tuple(faults))


def _choose(
    conn: Connection, selection: Selection, versions: Mapping[int, Version]
) -> list[tuple[int, Item]]:
    wanted = _conditions(selection)
    if not wanted:
        raise UsageError("nothing says what to remove", hint="give a sha256, a key, a creator or a source")
    inside = {
        number
        for number, version in versions.items()
        if selection.dataset in {"", version.dataset, version.name}
    }
    query = items_query().where(ITEM.c.state != REMOVED, or_(*wanted), ITEM.c.version_id.in_(inside))
    rows = conn.execute(query.order_by(ITEM.c.version_id, ITEM.c.number).limit(_MAX_ITEMS + 1)).all()
    chosen = {(row.version_id, row.number): item_of(row) for row in rows}
    if selection.copies:
        chosen |= _copies(conn, list(chosen.values()), chosen.keys())
    if not chosen:
        raise UsageError(
            "no item on record is meant by that", hint="clearmark data audit lists what there is"
        )
    if len(chosen) > _MAX_ITEMS:
        raise UsageError(f"more than {_MAX_ITEMS:,} items", hint="remove them in parts")
    return [(version_id, item) for (version_id, _), item in sorted(chosen.items(), key=lambda pair: pair[0])]


def _conditions(selection: Selection) -> list[Any]:
    digests = [bytes.fromhex(normal_value("sha256", value)) for value in selection.sha256]
    found: list[Any] = [ITEM.c.sha256.in_(digests)] if digests else []
    if selection.keys:
        found.append(ITEM.c.key.in_(list(selection.keys)))
    if selection.creators:
        found.append(ITEM.c.creator.in_(list(selection.creators)))
    found.extend(ITEM.c.source.startswith(prefix, autoescape=True) for prefix in selection.sources if prefix)
    return found


def _copies(
    conn: Connection, originals: Sequence[Item], known: Collection[tuple[int, int]]
) -> dict[tuple[int, int], Item]:
    """Find near-copies: within 3 bits of the hash, and of much the same colours."""
    looks = [(item.phash, item.colours) for item in originals if item.phash is not None and item.colours]
    if not looks:
        return {}
    near = OptOutList.of(("phash", f"{phash:016x}") for phash, _ in looks)
    colours = np.stack([np.frombuffer(colour, np.uint8) for _, colour in looks if colour])
    levels = Duplicates().colours
    found: dict[tuple[int, int], Item] = {}
    query = items_query().where(ITEM.c.state != REMOVED, ITEM.c.phash.is_not(None))
    stream: Any = conn.execute(query.execution_options(yield_per=5000))
    for row in stream:
        item = item_of(row)
        if (row.version_id, row.number) in known or not item.colours:
            continue
        if near.match(sha256="", phash=item.phash, source="", creator=""):
            own = np.frombuffer(item.colours, np.uint8)
            if bool((colour_distance(colours, own) <= levels).any()):
                found[row.version_id, row.number] = item
    return found


def _blank(conn: Connection, chosen: Sequence[tuple[int, Item]], removal: str) -> None:
    gone = {
        "state": REMOVED,
        "removal_id": removal,
        "source": "",
        "creator": "",
        "caption": "",
        "measures": "",
        "consent_ref": "",
        "phash": None,
        "colours": None,
    }
    _forget_evidence(conn, chosen)
    by_version: dict[int, list[int]] = {}
    for version_id, item in chosen:
        by_version.setdefault(version_id, []).append(item.number)
    for version_id, numbers in by_version.items():
        for start in range(0, len(numbers), _CHUNK):
            part = numbers[start : start + _CHUNK]
            for table in (SIGNAL, QUARANTINE):
                conn.execute(delete(table).where(table.c.version_id == version_id, table.c.number.in_(part)))
            conn.execute(
                update(ITEM).where(ITEM.c.version_id == version_id, ITEM.c.number.in_(part)).values(**gone)
            )


def _forget_evidence(conn: Connection, chosen: Sequence[tuple[int, Item]]) -> None:
    """Keep which licence it was, and drop the words of the source, which may name a person."""
    spoken = {item.licence for _, item in chosen if item.licence.evidence}
    silent = {licence: Licence(licence.spdx) for licence in spoken}
    ids: dict[Licence, int] = {}
    resolve_licences(conn, [*spoken, *silent.values()], ids)
    for version_id, item in chosen:
        if item.licence in silent:
            conn.execute(
                update(ITEM)
                .where(ITEM.c.version_id == version_id, ITEM.c.number == item.number)
                .values(licence_id=ids[silent[item.licence]])
            )
    for licence in spoken:
        if (
            conn.execute(select(ITEM.c.number).where(ITEM.c.licence_id == ids[licence]).limit(1)).first()
            is None
        ):
            conn.execute(delete(LICENCE).where(LICENCE.c.id == ids[licence]))


def _after(
    conn: Connection, version: Version, chosen: Sequence[tuple[int, Item]], before: str
) -> dict[str, Any]:
    mine = [item for version_id, item in chosen if version_id == version.id]
    held = sum(item.state == HELD for item in mine)
    after = version_digest(conn, version.id)
    values: dict[str, Any] = {
        "held": version.held - held,
        "quarantined": version.quarantined - (len(mine) - held),
        "removed": version.removed + len(mine),
    }
    if version.digest:
        values["digest"] = after
    conn.execute(update(VERSION).where(VERSION.c.id == version.id).values(**values))
    return {"name": version.name, "items": len(mine), "before": before, "after": after}


def _used_by(
    register: Register,
    versions: Sequence[Version],
    chosen: Sequence[tuple[int, Item]],
    update_index: IndexUpdate | None,
) -> list[dict[str, str]]:
    rows = []
    for version in versions:
        digests = [item.sha256 for version_id, item in chosen if version_id == version.id and item.sha256]
        for use in register.uses(version):
            row = {"kind": use.kind, "name": use.name, "digest": use.digest, "dataset": version.name}
            if use.kind == "index" and update_index is not None:
                row["outcome"] = "the items were deleted from it"
                row["digest_after"] = update_index(use, digests)
            elif use.kind == "index":
                row["outcome"] = "it has not been told"
            else:
                row["outcome"] = "it was trained before the removal; its weights are unchanged"
            rows.append(row)
    return rows


def _still_there(
    conn: Connection, version: Version | None, row: Mapping[str, Any], removal: str
) -> list[str]:
    if version is None:
        return [f"{row.get('dataset')} is not on record"]
    found = conn.execute(
        select(ITEM.c.state, ITEM.c.leaf, ITEM.c.removal_id).where(
            ITEM.c.version_id == version.id, ITEM.c.number == row.get("number")
        )
    ).first()
    if found is None or found.leaf.hex() != row.get("leaf"):
        return [f"item {row.get('number')} of {version.name} is another one"]
    if found.state != REMOVED or found.removal_id != removal:
        return [f"item {row.get('number')} of {version.name} is not removed by this removal"]
    return []
