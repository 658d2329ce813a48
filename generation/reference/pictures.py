"""Turn one clip-art PNG into a training picture: decoded within limits, cropped, on white, square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_PIXELS = 24_000_000
"""Largest picture that is decoded (96 MB as RGBA). A few files of the collection hold 100 megapixels."""

PADDING = 0.08
"""White border on each side, as a share of the longer side of the drawing."""


class UnusablePicture(ValueError):
    """The picture is not trained on; the message is the reason that is counted."""


def load_square(path: Path, side: int = 256) -> npt.NDArray[np.uint8]:
    """Decode `path` to an RGB array of shape (`side`, `side`, 3), cropped to what is drawn, on white.

    Raises:
        UnusablePicture: the file is broken, empty, tiny, almost all white, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            # The header alone is read so far: a bomb is refused before any pixel is decoded.
            if picture.width * picture.height > MAX_PIXELS:
                raise UnusablePicture("too many pixels")
            rgba = picture.convert("RGBA")
    except UnusablePicture:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise UnusablePicture("unreadable PNG") from exc
    box = rgba.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None:
        raise UnusablePicture("fully transparent")
    rgba = rgba.crop(box)
    if max(rgba.size) < 24 or max(rgba.size) > 8 * min(rgba.size):
        raise UnusablePicture("too small or too thin")
    return _checked(_on_white(rgba, side))


def _on_white(rgba: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    scale = side * (1 - 2 * PADDING) / max(rgba.size)
    size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    # Colours of transparent pixels must not bleed into the edges: Pillow's resize of "RGBa" is premultiplied.
    drawn = rgba.convert("RGBa").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).convert("RGBA")
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(drawn, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(canvas.convert("RGB"))


def _checked(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if float((array < 245).any(axis=-1).mean()) < 0.01:
        raise UnusablePicture("almost all white")
    return array
