"""Draw the visible label into a corner, and measure that it can be read there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core.errors import LabelFailed, UsageError
from clearmark.core.findings import Box
from clearmark.core.marks import LabelMark
from clearmark.provenance._pictures import has_transparency
from clearmark.provenance.labels._fonts import load_font

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    Pixels = npt.NDArray[np.uint8]

__all__ = ["CORNERS", "LabelSettings", "draw_label"]

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
MIN_FONT = 9
"""Below this many pixels the letters run together."""

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_OPACITIES = (0.45, 0.6, 0.75, 0.9, 1.0)
_BUSY = 2.0
"""Most contrast that what is behind the letters may have in itself: a pattern breaks letters up."""

_MAX_TEXT = 64


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What the label says and where it stands.

    `size` is the height of the letters as a share of the shorter side: GB 45438-2025 asks for 0.05, and
    no label is drawn smaller than 12 pixels unless the picture is too narrow for that. `short_text` is used
    where `text` is too wide.
    """

    text: str = "AI-generated"
    short_text: str = "AI"
    corner: str = "bottom-right"
    size: float = 0.05
    min_contrast: float = 4.5
    font: Path | None = None

    def __post_init__(self) -> None:
        if self.corner not in CORNERS:
            raise UsageError(f"no corner is called {self.corner!r}", hint=f"one of: {', '.join(CORNERS)}")
        if not 0.02 <= self.size <= 0.2:
            raise UsageError(f"the label's size must be 0.02 to 0.2 of the shorter side, not {self.size}")
        if not 1 <= self.min_contrast <= 15:
            raise UsageError(f"the label's contrast must be 1 to 15, not {self.min_contrast}")
        for text in (self.text, self.short_text):
            if not text.strip() or len(text) > _MAX_TEXT or not text.isprintable():
                raise UsageError(f"a label is 1 to {_MAX_TEXT} printable characters")


@dataclass(frozen=True)
class _Layout:
    """Where the plate and the text stand; `origin` is where Pillow wants the text's anchor."""

    text: str
    size: int
    box: Box
    origin: tuple[int, int]


def draw_label(picture: Image, settings: LabelSettings) -> tuple[Image, LabelMark]:
    """Return `picture` (RGB or RGBA) with the label in it, and what was drawn where.

    White or black letters stand on the picture itself where every pixel behind them contrasts enough and the
    picture is quiet there; else on a plate, as transparent as both allow. Where the picture is transparent
    the plate is not.

    Raises:
        LabelFailed: when the picture is too small for any label, or the font lacks a letter.
    """
    import numpy as np
    from PIL import Image as Images
    from PIL import ImageDraw

    from clearmark.provenance.labels.contrast import contrast

    layout = _fit(picture, settings)
    box = layout.box
    area = (box.x, box.y, box.x + box.width, box.y + box.height)
    region = picture.crop(area)
    behind = np.asarray(region.convert("RGB"))
    solid = not has_transparency(region)
    ink, plate, opacity = _choose(behind, settings.min_contrast, solid=solid)
    shape = _plate_mask(box, opacity)
    if opacity:
        region.paste(
            Images.new(region.mode, region.size, plate + (255,) * (region.mode == "RGBA")), (0, 0), shape
        )
    measured = float(contrast(ink, _inside(np.asarray(region.convert("RGB")), box)).min())
    ImageDraw.Draw(region).text(
        (layout.origin[0] - box.x, layout.origin[1] - box.y),
        layout.text,
        fill=ink + (255,) * (region.mode == "RGBA"),
        font=load_font(layout.text, layout.size, settings.font),
        anchor="ls",
    )
    if measured < settings.min_contrast:
        raise LabelFailed(
            f"the label reaches a contrast of {measured:.1f}; {settings.min_contrast} is asked for"
        )
    out = picture.copy()
    out.paste(region, area[:2])
    return out, LabelMark(text=layout.text, box=box, contrast=round(measured, 2))


def _fit(picture: Image, settings: LabelSettings) -> _Layout:
    """Find text and size that fit: the full text smaller and smaller, then the short one."""
    wanted = max(12, round(settings.size * min(picture.size)))
    texts = dict.fromkeys((settings.text, settings.short_text))
    for text, smallest in [(text, min(wanted, 12)) for text in texts] + [(text, MIN_FONT) for text in texts]:
        for size in range(wanted, smallest - 1, -1):
            layout = _place(picture, text, size, settings)
            if layout is not None:
                return layout
    raise LabelFailed(
        f"a picture of {picture.width} x {picture.height} pixels has no room for a visible label",
        hint="make a larger picture, or let the policy do without the label",
    )


def _place(picture: Image, text: str, size: int, settings: LabelSettings) -> _Layout | None:
    font = load_font(text, size, settings.font)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ls"))
    pad_x, pad_y, margin = round(size * 0.45), round(size * 0.32), max(2, round(size * 0.4))
    width, height = right - left + 2 * pad_x, bottom - top + 2 * pad_y
    if width + 2 * margin > picture.width or height + 2 * margin > picture.height:
        return None
    vertical, horizontal = settings.corner.split("-")
    x = margin if horizontal == "left" else picture.width - margin - width
    y = margin if vertical == "top" else picture.height - margin - height
    return _Layout(text, size, Box(x, y, width, height), (x + pad_x - left, y + pad_y - top))


def _choose(
    behind: Pixels, wanted: float, *, solid: bool
) -> tuple[tuple[int, int, int], tuple[int, int, int], float]:
    """Return letters, plate and the plate's opacity (0: none) that reach the wanted contrast everywhere."""
    import numpy as np

    from clearmark.provenance.labels.contrast import contrast

    pixels = behind.reshape(-1, 3).astype(np.float64)
    # The plate that is nearer to the picture's own tone disturbs it least.
    dark_first = float(contrast(_WHITE, pixels).mean()) >= float(contrast(_BLACK, pixels).mean())
    pairs = ((_WHITE, _BLACK), (_BLACK, _WHITE)) if dark_first else ((_BLACK, _WHITE), (_WHITE, _BLACK))
    if not solid:
        return *pairs[0], 1.0
    for opacity in (0.0, *_OPACITIES):
        for ink, plate in pairs:
            mixed = pixels * (1 - opacity) + np.array(plate) * opacity
            # One half more than asked: rounding and a lossy encoder take a little.
            apart = contrast(ink, mixed)
            if float(apart.min()) >= wanted + 0.5 and float(apart.max() / apart.min()) <= _BUSY:
                return ink, plate, opacity
    return *pairs[0], 1.0


def _plate_mask(box: Box, opacity: float) -> Image:
    """Return the plate's shape, smooth at its round corners, scaled by its opacity."""
    from PIL import Image as Images
    from PIL import ImageDraw

    scale = 4
    mask = Images.new("L", (box.width * scale, box.height * scale), 0)
    edge = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(edge, radius=_radius(box) * scale, fill=round(opacity * 255))
    return mask.resize((box.width, box.height), Images.Resampling.BOX)


def _radius(box: Box) -> int:
    return max(1, box.height // 4)


def _inside(pixels: Pixels, box: Box) -> Pixels:
    """Return the part of the plate where letters can stand: without its round corners."""
    inset = max(1, _radius(box) // 2)
    return pixels[inset : box.height - inset, inset : box.width - inset]
