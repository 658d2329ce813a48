"""Plots as inline SVG. Each is drawn twice, for wide and for narrow screens, and read from its table.

Colours come from the style sheet by class, so that they follow the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element  # a type; nothing is parsed

from clearmark.audits.reports._markup import element as e

__all__ = ["Bar", "Dots", "bars", "columns", "dots", "legend"]

WIDE, NARROW = 720, 340
_ROW = 30
_CHAR = 6.7


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of stacked parts: (class, value), drawn from the left."""

    label: str
    parts: tuple[tuple[str, int], ...]
    said: str


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One row of marks on a line: (class, value, words), and the line from `low` to `high`."""

    label: str
    low: float
    high: float
    points: tuple[tuple[str, float, str], ...]
    said: str


def legend(entries: Sequence[tuple[str, str]]) -> Element:
    """Return the key of a plot: (class, words)."""
    return e(
        "ul",
        *(e("li", e("span", class_=f"key {name}", aria_hidden="true"), words) for name, words in entries),
        class_="legend",
    )


def columns(days: Sequence[tuple[str, tuple[tuple[str, int], ...]]], *, said: str) -> list[Element]:
    """Return stacked columns over days: (day, parts from the bottom up)."""
    return [_columns(days, width, said=said) for width in (WIDE, NARROW)]


def bars(rows: Sequence[Bar], *, said: str) -> list[Element]:
    """Return stacked bars with their labels before them and their totals behind."""
    return [_bars(rows, width, said=said) for width in (WIDE, NARROW)]


def dots(
    rows: Sequence[Dots], *, ticks: Sequence[tuple[float, str]], scale: Callable[[float], float], said: str
) -> list[Element]:
    """Return marks on lines; `scale` takes a value to 0 … 1 of the width, `ticks` stand below."""
    return [_dots(rows, width, ticks=ticks, scale=scale, said=said) for width in (WIDE, NARROW)]


def _columns(days: Sequence[tuple[str, tuple[tuple[str, int], ...]]], width: int, *, said: str) -> Element:
    height, left, bottom, top = 220, 46, 26, 10
    most = max((sum(value for _, value in parts) for _, parts in days), default=0)
    step = _nice(most, 4)
    limit = max(step, math.ceil(most / step) * step)
    inner = height - bottom - top
    drawn: list[Element] = []
    for number in range(limit // step + 1):
        y = top + inner * (1 - number * step / limit)
        drawn.append(e("line", x1=left, x2=width, y1=y, y2=y, class_="grid"))
        drawn.append(e("text", f"{number * step:,}", x=left - 8, y=y + 4, class_="tick end"))
    slot = (width - left) / max(1, len(days))
    every = max(1, math.ceil(len(days) * 62 / (width - left)))
    for place, (day, parts) in enumerate(days):
        x, y = left + place * slot, float(top + inner)
        words = ", ".join(f"{value:,} {name}" for name, value in parts)
        stack = []
        for name, value in parts:
            if value:
                tall = inner * value / limit
                y -= tall
                stack.append(
                    e("rect", x=round(x + slot * 0.12, 2), y=round(y, 2), width=round(slot * 0.76, 2),
                      height=round(tall, 2), class_=name)
                )  # fmt: skip
        drawn.append(e("g", e("title", f"{day}: {words}"), *stack))
        if place % every == 0 and x + 52 <= width:
            drawn.append(e("text", day[5:], x=round(x, 2), y=height - 8, class_="tick"))
    return _svg(drawn, width, height, said)


def _bars(rows: Sequence[Bar], width: int, *, said: str) -> Element:
    narrow = width == NARROW
    row = _ROW + 14 if narrow else _ROW
    left = 0 if narrow else min(250.0, 16 + _CHAR * max((len(bar.label) for bar in rows), default=0))
    most = max((sum(value for _, value in bar.parts) for bar in rows), default=0) or 1
    right = 12 + _CHAR * len(f"{most:,}")
    drawn: list[Element] = []
    for place, bar in enumerate(rows):
        y = place * row + (18 if narrow else 4)
        label = _cut(bar.label, width / _CHAR if narrow else left / _CHAR - 1)
        drawn.append(
            e("text", label, x=0 if narrow else left - 10, y=y - 5 if narrow else y + 15,
              class_="label" if narrow else "label end")
        )  # fmt: skip
        x, total = left, sum(value for _, value in bar.parts)
        stack = []
        for name, value in bar.parts:
            if value:
                wide = max(1.5, (width - left - right) * value / most)
                stack.append(e("rect", x=round(x, 2), y=y, width=round(wide, 2), height=20, class_=name))
                x += wide
        drawn.append(e("g", e("title", bar.said), *stack))
        drawn.append(e("text", f"{total:,}", x=round(x + 8, 2), y=y + 15, class_="value"))
    return _svg(drawn, width, len(rows) * row + 6, said)


def _dots(
    rows: Sequence[Dots],
    width: int,
    *,
    ticks: Sequence[tuple[float, str]],
    scale: Callable[[float], float],
    said: str,
) -> Element:
    narrow = width == NARROW
    row = _ROW + 16 if narrow else _ROW
    left = 8 if narrow else min(300.0, 20 + _CHAR * max((len(item.label) for item in rows), default=0))
    right = 24
    height = len(rows) * row + 28

    def at(value: float) -> float:
        return round(left + (width - left - right) * min(1.0, max(0.0, scale(value))), 2)

    drawn: list[Element] = []
    for value, words in ticks:
        drawn.append(e("line", x1=at(value), x2=at(value), y1=0, y2=height - 22, class_="grid"))
        # On a narrow screen the first word would stick out of it.
        x, side = (0.0, "tick") if narrow and at(value) <= left else (at(value), "tick middle")
        drawn.append(e("text", words, x=x, y=height - 6, class_=side))
    for place, item in enumerate(rows):
        y = place * row + (30 if narrow else 16)
        label = _cut(item.label, width / _CHAR if narrow else left / _CHAR - 1)
        drawn.append(
            e("text", label, x=0 if narrow else left - 14, y=y - 13 if narrow else y + 4,
              class_="label" if narrow else "label end")
        )  # fmt: skip
        drawn.append(
            e(
                "g",
                e("title", item.said),
                e("line", x1=at(item.low), x2=at(item.high), y1=y, y2=y, class_="span"),
                *(
                    e("circle", cx=at(value), cy=y, r=5, class_=name)
                    for name, value, _ in reversed(item.points)
                ),
            )
        )
    return _svg(drawn, width, height, said)


def _svg(drawn: Sequence[Element], width: int, height: float, said: str) -> Element:
    return e(
        "svg",
        e("title", said),
        *drawn,
        viewBox=f"0 0 {width} {height:g}",
        role="img",
        aria_label=said,
        class_="narrow" if width == NARROW else "wide",
        xmlns="http://www.w3.org/2000/svg",
    )


def _cut(label: str, most: float) -> str:
    room = max(8, int(most))
    return label if len(label) <= room else label[: room - 1] + "…"


def _nice(most: int, parts: int) -> int:
    """Return a round step by which `most` is reached in about `parts` steps."""
    raw = max(1.0, most / parts)
    power: int = 10 ** math.floor(math.log10(raw))
    return next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= raw)
