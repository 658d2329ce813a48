"""Mark pictures that were made elsewhere: on record first, then marked, then on record as marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clearmark.core import Asset, Request
from clearmark.core.errors import UsageError
from clearmark.sdk import records
from clearmark.sdk.results import Marked
from clearmark.sdk.stamping import Stamp

if TYPE_CHECKING:
    from clearmark.audits import Ledger
    from clearmark.sdk.stamping import Stamper

__all__ = ["SOURCES", "mark_pictures"]

SOURCES = ("created", "altered")
"""What a picture may be marked as: made by a model, or made from another picture."""


def mark_pictures(
    assets: Sequence[Asset],
    *,
    source: str,
    actor: str,
    stamper: Stamper,
    ledger: Ledger,
    parents: tuple[Asset, ...] = (),
    placed: tuple[Asset, ...] = (),
) -> list[Marked]:
    """Mark `assets` as `source` and return them with the receipts of their requests.

    `parents` are the pictures that each was made from, `placed` those that stand in it.

    Raises:
        UsageError: for an unknown `source`, or one that does not go with pictures that went in.
        MarkingFailed, LedgerUnavailable: then none is returned.
    """
    if source not in SOURCES:
        raise UsageError(f"unknown source {source!r}", hint=f"one of {', '.join(SOURCES)}")
    if (parents or placed) and source == "created":
        raise UsageError("what was made from other pictures is altered", hint="--source altered")
    if not assets:
        return []
    requests = [Request("", actor=actor) for _ in assets]
    ids = [stamper.new_mark_id() for _ in assets]
    asked = ledger.append(
        [
            records.mark_requested(
                request, asset, mark_id=mark_id, source=source, parents=parents, placed=placed
            )
            for request, asset, mark_id in zip(requests, assets, ids, strict=True)
        ]
    )
    marked = stamper.stamp(
        [
            Stamp(
                asset=asset,
                mark_id=mark_id,
                event=event,
                request=request,
                source=source,
                parents=parents,
                placed=placed,
            )
            for asset, mark_id, event, request in zip(assets, ids, asked, requests, strict=True)
        ]
    )
    ledger.append(
        [
            records.mark_written(request, asset, mark, decision_event=event.event_id)
            for request, (asset, mark), event in zip(requests, marked, asked, strict=True)
        ]
    )
    return [
        Marked(asset=asset, mark=mark, receipt=ledger.receipt(event.event_id))
        for (asset, mark), event in zip(marked, asked, strict=True)
    ]
