"""Pictures as every measure of this package sees them: upright, on white, RGB, of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearmark.core.pixels import open_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["LONGEST", "read_pixels", "to_pixels"]

LONGEST = 512
"""Pictures are shrunk so that their longest side has at most this many pixels."""


def read_pixels(data: bytes, *, longest: int = LONGEST) -> NDArray[np.uint8]:
    """Decode untrusted bytes to uint8 [height, width, 3].

    Raises:
        MediaError: broken, unknown, or too large.
    """
    return to_pixels(open_image(data), longest=longest)


def to_pixels(picture: Image, *, longest: int = LONGEST) -> NDArray[np.uint8]:
    """Return an opened picture as uint8 [height, width, 3], shrunk to `longest`, what is clear on white."""
    import numpy as np
    import PIL.Image
    import PIL.ImageOps

    picture = PIL.ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = picture.point(lambda value: value / 256).convert("L")
    if max(picture.size) > 2 * longest:
        picture = (
            picture.reduce(max(picture.size) // (2 * longest)) if picture.mode not in {"P", "1"} else picture
        )
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, "white"), clear)
    picture = picture.convert("RGB")
    if max(picture.size) > longest:
        share = longest / max(picture.size)
        size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
        picture = picture.resize(
            size, PIL.Image.Resampling.BOX if share < 0.5 else PIL.Image.Resampling.BILINEAR
        )
    return np.asarray(picture, dtype=np.uint8)
