"""Operations: how long requests took, which failed, and how many events of which kind there were."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clearmark.audits.reports._figures import Column, Figure
from clearmark.audits.reports._reading import Table, is_review, text
from clearmark.audits.reports._statistics import Durations, floor3, percentile

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent

__all__ = ["Operations"]

MOST_OPEN = 200_000
"""Most requests that are followed at a time; the one that waits longest is given up for the next."""

STEPS = (
    "prompt.decided",
    "input.decided",
    "generation.completed",
    "output.decided",
    "mark.written",
    "result.released",
    "result.refused",
    "result.failed",
)
_ENDS = {"result.released", "result.refused", "result.failed"}
_LIST = ", ".join(f"'{step}'" for step in STEPS)
_LATENCY = f"""\
SELECT k.kind AS step, max(0, k.ts_us - r.ts_us) AS us, min(k.seq)
FROM e AS k JOIN (
  SELECT request_id, ts_us, min(seq) AS seq FROM e WHERE kind = 'request.received' GROUP BY request_id
) AS r ON r.request_id = k.request_id AND k.seq > r.seq
WHERE k.kind IN ({_LIST}) AND json_extract(k.doc, '$.body.review') IS NULL
GROUP BY k.request_id, k.kind"""  # noqa: S608
_FAILED = """\
SELECT json_extract(doc, '$.body.error') AS error, count(*) AS requests FROM e WHERE kind = 'result.failed'
GROUP BY error ORDER BY requests DESC, error"""
_KINDS = "SELECT kind, count(*) AS events FROM e GROUP BY kind ORDER BY events DESC, kind"


class Operations:
    """Follows requests from their receipt, and counts failures and kinds."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, set[str]]] = {}
        self._took: dict[str, Durations] = {step: Durations() for step in STEPS}
        self._given_up: Counter[str] = Counter()
        self._failed, self._kinds = Table(), Table()

    def see(self, event: StoredEvent) -> None:
        """Take one event into account."""
        kind = event.kind
        self._kinds.add(text(kind))
        if kind == "result.failed":
            self._failed.add(text(event.body.get("error")))
        if kind == "request.received":
            self._open.setdefault(event.request_id, (event.ts_us, set()))
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
                self._given_up["latency"] += 1
        elif kind in self._took and not is_review(event):
            known = self._open.get(event.request_id)
            if known is None or kind in known[1]:
                return
            known[1].add(kind)
            self._took[kind][floor3(event.ts_us - known[0])] += 1
            if kind in _ENDS:
                del self._open[event.request_id]

    def figures(self) -> list[Figure]:
        """Return the figures."""
        return [
            Figure(
                id="latency",
                title="Time since receipt",
                about="How long after a request came in each step was on record, by the times of the events.",
                query=_LATENCY,
                derived="Percentiles by nearest rank, rounded down to three significant digits.",
                columns=(
                    Column("step", "text"),
                    Column("requests"),
                    *(Column(name, "us") for name in ("p50", "p90", "p99", "longest")),
                ),
                rows=tuple(
                    (
                        step,
                        sum(took.values()),
                        *(percentile(took, share) for share in (0.5, 0.9, 0.99)),
                        max(took),
                    )
                    for step, took in self._took.items()
                    if took
                ),
                left_out=self._given_up["latency"],
            ),
            Figure(
                id="failures",
                title="Requests that failed",
                about="Requests that ended in an error, by its class. Nothing of them was released.",
                query=_FAILED,
                columns=(Column("error", "text"), Column("requests")),
                rows=tuple(self._failed.rows()),
                left_out=self._failed.left_out,
            ),
            Figure(
                id="kinds",
                title="Events by kind",
                about="Everything on record in the period, but for events about reports themselves.",
                query=_KINDS,
                columns=(Column("kind", "text"), Column("events")),
                rows=tuple(self._kinds.rows()),
                left_out=self._kinds.left_out,
            ),
        ]
