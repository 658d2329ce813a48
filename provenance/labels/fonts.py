"""Fonts for labels: the scalable one that Pillow carries (Aileron Regular, CC0), or a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core.errors import LabelFailed

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["load_font"]

_NOTHING = "\uffff"
"""A code point that no font has a glyph for: what is drawn for it is what is drawn for any missing one."""


def load_font(text: str, size: int, path: Path | None = None) -> FreeTypeFont:
    """Return a font of `size` pixels that has a glyph for every character of `text`.

    Raises:
        LabelFailed: when it lacks one (a label of empty boxes would be no label), or cannot be read.
    """
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), size) if path else ImageFont.load_default(size)
    except OSError as exc:
        raise LabelFailed(f"the label's font cannot be read: {exc}", hint="give a TrueType file") from exc
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise LabelFailed(
            "this Pillow was built without FreeType", hint="pip install --force-reinstall pillow"
        )
    missing = _missing(font, text)
    if missing:
        raise LabelFailed(
            f"the label's font has no glyph for {' '.join(missing)}",
            hint="give a font file that covers the label's language",
        )
    return font


def _missing(font: FreeTypeFont, text: str) -> list[str]:
    nothing = bytes(font.getmask(_NOTHING))
    return [
        char for char in dict.fromkeys(text) if not char.isspace() and bytes(font.getmask(char)) == nothing
    ]
