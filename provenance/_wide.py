"""PNG pictures of 16 bits to a channel, which Pillow reads and writes as 8.

Labels and watermarks work on 8 bits. What they changed is added to the 16 bits that were read, so that all
else keeps its depth, alpha to the last bit.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Wide = npt.NDArray[np.uint16]

__all__ = ["is_wide", "png_of", "wide_pixels", "with_changes"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33


def is_wide(data: bytes) -> bool:
    """Say whether `data` begins as a PNG of 16 bits to a channel."""
    return data[:8] == _SIGNATURE and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def wide_pixels(data: bytes, *, orientation: int = 1) -> Wide | None:
    """Return the colours of a 16-bit PNG, height x width x 3 or 4 (RGB or RGBA), upright; None if unreadable.

    The caller has decoded the same bytes before, so their size is within its bounds.
    """
    import cv2
    import numpy as np

    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if read is None or read.dtype != np.uint16:
        return None
    if read.ndim == 2:
        colours = np.repeat(read[..., None], 3, 2)
    else:
        colours = read[..., [2, 1, 0, *range(3, read.shape[2])]]
    return np.ascontiguousarray(_upright(colours, orientation), np.uint16)


def _upright(pixels: Wide, orientation: int) -> Wide:
    """Undo an Exif orientation, 1 to 8."""
    import numpy as np

    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def with_changes(wide: Wide, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> Wide:
    """Return `wide` with what changed between two 8-bit states of its colours (height x width x 3)."""
    import numpy as np

    out = wide.copy()
    for top in range(0, len(wide), 512):
        rows = slice(top, top + 512)
        change = (after[rows].astype(np.int32) - before[rows]) * 257
        out[rows, :, :3] = np.clip(wide[rows, :, :3] + change, 0, 65535)
    return out


def png_of(wide: Wide, *, icc_profile: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Return `wide` (RGB or RGBA) as a PNG of 16 bits, with its colour profile and Exif block."""
    import cv2
    import numpy as np

    order = [2, 1, 0, *range(3, wide.shape[2])]
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(wide[..., order]))
    if not done:
        raise OSError("the picture could not be written as a 16-bit PNG")
    data = encoded.tobytes()
    extra = b""
    if icc_profile:
        extra += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if exif:
        extra += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return data[:_IHDR_END] + extra + data[_IHDR_END:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
