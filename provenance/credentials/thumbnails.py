"""Small pictures inside a manifest: of the picture itself, and of those that it was made from.

They are made here and not by the library: bounded in bytes, in every format, and plain JPEG without any
metadata, so that no prompt and no camera's position comes along. They are off unless asked for: the small
picture of an input shows everybody what somebody handed in.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearmark.core.errors import MediaError, UsageError
from clearmark.provenance._pictures import open_for_reading

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["THUMBNAIL_TYPE", "Thumbnails", "make_thumbnail"]

THUMBNAIL_TYPE = "image/jpeg"

_QUALITIES = (75, 55, 35)
_MIN_SIDE = 16


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Which small pictures a manifest gets: `side` is their longer one in pixels, `max_bytes` of each.

    `inputs` says whether the pictures that went in get one, too.
    """

    side: int = 256
    max_bytes: int = 32 * 1024
    inputs: bool = False

    def __post_init__(self) -> None:
        if not 64 <= self.side <= 1024:
            raise UsageError(f"a thumbnail of {self.side} pixels", hint="from 64 to 1024")
        if not 4096 <= self.max_bytes <= 256 * 1024:
            raise UsageError(f"a thumbnail of {self.max_bytes:,} bytes", hint="from 4,096 to 262,144")


def make_thumbnail(data: bytes, settings: Thumbnails) -> bytes | None:
    """Return a JPEG of the picture within the bounds, on white where it is transparent.

    None for a file without a picture that can be opened: an input may be anything.
    """
    from PIL import Image

    try:
        picture = open_for_reading(data)
    except MediaError:
        return None
    if picture.mode != "RGB":
        layered = picture.convert("RGBA")
        picture = Image.new("RGB", layered.size, "white")
        picture.paste(layered, mask=layered.getchannel("A"))
    return _within(picture, settings)


def _within(picture: Image, settings: Thumbnails) -> bytes | None:
    from PIL import Image

    side = settings.side
    while side >= _MIN_SIDE:
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        small.info = {}  # no profile, no comment, no prompt
        for quality in _QUALITIES:
            out = io.BytesIO()
            small.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() <= settings.max_bytes:
                return out.getvalue()
        side //= 2
    return None
