"""Volumes: what was asked, what left, what was made by which generator, and how it was marked."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from clearmark.audits.reports._figures import Column, Figure
from clearmark.audits.reports._reading import Table, mapping, text, whole

if TYPE_CHECKING:
    from clearmark.audits.ledger import StoredEvent

__all__ = ["Traffic"]

_OUTCOMES = {
    "request.received": "received",
    "result.released": "released",
    "result.refused": "refused",
    "result.failed": "failed",
}
_DAYS = """\
SELECT date(ts_us / 1000000, 'unixepoch') AS day,
  sum(kind = 'request.received') AS received, sum(kind = 'result.released') AS released,
  sum(kind = 'result.refused') AS refused, sum(kind = 'result.failed') AS failed
FROM e
WHERE kind IN ('request.received', 'result.released', 'result.refused', 'result.failed')
GROUP BY day ORDER BY day"""
_PICTURES = """\
SELECT 'made', coalesce(sum(json_array_length(doc, '$.body.assets')), 0) FROM e
  WHERE kind = 'generation.completed'
UNION ALL SELECT 'released', coalesce(sum(json_array_length(doc, '$.body.assets')), 0) FROM e
  WHERE kind = 'result.released'
UNION ALL SELECT 'released after review', coalesce(sum(json_array_length(doc, '$.body.assets')), 0) FROM e
  WHERE kind = 'review.released'
UNION ALL SELECT 'withheld', coalesce(sum(json_extract(doc, '$.body.withheld')), 0) FROM e
  WHERE kind LIKE 'result.%'
UNION ALL SELECT 'marked from outside', count(*) FROM e WHERE kind = 'mark.requested'"""
_GENERATORS = """\
SELECT coalesce(json_extract(doc, '$.body.generator.name'), ''),
  coalesce(json_extract(doc, '$.body.generator.model'), ''),
  coalesce(json_extract(doc, '$.body.generator.version'), ''),
  sum(json_array_length(doc, '$.body.assets')) AS pictures
FROM e WHERE kind = 'generation.completed' GROUP BY 1, 2, 3 ORDER BY pictures DESC, 1, 2, 3"""
_MARKS = """\
SELECT 'any', count(*) FROM e WHERE kind = 'mark.written'
UNION ALL SELECT 'label', count(*) FROM e
  WHERE kind = 'mark.written' AND json_extract(doc, '$.body.layers.label') = 1
UNION ALL SELECT 'manifest', count(*) FROM e
  WHERE kind = 'mark.written' AND json_type(doc, '$.body.layers.manifest') = 'object'
UNION ALL SELECT 'metadata', count(*) FROM e
  WHERE kind = 'mark.written' AND json_array_length(doc, '$.body.layers.metadata') > 0
UNION ALL SELECT 'watermark', count(*) FROM e
  WHERE kind = 'mark.written' AND json_type(doc, '$.body.layers.watermark') = 'object'
UNION ALL SELECT 'manifest and watermark', count(*) FROM e
  WHERE kind = 'mark.written' AND json_type(doc, '$.body.layers.manifest') = 'object'
    AND json_type(doc, '$.body.layers.watermark') = 'object'"""
_LAYERS = ("any", "label", "manifest", "metadata", "watermark", "manifest and watermark")
_RELEASES = {"result.released": "released", "review.released": "released after review"}
_PICTURE_ROWS = ("made", "released", "released after review", "withheld", "marked from outside")


class Traffic:
    """Counts requests by day, pictures by fate, generators, and the layers of marks."""

    def __init__(self) -> None:
        self._days: dict[str, Counter[str]] = {}
        self._pictures: Counter[str] = Counter()
        self._generators = Table()
        self._layers: Counter[str] = Counter()

    def see(self, event: StoredEvent) -> None:
        """Take one event into account."""
        kind, body = event.kind, event.body
        if kind in _OUTCOMES:
            day = dt.datetime.fromtimestamp(event.ts_us // 1_000_000, dt.UTC).strftime("%Y-%m-%d")
            self._days.setdefault(day, Counter())[_OUTCOMES[kind]] += 1
        assets = body.get("assets")
        many = len(assets) if isinstance(assets, list) else 0
        if kind == "generation.completed":
            self._pictures["made"] += many
            made = mapping(body.get("generator"))
            self._generators.add(
                text(made.get("name")), text(made.get("model")), text(made.get("version")), count=many
            )
        elif kind in _RELEASES:
            self._pictures[_RELEASES[kind]] += many
        elif kind == "mark.requested":
            self._pictures["marked from outside"] += 1
        elif kind == "mark.written":
            self._see_mark(event)
        if kind.startswith("result."):
            self._pictures["withheld"] += whole(body.get("withheld"))

    def _see_mark(self, event: StoredEvent) -> None:
        layers = mapping(event.body.get("layers"))
        manifest, watermark = (
            isinstance(layers.get("manifest"), dict),
            isinstance(layers.get("watermark"), dict),
        )
        metadata = layers.get("metadata")
        self._layers["any"] += 1
        self._layers["label"] += layers.get("label") is True
        self._layers["manifest"] += manifest
        self._layers["metadata"] += isinstance(metadata, list) and bool(metadata)
        self._layers["watermark"] += watermark
        self._layers["manifest and watermark"] += manifest and watermark

    def figures(self) -> list[Figure]:
        """Return the figures."""
        names = tuple(_OUTCOMES.values())
        return [
            Figure(
                id="requests",
                title="Requests by day",
                about="What was asked on each day (UTC), and how it ended: something was released, "
                "everything was refused, or it failed. A request that spans midnight ends on the next day.",
                query=_DAYS,
                columns=(Column("day", "text"), *(Column(name) for name in names)),
                rows=tuple(
                    (day, *(counts[name] for name in names)) for day, counts in sorted(self._days.items())
                ),
            ),
            Figure(
                id="pictures",
                title="Pictures",
                about="Pictures that were made, and what became of them. Further attempts at a picture "
                "count as made. Pictures brought in from outside are only marked.",
                query=_PICTURES,
                columns=(Column("pictures", "text"), Column("count")),
                rows=tuple((name, self._pictures[name]) for name in _PICTURE_ROWS),
            ),
            Figure(
                id="marks",
                title="Marks in pictures",
                about="How many pictures were marked, and with which layers. A signed manifest and a "
                "watermark are two machine-readable layers of which one survives where the other is lost.",
                query=_MARKS,
                columns=(Column("layer", "text"), Column("pictures")),
                rows=tuple((name, self._layers[name]) for name in _LAYERS),
            ),
            Figure(
                id="generators",
                title="Generators",
                about="Pictures by the generator and model that made them.",
                query=_GENERATORS,
                columns=(
                    Column("generator", "text"),
                    Column("model", "text"),
                    Column("version", "text"),
                    Column("pictures"),
                ),
                rows=tuple(self._generators.rows()),
                left_out=self._generators.left_out,
            ),
        ]
