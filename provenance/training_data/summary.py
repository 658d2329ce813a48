"""`summarize`: what a version holds, counted by the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, func, select

from clearmark.provenance.training_data._schema import ITEM, LICENCE, QUARANTINE, SIGNAL
from clearmark.provenance.training_data.items import REMOVED, Dataset, Use, Version
from clearmark.provenance.training_data.register import Register

__all__ = ["Summary", "summarize"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts by licence, creator and so on, each most frequent first; removed items are left out.

    `creators` holds the most frequent ones, of `creators_total`; `unnamed` counts items without one.
    """

    dataset: Dataset
    version: Version
    licences: Mapping[str, int]
    creators: Mapping[str, int]
    creators_total: int
    unnamed: int
    categories: Mapping[str, int]
    media_types: Mapping[str, int]
    opt_outs: Mapping[str, int]
    signals: Mapping[str, int]
    consents: Mapping[str, int]
    quarantine: Mapping[str, int]
    acquired: tuple[str, str]
    size: int
    different: int
    uses: tuple[Use, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **self.version.to_dict(),
            "bytes": self.size,
            "different_sha256": self.different,
            "acquired": {"first": self.acquired[0] or None, "last": self.acquired[1] or None},
            "licences": dict(self.licences),
            "creators": dict(self.creators),
            "creators_total": self.creators_total,
            "items_without_creator": self.unnamed,
            "categories": dict(self.categories),
            "media_types": dict(self.media_types),
            "opt_outs": dict(self.opt_outs),
            "opt_out_signals": dict(self.signals),
            "consents": dict(self.consents),
            "quarantine": dict(self.quarantine),
            "uses": [use.to_dict() for use in self.uses],
        }


def summarize(register: Register, version: Version, *, top: int = 20) -> Summary:
    """Count the items of a version; `top` limits creators and categories."""
    mine = (ITEM.c.version_id == version.id) & (ITEM.c.state != REMOVED)
    with register.database.reading() as conn:
        return Summary(
            dataset=register.dataset(version.dataset),
            version=version,
            licences=_count(conn, LICENCE.c.spdx, mine, ITEM.join(LICENCE), None),
            creators=_count(conn, ITEM.c.creator, mine & (ITEM.c.creator != ""), ITEM, top),
            creators_total=conn.execute(
                select(func.count(ITEM.c.creator.distinct())).where(mine, ITEM.c.creator != "")
            ).scalar_one(),
            unnamed=conn.execute(
                select(func.count()).select_from(ITEM).where(mine, ITEM.c.creator == "")
            ).scalar_one(),
            categories=_count(conn, ITEM.c.category, mine, ITEM, top),
            media_types=_count(conn, ITEM.c.media_type, mine, ITEM, None),
            opt_outs=_count(conn, ITEM.c.opt_out, mine, ITEM, None),
            signals=_count(conn, SIGNAL.c.kind, SIGNAL.c.version_id == version.id, SIGNAL, None),
            consents=_count(conn, ITEM.c.consent, mine, ITEM, None),
            quarantine=_count(
                conn, QUARANTINE.c.code, QUARANTINE.c.version_id == version.id, QUARANTINE, None
            ),
            acquired=tuple(
                value or ""
                for value in conn.execute(
                    select(func.min(ITEM.c.acquired), func.max(ITEM.c.acquired)).where(
                        mine, ITEM.c.acquired != ""
                    )
                ).one()
            ),  # type: ignore[arg-type]  # one row of two values
            size=conn.execute(select(func.coalesce(func.sum(ITEM.c.bytes), 0)).where(mine)).scalar_one(),
            different=conn.execute(select(func.count(ITEM.c.sha256.distinct())).where(mine)).scalar_one(),
            uses=register.uses(version),
        )


def _count(conn: Connection, column: Column[Any], where: Any, source: Any, top: int | None) -> dict[str, int]:
    number = func.count()
    query = select(column, number).select_from(source).where(where).group_by(column)
    rows = conn.execute(query.order_by(number.desc(), column).limit(top)).all()
    return {row[0]: row[1] for row in rows}
