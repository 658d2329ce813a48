"""Fonts for labels, each used for the texts that it has every letter of.

First the scalable one that Pillow carries (Aileron Regular, CC0), then the two in `fonts/`: Latin, Greek,
Cyrillic, Hebrew and Arabic from DejaVu Sans; Chinese, Japanese and Korean words from Droid Sans Fallback.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core.errors import LabelFailed

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["load_font"]

_FOLDER = Path(__file__).parent / "fonts"
_BUNDLED = ("labels-latin.ttf", "labels-cjk.ttf")
_NOTHING = "\uffff"
"""A code point that no font has a glyph for: what is drawn for it is what is drawn for any missing one."""


def load_font(text: str, size: int, path: Path | None = None) -> FreeTypeFont:
    """Return a font of `size` pixels that has a glyph for every character of `text`.

    `path` names a font file of one's own; then no other is tried.

    Raises:
        LabelFailed: when there is none (a label of empty boxes would be no label), or it cannot be read.
    """
    from PIL import ImageFont

    chosen = _choose(text, path)
    try:
        font = ImageFont.truetype(str(chosen), size) if chosen else ImageFont.load_default(size)
    except OSError as exc:
        raise LabelFailed(f"the label's font cannot be read: {exc}", hint="give a TrueType file") from exc
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise LabelFailed(
            "this Pillow was built without FreeType", hint="pip install --force-reinstall pillow"
        )
    return font


@lru_cache(maxsize=64)
def _choose(text: str, path: Path | None) -> Path | None:
    """Return the file of the first font that covers `text`; None is Pillow's own."""
    from PIL import ImageFont

    files: list[Path | None] = [path] if path else [None, *(_FOLDER / name for name in _BUNDLED)]
    missing: list[str] = []
    for file in files:
        try:
            font = ImageFont.truetype(str(file), 24) if file else ImageFont.load_default(24)
        except OSError as exc:
            raise LabelFailed(f"the label's font cannot be read: {exc}", hint="give a TrueType file") from exc
        missing = _missing(font, text)
        if not missing:
            return file
    raise LabelFailed(
        f"no font here has a glyph for {' '.join(missing)}",
        hint="give a font file that covers the label's language",
    )


def _missing(font: object, text: str) -> list[str]:
    from PIL import ImageFont

    if not isinstance(font, ImageFont.FreeTypeFont):
        return []  # told apart by `load_font`
    nothing = bytes(font.getmask(_NOTHING))
    return [
        char for char in dict.fromkeys(text) if not char.isspace() and bytes(font.getmask(char)) == nothing
    ]
