"""Completeness: that every request that came in was answered on record, once.

A hash tree shows that nothing on record was changed. It cannot show that everything was recorded; this can.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select

from clearmark.audits.ledger._schema import EVENT
from clearmark.audits.ledger._store import Store

__all__ = ["RECEIVED", "TERMINAL", "Reconciliation", "reconcile_store"]

RECEIVED = "request.received"
"""The kind that opens a request."""

TERMINAL = ("result.released", "result.refused", "result.failed")
"""The kinds that end one."""

_MAX_GAP = 1000


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """What does not add up. All but `gaps` hold request ids.

    `unfinished` were received but never ended, `doubled` ended or were received more than once, `unopened`
    ended without having been received; `running` began within the grace period. `gaps` are (process, counter)
    pairs that a process skipped: requests that it counted but did not record.
    """

    requests: int
    unfinished: tuple[str, ...]
    doubled: tuple[str, ...]
    unopened: tuple[str, ...]
    running: tuple[str, ...]
    gaps: tuple[tuple[str, int], ...]

    @property
    def ok(self) -> bool:
        """Whether every request was answered once."""
        return not (self.unfinished or self.doubled or self.unopened or self.gaps)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "requests": self.requests,
            "unfinished": list(self.unfinished),
            "doubled": list(self.doubled),
            "unopened": list(self.unopened),
            "running": list(self.running),
            "gaps": [{"process": process, "counter": counter} for process, counter in self.gaps],
        }


def reconcile_store(
    store: Store, *, since: int | None, until: int | None, grace_s: float, terminal: Sequence[str]
) -> Reconciliation:
    """Compare beginnings and ends of the requests received from `since` until before `until` (`ts_us`)."""
    opened = func.sum(case((EVENT.c.kind == RECEIVED, 1), else_=0))
    ended = func.sum(case((EVENT.c.kind.in_(terminal), 1), else_=0))
    began = func.min(EVENT.c.ts_us)
    query = (
        select(EVENT.c.request_id, opened, ended, began)
        .where(EVENT.c.kind.in_((RECEIVED, *terminal)))
        .group_by(EVENT.c.request_id)
        .order_by(func.min(EVENT.c.seq))
    )
    if since is not None:
        query = query.having(began >= since)
    if until is not None:
        query = query.having(began < until)
    fresh = time.time_ns() // 1000 - round(grace_s * 1_000_000)
    found: dict[str, list[str]] = {"unfinished": [], "doubled": [], "unopened": [], "running": []}
    requests = 0
    with store.reading() as conn:
        for request_id, opens, ends, first in conn.execute(query):
            requests += 1
            if opens > 1 or ends > 1:
                found["doubled"].append(request_id)
            elif not opens:
                found["unopened"].append(request_id)
            elif not ends:
                found["running" if first > fresh else "unfinished"].append(request_id)
        counted = select(EVENT.c.envelope).where(EVENT.c.kind == RECEIVED, EVENT.c.pruned.is_(None))
        if since is not None:
            counted = counted.where(EVENT.c.ts_us >= since)
        if until is not None:
            counted = counted.where(EVENT.c.ts_us < until)
        gaps = _gaps(json.loads(envelope)["body"] for envelope in conn.execute(counted).scalars())
    return Reconciliation(
        requests=requests, gaps=gaps, **{name: tuple(request_ids) for name, request_ids in found.items()}
    )


def _gaps(bodies: Any) -> tuple[tuple[str, int], ...]:
    """Return the counters that each process skipped between the first and the last that are on record."""
    seen: dict[str, set[int]] = {}
    for body in bodies:
        process, counter = body.get("process"), body.get("counter")
        if isinstance(process, str) and isinstance(counter, int):
            seen.setdefault(process, set()).add(counter)
    missing: list[tuple[str, int]] = []
    for process, counters in sorted(seen.items()):
        for low, high in zip(sorted(counters), sorted(counters)[1:], strict=False):
            missing += [(process, number) for number in range(low + 1, min(high, low + 1 + _MAX_GAP))]
    return tuple(missing)
