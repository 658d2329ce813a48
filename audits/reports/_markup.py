"""Building HTML and SVG as a tree, so that whatever a string holds stays text."""

from __future__ import annotations

from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring  # builds and writes; nothing is parsed

__all__ = ["Child", "clean", "element", "write"]

Child: TypeAlias = "Element | str | None"


def clean(text: str) -> str:
    """Replace what no document may hold: control characters and lone surrogates."""
    return "".join(
        char
        if char in "\n\t" or (" " <= char < "\x7f") or (char >= "\xa0" and not "\ud800" <= char <= "\udfff")
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def element(tag: str, *children: Child, **attributes: str | int | float | None) -> Element:
    """Make an element. Names of attributes drop one trailing `_` and turn `_` into `-`; None is left out."""
    made = Element(
        tag,
        {
            _name(name): clean(f"{value:g}" if isinstance(value, float) else str(value))
            for name, value in attributes.items()
            if value is not None
        },
    )
    for child in children:
        if isinstance(child, str):
            if len(made):
                made[-1].tail = (made[-1].tail or "") + clean(child)
            else:
                made.text = (made.text or "") + clean(child)
        elif child is not None:
            made.append(child)
    return made


def write(root: Element) -> str:
    """Return the document with its type."""
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _name(name: str) -> str:
    if name == "viewBox":
        return name
    return name.removesuffix("_").replace("_", "-")
