"""A second way back to a picture: its ISCC Image-Code (ISO 24138), 64 bits that survive re-encoding.

It is computed, not embedded: nothing in the picture has to survive. It is lost by crops and turns, which the
watermark survives. The registered name of this soft binding is `io.iscc.v0`.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING

from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

__all__ = ["ISCC_ALG", "code_bits", "image_code", "image_distance"]

ISCC_ALG = "io.iscc.v0"
"""The name of this soft binding in C2PA's list of algorithms."""

_HEADER = bytes([0x21, 0x01])  # content code, for images; version 0, 64 bits
_PREFIX = "ISCC:"
_SIDE = 32


def image_code(picture: Image) -> str:
    """Return the Image-Code of a picture, `ISCC:EEA…`.

    Transparency is laid on white and uniform borders are cut off; then each bit says whether one of the low
    frequencies of 32 x 32 grey values is above their median.
    """
    import numpy as np
    from PIL import Image as Images

    if picture.mode in {"RGBA", "LA", "PA"}:
        ground = Images.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Images.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    grey = _trimmed(picture).convert("L").resize((_SIDE, _SIDE), Images.Resampling.BICUBIC)
    pixels = np.asarray(grey, dtype=np.float64)
    low = (_cosines() @ pixels @ _cosines().T)[:8, :8].ravel()
    # Equal values, as in a plain picture, must not depend on the last bit of a sum.
    bits = np.round(low, 6) > np.median(np.round(low, 6))
    return _PREFIX + base64.b32encode(_HEADER + np.packbits(bits).tobytes()).decode().rstrip("=")


def image_distance(one: str, other: str) -> int:
    """Return in how many of 64 bits two Image-Codes differ; unrelated pictures are about 32 apart.

    Raises:
        UsageError: when either is no 64-bit Image-Code.
    """
    return (code_bits(one) ^ code_bits(other)).bit_count()


def code_bits(code: str) -> int:
    """Return the 64 bits of an Image-Code.

    Raises:
        UsageError: when it is none.
    """
    text = code.removeprefix(_PREFIX)
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError as exc:
        raise UsageError("not an ISCC") from exc
    if len(raw) != 10 or raw[:2] != _HEADER:
        raise UsageError("not a 64-bit ISCC Image-Code")
    return int.from_bytes(raw[2:], "big")


def _trimmed(picture: Image) -> Image:
    """Cut off borders of the colour of the top left pixel."""
    from PIL import Image as Images
    from PIL import ImageChops

    ground = Images.new(picture.mode, picture.size, picture.getpixel((0, 0)))
    box = ImageChops.difference(picture, ground).getbbox()
    return picture if box is None or box == (0, 0, *picture.size) else picture.crop(box)


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """Return the matrix of the cosine transform of 32 values (DCT-II)."""
    import numpy as np

    place = np.arange(_SIDE)
    out: npt.NDArray[np.float64] = np.cos(np.pi * place[:, None] * (2 * place[None] + 1) / (2 * _SIDE))
    return out
