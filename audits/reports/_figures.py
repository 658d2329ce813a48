"""The nouns of a report: figures as tables of plain values, each with the query that gives it again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["SCHEMA", "SOURCE", "Column", "Figure", "Lineage", "Report", "Value"]

SCHEMA = "clearmark/report/v1"

Value: TypeAlias = "str | int | float | None"

SOURCE = """\
WITH e AS (
  SELECT seq, ts_us, kind, request_id, CAST(envelope AS TEXT) AS doc
  FROM event
  WHERE ts_us >= :since_us AND ts_us < :until_us AND seq <= :last_seq
    AND (:tenant IS NULL OR tenant = :tenant) AND kind NOT LIKE 'report.%' AND pruned IS NULL
)"""
"""What every query begins with: the events of the period, in SQLite's dialect, over the ledger's table."""


@dataclass(frozen=True)
class Column:
    """A column: its name, and what its values are. `us` are microseconds, `share` is from 0 to 1."""

    name: str
    kind: Literal["text", "count", "us", "share"] = "count"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One table. `query` gives its rows again, from `SOURCE`; what a query cannot say stands in `derived`.

    `left_out` counts what did not fit: beyond the most rows that a figure may have, or malformed.
    """

    id: str
    title: str
    about: str
    query: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    derived: str = ""
    left_out: int = 0

    def column(self, name: str) -> list[Any]:
        """Return the values of one column."""
        place = [column.name for column in self.columns].index(name)
        return [row[place] for row in self.rows]

    def lookup(self, key: str, column: str | None = None) -> Any:
        """Return the value in `column` (default: the last) of the first row of `key`; 0 without one."""
        place = [item.name for item in self.columns].index(column) if column else -1
        return next((row[place] for row in self.rows if row[0] == key), 0)


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What a report was computed over, so that a stranger can do it again and prove that it was this log.

    `last_seq` is the last event of the period; the checkpoint of `tree_size` and `root` is the one under
    which the ledger proves that event: the earliest that a witness has cosigned, or else the earliest. So a
    report over a period that is over stays as it is, unless a witness signs later. `pruned` counts the events
    of the period whose contents are gone, and which no figure counts.
    """

    origin: str
    verifier_key: str
    tree_size: int
    root: str
    last_seq: int
    events: int
    pruned: int
    since_us: int
    until_us: int
    tenant: str | None

    @property
    def parameters(self) -> dict[str, Value]:
        """What the queries' names stand for."""
        return {
            "since_us": self.since_us,
            "until_us": self.until_us,
            "last_seq": self.last_seq,
            "tenant": self.tenant,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report: the figures and what they were computed over. Holds no time of its own making."""

    kind: str
    title: str
    lineage: Lineage
    figures: tuple[Figure, ...] = field(default=())

    def figure(self, id_: str) -> Figure:
        """Return one figure."""
        return next(figure for figure in self.figures if figure.id == id_)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, from which every other form is made."""
        line = self.lineage
        return {
            "schema": SCHEMA,
            "report": self.kind,
            "title": self.title,
            "period": {
                "from": iso(line.since_us),
                "until": iso(line.until_us),
                "tenant": line.tenant,
            },
            "ledger": {
                "origin": line.origin,
                "verifier_key": line.verifier_key,
                "tree_size": line.tree_size,
                "root": line.root,
                "last_seq": line.last_seq,
                "events": line.events,
                "pruned": line.pruned,
            },
            "source": SOURCE,
            "parameters": line.parameters,
            "figures": [
                {
                    "id": figure.id,
                    "title": figure.title,
                    "about": figure.about,
                    "query": figure.query,
                    "derived": figure.derived,
                    "checkpoint": {"tree_size": line.tree_size, "root": line.root},
                    "columns": [{"name": column.name, "kind": column.kind} for column in figure.columns],
                    "rows": [list(row) for row in figure.rows],
                    "left_out": figure.left_out,
                }
                for figure in self.figures
            ],
        }

    def to_json(self) -> str:
        """Return the report as a JSON document; the same report gives the same bytes."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def iso(ts_us: int) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    import datetime as dt

    return dt.datetime.fromtimestamp(ts_us // 1_000_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
