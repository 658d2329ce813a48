"""A report as CSV (RFC 4180, UTF-8): one file of all values, or one file per figure.

Spreadsheets run cells that begin like a formula, so text that does is written behind an apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from clearmark.audits.reports._figures import SOURCE, Report, Value

__all__ = ["to_csv", "to_csv_files"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv(report: Report) -> str:
    """Return every value of the report on a line of its own: figure, row, column, value, checkpoint."""
    line = report.lineage
    return _write(
        ("figure", "row", "column", "kind", "value", "tree_size", "root"),
        (
            (figure.id, number, column.name, column.kind, value, line.tree_size, line.root)
            for figure in report.figures
            for number, row in enumerate(figure.rows, 1)
            for column, value in zip(figure.columns, row, strict=True)
        ),
    )


def to_csv_files(report: Report) -> dict[str, str]:
    """Return file names and their texts: a table per figure, and `lineage.csv` with the queries."""
    line = report.lineage
    files = {
        f"{number:02}-{figure.id}.csv": _write([column.name for column in figure.columns], figure.rows)
        for number, figure in enumerate(report.figures, 1)
    }
    files["lineage.csv"] = _write(
        ("name", "value"),
        [
            ("origin", line.origin),
            ("verifier_key", line.verifier_key),
            ("tree_size", line.tree_size),
            ("root", line.root),
            *((f":{name}", value) for name, value in line.parameters.items()),
            ("source", SOURCE),
            *((f"query of {figure.id}", figure.query) for figure in report.figures),
        ],
    )
    return files


def _write(head: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    plain = "".join(char for char in value if char in "\n\t" or char.isprintable())
    return f"'{plain}" if plain.startswith(_FORMULA) else plain
