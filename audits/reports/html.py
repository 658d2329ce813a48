"""A report as one HTML file: no scripts, nothing loaded, plots with their tables, light and dark."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element  # a type; nothing is parsed

from clearmark.audits.reports._charts import Bar, Dots, bars, columns, dots, legend
from clearmark.audits.reports._figures import SOURCE, Column, Figure, Report, iso
from clearmark.audits.reports._markup import element as e
from clearmark.audits.reports._markup import write
from clearmark.audits.reports._style import STYLE

__all__ = ["to_html"]

_MOST_PLOTTED = 12
_OUTCOMES = (("released", "something released"), ("refused", "refused"), ("failed", "failed"))
_ACTIONS = ("allow", "label", "blur", "regenerate", "review", "block")
_TICKS = (
    *(10**power for power in range(2, 8)),
    *(60_000_000 * minutes for minutes in (1, 10)),
    *(3_600_000_000 * hours for hours in (1, 8, 24, 24 * 7, 24 * 30, 24 * 300)),
)
"""Round times for the axes of plots, in microseconds."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def to_html(report: Report) -> str:
    """Return the report as one self-contained HTML document; the same report gives the same bytes."""
    line = report.lineage
    period = f"{iso(line.since_us)[:10]} to {_last_day(line.until_us)}"
    return write(
        e(
            "html",
            e(
                "head",
                e("meta", charset="utf-8"),
                e("meta", http_equiv="Content-Security-Policy", content=_POLICY),
                e("meta", name="viewport", content="width=device-width, initial-scale=1"),
                e("meta", name="color-scheme", content="light dark"),
                e("title", f"{report.title}, {period}"),
                e("style", STYLE),
            ),
            e(
                "body",
                e("a", "Skip to the figures", href="#figures", class_="skip"),
                _header(report, period),
                e("main", *(_section(figure, report) for figure in report.figures), id="figures"),
                _footer(report),
            ),
            lang="en",
        )
    )


def _header(report: Report, period: str) -> Element:
    line = report.lineage
    return e(
        "header",
        e("h1", report.title),
        e(
            "p",
            e("strong", period),
            f" (UTC), {'tenant ' + line.tenant if line.tenant else 'all tenants'}. ",
            f"Computed from {line.events:,} events of the ledger ",
            e("code", line.origin),
            f" under its signed checkpoint of {line.tree_size:,} events. ",
            f"{line.pruned:,} events were pruned before and are not counted." if line.pruned else None,
            class_="lead",
        ),
        _tiles(report),
        e(
            "nav",
            e(
                "ul",
                *(e("li", e("a", figure.title, href=f"#{figure.id}")) for figure in report.figures),
            ),
            aria_label="Figures",
        ),
    )


def _tiles(report: Report) -> Element:
    received = sum(report.figure("requests").column("received"))
    pictures, reviews = report.figure("pictures"), report.figure("reviews")
    released = pictures.lookup("released") + pictures.lookup("released after review")
    marks = report.figure("marks")
    held = reviews.lookup("pictures held") + reviews.lookup("requests held")
    values = (
        ("requests", f"{received:,}", "Requests"),
        ("pictures", f"{released:,}", f"Pictures released, of {pictures.lookup('made'):,} made"),
        (
            "verdicts",
            _share(pictures.lookup("withheld"), pictures.lookup("made")),
            "Of the pictures withheld",
        ),
        ("reviews", f"{held:,}", f"Held for people; {reviews.lookup('approved'):,} approved"),
        (
            "marks",
            _share(marks.lookup("manifest and watermark"), marks.lookup("any")),
            "Of marked pictures with manifest and watermark",
        ),
        ("erasures", f"{report.figure('erasures').lookup('erasures'):,}", "Persons erased"),
    )
    return e(
        "dl",
        *(
            e("div", e("dt", words), e("dd", e("a", value, href=f"#{target}")), class_="tile")
            for target, value, words in values
        ),
        class_="tiles",
    )


def _section(figure: Figure, report: Report) -> Element:
    line = report.lineage
    plot = _PLOTS.get(figure.id)
    drawn = plot(figure, report) if plot and figure.rows else []
    left_out = (
        e("p", f"{figure.left_out:,} entries beyond the limits of a figure are left out.", class_="note")
        if figure.left_out
        else None
    )
    return e(
        "section",
        e("h2", figure.title, id=f"{figure.id}-title"),
        e("p", figure.about),
        e("div", *drawn, _unplotted(figure), class_="plot") if drawn else None,
        _table(figure) if figure.rows else e("p", "Nothing in this period.", class_="empty"),
        left_out,
        e(
            "details",
            e("summary", "How this was computed"),
            e("pre", e("code", figure.query), tabindex="0"),
            e("p", figure.derived) if figure.derived else None,
            e(
                "p",
                f"Checkpoint: {line.tree_size:,} events, root ",
                e("code", line.root, class_="hash"),
                ". The query begins with the source at the end of this page.",
            ),
        ),
        id=figure.id,
        aria_labelledby=f"{figure.id}-title",
    )


def _unplotted(figure: Figure) -> Element | None:
    if figure.id not in _SHORTENED or len(figure.rows) <= _MOST_PLOTTED:
        return None
    words = (
        f"The plot shows the first {_MOST_PLOTTED} of {len(figure.rows):,} rows; the table has all of them."
    )
    return e("p", words, class_="note")


def _table(figure: Figure) -> Element:
    heads = [
        e("th", column.name, scope="col", class_=None if column.kind == "text" else "n")
        for column in figure.columns
    ]
    body = []
    for row in figure.rows:
        cells = []
        for place, (column, value) in enumerate(zip(figure.columns, row, strict=True)):
            shown = _shown(column, value)
            if place == 0:
                cells.append(e("th", shown, scope="row", class_="short" if len(shown) <= 44 else None))
            else:
                cells.append(e("td", shown, class_=None if column.kind == "text" else "n"))
        body.append(e("tr", *cells))
    return e(
        "div",
        e(
            "table",
            e("caption", figure.title, class_="hidden"),
            e("thead", e("tr", *heads)),
            e("tbody", *body),
        ),
        class_="scroll tall" if len(figure.rows) > 14 else "scroll",
        tabindex="0",
        role="region",
        aria_labelledby=f"{figure.id}-title",
    )


def _footer(report: Report) -> Element:
    line = report.lineage
    return e(
        "footer",
        e("h2", "Check it yourself"),
        e(
            "p",
            "Every figure is a query over the events of the period. Run it with SQLite on the ledger, or on "
            "a copy of it, after the source below. That the events are those that were recorded follows from "
            "the signed checkpoint: ",
            e("code", "clearmark ledger verify"),
            " recomputes its root.",
        ),
        e("pre", e("code", SOURCE), tabindex="0"),
        e(
            "dl",
            *(
                e("div", e("dt", name), e("dd", e("code", str(value), class_="hash")))
                for name, value in (
                    *((f":{name}", value) for name, value in line.parameters.items()),
                    ("ledger", line.origin),
                    ("verifier key", line.verifier_key),
                    ("tree size", line.tree_size),
                    ("root", line.root),
                )
                if value is not None
            ),
            class_="facts",
        ),
    )


def _plot_requests(figure: Figure, report: Report) -> list[Element]:
    first = dt.date.fromisoformat(iso(report.lineage.since_us)[:10])
    last = dt.date.fromisoformat(_last_day(report.lineage.until_us))
    known = {str(row[0]): row for row in figure.rows}
    if (last - first).days > 400:  # a column per day would be thinner than a line
        first, last = dt.date.fromisoformat(min(known)), dt.date.fromisoformat(max(known))
    places = {column.name: place for place, column in enumerate(figure.columns)}
    days = []
    for number in range(min(400, (last - first).days + 1)):
        day = (first + dt.timedelta(days=number)).isoformat()
        row = known.get(day)
        days.append((day, tuple((name, _whole(row[places[name]]) if row else 0) for name, _ in _OUTCOMES)))
    totals = ", ".join(f"{sum(figure.column(name)):,} {words}" for name, words in _OUTCOMES)
    return [legend(_OUTCOMES), *columns(days, said=f"Requests by day and outcome. In all: {totals}.")]


def _plot_actions(figure: Figure, _: Report) -> list[Element]:
    places = {column.name: place for place, column in enumerate(figure.columns)}
    two = "category" in places
    rows = [
        Bar(
            label=f"{row[0]}, {row[1]}" if two else str(row[0]),
            parts=tuple((name, _whole(row[places[name]])) for name in _ACTIONS),
            said=f"{row[0]}: "
            + ", ".join(f"{row[places[name]]:,} {name}" for name in _ACTIONS if row[places[name]]),
        )
        for row in figure.rows[:_MOST_PLOTTED]
    ]
    used = [name for name in _ACTIONS if any(row[places[name]] for row in figure.rows)]
    return [legend([(name, name) for name in used]), *bars(rows, said=f"{figure.title}: {_said(rows)}")]


def _plot_overrides(figure: Figure, _: Report) -> list[Element]:
    rows = [
        Bar(
            label=str(row[0]),
            parts=(("allow", _whole(row[1])), ("block", _whole(row[2]))),
            said=f"{row[0]}: {row[1]:,} let out, {row[2]:,} upheld",
        )
        for row in figure.rows[:_MOST_PLOTTED]
    ]
    return [
        legend([("allow", "let out"), ("block", "upheld")]),
        *bars(rows, said=f"{figure.title}: {_said(rows)}"),
    ]


def _plot_precision(figure: Figure, _: Report) -> list[Element]:
    rows = []
    for guard, _version, category, reviewed, _violations, *shares in figure.rows[:_MOST_PLOTTED]:
        share, low, high = (value if isinstance(value, float) else 0.0 for value in shares)
        words = f"{share:.0%} of {reviewed:,} (95%: {low:.0%} to {high:.0%})"
        rows.append(
            Dots(
                label=f"{guard}, {category}",
                low=low,
                high=high,
                points=(("point", share, words),),
                said=f"{guard}, {category}: {words}",
            )
        )
    ticks = [(share / 4, f"{share * 25} %") for share in range(5)]
    said = "Precision by guard and category with its 95% interval. " + "; ".join(row.said for row in rows)
    return [
        legend([("point", "precision"), ("span", "95% interval")]),
        *dots(rows, ticks=ticks, scale=lambda share: share, said=said),
    ]


def _plot_times(figure: Figure, _: Report) -> list[Element]:
    rows = []
    for name, _count, *times in figure.rows:
        points = [
            (word, float(value), _time(value))
            for word, value in zip(("p50", "p90", "p99"), times, strict=False)
            if isinstance(value, int)
        ]
        if points:
            rows.append(
                Dots(
                    label=str(name),
                    low=points[0][1],
                    high=points[-1][1],
                    points=tuple(points),
                    said=f"{name}: " + ", ".join(f"{word} {words}" for word, _, words in points),
                )
            )
    if not rows:
        return []
    lowest = min(row.low for row in rows)
    first = max((tick for tick in _TICKS if tick <= lowest), default=_TICKS[0])
    highest = max(row.high for row in rows)
    last = min((tick for tick in _TICKS if tick >= highest and tick > first), default=_TICKS[-1])
    low, high = math.log10(first), math.log10(last)
    ticks = [(float(tick), _time(tick)) for tick in _TICKS if first <= tick <= last]
    return [
        legend([("p50", "half within"), ("p90", "90% within"), ("p99", "99% within")]),
        *dots(
            rows,
            ticks=ticks,
            scale=lambda us: (math.log10(max(1.0, us)) - low) / (high - low),
            said=f"{figure.title}, logarithmic. " + "; ".join(row.said for row in rows),
        ),
    ]


_PLOTS: dict[str, Callable[[Figure, Report], list[Element]]] = {
    "requests": _plot_requests,
    "verdicts": _plot_actions,
    "categories": _plot_actions,
    "overrides": _plot_overrides,
    "precision": _plot_precision,
    "latency": _plot_times,
    "review_time": _plot_times,
}

_SHORTENED = {"verdicts", "categories", "overrides", "precision"}
"""Figures whose plots leave out rows beyond the first."""


def _said(rows: list[Bar]) -> str:
    return "; ".join(row.said for row in rows)


def _shown(column: Column, value: Any) -> str:
    if value is None:
        return "–"
    if column.kind == "us":
        return _time(value)
    if column.kind == "share":
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(us: Any) -> str:
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)):
        if us >= size:
            return f"{us / size:.3g} {unit}"
    return f"{us / 1000:.3g} ms"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _last_day(until_us: int) -> str:
    return iso(until_us - 1)[:10]
