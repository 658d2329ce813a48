"""People: what they reviewed and decided, how right the guards were by their word, whose data was erased."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clearmark.audits.reports._figures import Column, Figure
from clearmark.audits.reports._reading import MOST_ROWS, Table, items, text, whole
from clearmark.audits.reports._statistics import Durations, floor3, percentile, wilson

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent

__all__ = ["People"]

_MOST_OPEN = 200_000
_FINAL = "kind = 'review.decided' AND json_extract(doc, '$.body.final') = 1"
_STEPS = f"""\
SELECT 'pictures held', count(*) FROM e
  WHERE kind = 'review.opened' AND json_extract(doc, '$.body.what') = 'picture'
UNION ALL SELECT 'requests held', count(*) FROM e
  WHERE kind = 'review.opened' AND json_extract(doc, '$.body.what') = 'request'
UNION ALL SELECT 'claims', count(*) FROM e WHERE kind = 'review.claimed'
UNION ALL SELECT 'looked at unblurred', count(*) FROM e WHERE kind = 'review.revealed'
UNION ALL SELECT 'escalations', count(*) FROM e WHERE kind = 'review.escalated'
UNION ALL SELECT 'approved', count(*) FROM e WHERE {_FINAL}
  AND json_extract(doc, '$.body.decision') = 'approve'
UNION ALL SELECT 'rejected', count(*) FROM e WHERE {_FINAL}
  AND json_extract(doc, '$.body.decision') = 'reject'
UNION ALL SELECT 'rejected after an approval', count(*) FROM e WHERE {_FINAL}
  AND json_extract(doc, '$.body.decision') = 'reject' AND json_extract(doc, '$.body.approvals') > 0
UNION ALL SELECT 'decided without looking unblurred', count(*) FROM e WHERE {_FINAL}
  AND json_extract(doc, '$.body.seen') = 0
UNION ALL SELECT 'appeals', count(*) FROM e WHERE kind = 'review.appealed'
UNION ALL SELECT 'approved on appeal', count(*) FROM e WHERE {_FINAL}
  AND json_extract(doc, '$.body.decision') = 'approve' AND json_extract(doc, '$.body.appealed') = 1
UNION ALL SELECT 'requests generated after approval', count(*) FROM e
  WHERE kind = 'review.generated'"""  # noqa: S608
_NAMES = (
    "pictures held",
    "requests held",
    "claims",
    "looked at unblurred",
    "escalations",
    "approved",
    "rejected",
    "rejected after an approval",
    "decided without looking unblurred",
    "appeals",
    "approved on appeal",
    "requests generated after approval",
)
_SIMPLE = {
    "review.claimed": "claims",
    "review.revealed": "looked at unblurred",
    "review.escalated": "escalations",
    "review.appealed": "appeals",
    "review.generated": "requests generated after approval",
}
_OVERRIDES = f"""\
SELECT c.value AS category, sum(json_extract(doc, '$.body.decision') = 'approve') AS "let out",
  sum(json_extract(doc, '$.body.decision') = 'reject') AS upheld, count(*) AS decisions
FROM e, json_each(e.doc, '$.body.categories') AS c WHERE {_FINAL}
GROUP BY 1 ORDER BY decisions DESC, 1"""  # noqa: S608
_PRECISION = f"""\
SELECT json_extract(l.value, '$.guard') AS guard, json_extract(l.value, '$.guard_version') AS version,
  json_extract(l.value, '$.category') AS category, count(*) AS reviewed,
  sum(json_extract(l.value, '$.violation')) AS violations
FROM e, json_each(e.doc, '$.body.labels') AS l WHERE {_FINAL}
GROUP BY 1, 2, 3 ORDER BY reviewed DESC, 1, 2, 3"""  # noqa: S608
_WAITED = f"""\
SELECT o.what, d.ts_us - o.ts_us AS us FROM
  (SELECT json_extract(doc, '$.body.review') AS review, json_extract(doc, '$.body.what') AS what, ts_us
   FROM e WHERE kind = 'review.opened') AS o
  JOIN (SELECT json_extract(doc, '$.body.review') AS review, ts_us, min(seq)
   FROM e WHERE {_FINAL} GROUP BY 1) AS d
  ON d.review = o.review"""  # noqa: S608
_ERASURES = """\
SELECT 'erasures', count(*) FROM e WHERE kind = 'erasure'
UNION ALL SELECT 'values erased', coalesce(sum(json_extract(doc, '$.body.values')), 0) FROM e
  WHERE kind = 'erasure'"""
_CHANGES = """\
SELECT kind, count(*) AS events FROM e WHERE kind LIKE 'policy.%' OR kind LIKE 'hold.%'
GROUP BY kind ORDER BY events DESC, kind"""


class People:
    """Counts reviews, their outcomes and times, labels for guards, erasures, and changes of policy."""

    def __init__(self) -> None:
        self._steps: Counter[str] = Counter()
        self._overrides: dict[str, Counter[str]] = {}
        self._precision: dict[tuple[str, str, str], list[int]] = {}
        self._opened: dict[str, tuple[str, int]] = {}
        self._waited: dict[str, Durations] = {"picture": Durations(), "request": Durations()}
        self._erasures: Counter[str] = Counter()
        self._changes = Table()
        self._left_out: Counter[str] = Counter()

    def see(self, event: StoredEvent) -> None:
        """Take one event into account."""
        kind, body = event.kind, event.body
        if kind in _SIMPLE:
            self._steps[_SIMPLE[kind]] += 1
        elif kind == "review.opened":
            what = text(body.get("what"))
            if what in self._waited:
                self._steps[f"{what}s held"] += 1
                self._opened[text(body.get("review"))] = (what, event.ts_us)
                if len(self._opened) > _MOST_OPEN:
                    del self._opened[next(iter(self._opened))]
                    self._left_out["waited"] += 1
        elif kind == "review.decided" and body.get("final") is True:
            self._see_final(event)
        elif kind == "erasure":
            self._erasures["erasures"] += 1
            self._erasures["values erased"] += whole(body.get("values"))
        elif kind.startswith(("policy.", "hold.")):
            self._changes.add(text(kind))

    def _see_final(self, event: StoredEvent) -> None:
        body = event.body
        approved = body.get("decision") == "approve"
        self._steps["approved" if approved else "rejected"] += 1
        self._steps["rejected after an approval"] += not approved and whole(body.get("approvals")) > 0
        self._steps["decided without looking unblurred"] += body.get("seen") is False
        self._steps["approved on appeal"] += approved and body.get("appealed") is True
        categories = body.get("categories")
        for category in categories if isinstance(categories, list) else ():
            counts = self._overrides.setdefault(text(category), Counter())
            counts["let out" if approved else "upheld"] += 1
        for label in items(body, "labels"):
            key = (text(label.get("guard")), text(label.get("guard_version")), text(label.get("category")))
            if key not in self._precision and len(self._precision) >= MOST_ROWS:
                self._left_out["precision"] += 1
                continue
            counted = self._precision.setdefault(key, [0, 0])
            counted[0] += 1
            counted[1] += label.get("violation") is True
        opened = self._opened.pop(text(body.get("review")), None)
        if opened is not None:
            self._waited[opened[0]][floor3(event.ts_us - opened[1])] += 1

    def figures(self) -> list[Figure]:
        """Return the figures."""
        overrides: list[tuple[str, int, int, int]] = [
            (category, counts["let out"], counts["upheld"], counts["let out"] + counts["upheld"])
            for category, counts in self._overrides.items()
        ]
        overrides.sort(key=lambda row: (-row[3], row[0]))
        precision = sorted(self._precision.items(), key=lambda item: (-item[1][0], item[0]))
        return [
            Figure(
                id="reviews",
                title="Reviews",
                about="What was held for people, and what they did with it. Only final decisions count as "
                "approved or rejected; some categories need two persons.",
                query=_STEPS,
                columns=(Column("step", "text"), Column("count")),
                rows=tuple((name, self._steps[name]) for name in _NAMES),
            ),
            Figure(
                id="review_time",
                title="Time to decide",
                about="From holding something to its first final decision, where both lie in the period.",
                query=_WAITED,
                derived="Percentiles by nearest rank, rounded down to three significant digits.",
                columns=(
                    Column("held", "text"),
                    Column("decided"),
                    *(Column(name, "us") for name in ("p50", "p90", "p99", "longest")),
                ),
                rows=tuple(
                    (
                        what,
                        sum(waited.values()),
                        *(percentile(waited, share) for share in (0.5, 0.9, 0.99)),
                        max(waited, default=None),
                    )
                    for what, waited in self._waited.items()
                ),
                left_out=self._left_out["waited"],
            ),
            Figure(
                id="precision",
                title="Guard precision by review",
                about="Of what a guard raised and people then decided, how much was a violation. This is "
                "precision among what was reviewed, not among everything that the guard sees.",
                query=_PRECISION,
                derived="precision = violations / reviewed; low and high are its 95% Wilson score interval.",
                columns=(
                    *(Column(name, "text") for name in ("guard", "version", "category")),
                    Column("reviewed"),
                    Column("violations"),
                    *(Column(name, "share") for name in ("precision", "low", "high")),
                ),
                rows=tuple(
                    (
                        *key,
                        total,
                        hits,
                        round(hits / total, 4),
                        *(round(bound, 4) for bound in wilson(hits, total)),
                    )
                    for key, (total, hits) in precision
                ),
                left_out=self._left_out["precision"],
            ),
            Figure(
                id="overrides",
                title="Overrides",
                about="By category, where people let out what the policy had held, and where they upheld it.",
                query=_OVERRIDES,
                columns=(
                    Column("category", "text"),
                    Column("let out"),
                    Column("upheld"),
                    Column("decisions"),
                ),
                rows=tuple(overrides),
            ),
            Figure(
                id="changes",
                title="Changes of policy, and legal holds",
                about="Events by which policies were changed, loosened or rolled back, and data was held.",
                query=_CHANGES,
                columns=(Column("kind", "text"), Column("events")),
                rows=tuple(self._changes.rows()),
                left_out=self._changes.left_out,
            ),
            Figure(
                id="erasures",
                title="Erasures",
                about="Persons whose data was made unreadable for good, and how many values that were.",
                query=_ERASURES,
                columns=(Column("what", "text"), Column("count")),
                rows=tuple((name, self._erasures[name]) for name in ("erasures", "values erased")),
            ),
        ]
