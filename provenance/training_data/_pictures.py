"""What the bytes of a picture say: digests, size, look, and the statements embedded in it. All bounded."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import MediaError, MediaTooLarge
from clearmark.core.pixels import MAX_BYTES, MAX_PIXELS, open_image, sniff
from clearmark.provenance.training_data.items import Fault, Signal
from clearmark.provenance.training_data.opt_outs import read_claims, read_manifest, read_xmp
from clearmark.provenance.training_data.opt_outs.cawg import ManifestReader

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["COLOURS_SIDE", "Look", "look_at", "on_white", "perceptual_hash"]

_DC = "http://purl.org/dc/elements/1.1/"
_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_CC = "http://creativecommons.org/ns#"
_WORKING_SIDE = 256
_STRIP_PIXELS = 1_000_000
_FLAT = 2

COLOURS_SIDE = 8
"""Side of the colour thumbnail that is kept beside the hash."""


@dataclass(slots=True, kw_only=True)
class Look:
    """What was found; `fault` says why there is no more of it. `picture` is a small copy on white.

    A picture that shows nothing (one colour all over) is `blank` and has no hash, which would be chance.
    """

    sha256: str
    size: int
    media_type: str = ""
    width: int = 0
    height: int = 0
    phash: int | None = None
    colours: bytes | None = None
    blank: bool = False
    signals: tuple[Signal, ...] = ()
    creator: str = ""
    statement: str = ""
    fault: Fault | None = None
    picture: Image | None = field(default=None, repr=False)


def look_at(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    manifest_reader: ManifestReader = read_manifest,
    read_us: int = 0,
) -> Look:
    """Read everything that the register keeps of a picture. Never raises for what the bytes hold."""
    look = Look(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    try:
        small = _decode(data, look, max_bytes=max_bytes, max_pixels=max_pixels)
    except _Unusable as exc:
        look.fault = exc.fault
        return look
    look.picture = small
    extrema: Any = small.getextrema()
    look.blank = all(high - low <= _FLAT for low, high in extrema)
    if not look.blank:
        look.phash = perceptual_hash(small)
        look.colours = _colours(small)
    fields = _xmp_fields(data)
    look.signals = (
        *read_xmp(fields, read_us=read_us),
        *read_claims(manifest_reader(data, look.media_type), read_us=read_us),
    )
    look.creator = fields.get((_DC, "creator"), "")
    look.statement = (
        fields.get((_CC, "license"), "")
        or fields.get((_RIGHTS, "WebStatement"), "")
        or fields.get((_RIGHTS, "UsageTerms"), "")
    )
    return look


class _Unusable(Exception):
    """The picture is not looked at any further."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(code, detail)


def _decode(data: bytes, look: Look, *, max_bytes: int, max_pixels: int) -> Image:
    """Return the small copy; what is told on the way stands in `look`, even when the rest cannot be read."""
    if len(data) > max_bytes:
        raise _Unusable("too-large", f"{len(data):,} bytes; at most {max_bytes:,} are read")
    try:
        look.media_type = sniff(data)
    except MediaError as exc:
        raise _Unusable("unknown-format", "not a PNG, JPEG or WebP picture") from exc
    look.width, look.height = _declared_size(data, look.media_type)
    if look.width * look.height > max_pixels:
        what = f"{look.width:,} x {look.height:,} pixels; at most {max_pixels:,} are decoded"
        raise _Unusable("too-large", what)
    try:
        picture = open_image(data, max_bytes=max_bytes, max_pixels=max_pixels)
        look.width, look.height = picture.size
        return on_white(picture, _WORKING_SIDE)
    except MediaTooLarge as exc:
        raise _Unusable("too-large", exc.message) from exc
    except MediaError as exc:
        raise _Unusable("broken", exc.message) from exc
    except (OSError, ValueError, MemoryError) as exc:
        raise _Unusable("broken", f"cannot be scaled: {type(exc).__name__}") from exc


def perceptual_hash(picture: Image) -> int:
    """Return the 64-bit hash of imagehash's `phash` as an unsigned integer."""
    import imagehash

    return int(str(imagehash.phash(picture)), 16)


def on_white(picture: Image, side: int) -> Image:
    """Return an RGB copy of at most `side` x `side` pixels, transparent parts white.

    Scaled with premultiplied alpha, so that the colour hidden under transparent pixels does not show. A large
    picture is first reduced strip by strip, so that it lies in memory once and not three times.
    """
    import PIL.Image

    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits of grey, which convert() would cut off
        picture = picture.point(lambda value: value / 256).convert("L")
    factor = max(picture.size) // (4 * side)
    if factor > 1:
        picture = _reduced(picture, factor)
    scale = min(1.0, side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if not _is_transparent(picture):
        return picture.convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    premultiplied = picture.convert("RGBA").convert("RGBa")
    small = premultiplied.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=2.0).convert("RGBA")
    canvas = PIL.Image.new("RGBA", size, "white")
    canvas.alpha_composite(small)
    return canvas.convert("RGB")


def _reduced(picture: Image, factor: int) -> Image:
    """Shrink by a whole factor in strips, in RGB or premultiplied RGBa."""
    import PIL.Image

    wide, high = picture.size
    transparent = _is_transparent(picture)
    rows = factor * max(1, _STRIP_PIXELS // (wide * factor))
    out = PIL.Image.new("RGBa" if transparent else "RGB", (-(-wide // factor), -(-high // factor)))
    for top in range(0, high, rows):
        strip = picture.crop((0, top, wide, min(high, top + rows)))
        strip = strip.convert("RGBA").convert("RGBa") if transparent else strip.convert("RGB")
        out.paste(strip.reduce(factor), (0, top // factor))
    return out.convert("RGBA") if transparent else out


def _is_transparent(picture: Image) -> bool:
    return picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info


def _colours(picture: Image) -> bytes:
    """Return 8 x 8 RGB means: what the hash, which sees brightness and coarse shape, cannot tell apart."""
    import PIL.Image

    return picture.resize((COLOURS_SIDE, COLOURS_SIDE), PIL.Image.Resampling.BOX).tobytes()


def _declared_size(data: bytes, media_type: str) -> tuple[int, int]:
    """Return width and height from a PNG's header, so that a bomb stands on record with its size."""
    if media_type == "image/png" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return min(width, 2**31 - 1), min(height, 2**31 - 1)
    return 0, 0


def _xmp_fields(data: bytes) -> dict[tuple[str, str], str]:
    from clearmark.provenance._containers import get_xmp
    from clearmark.provenance.metadata.xmp import parse

    try:
        packet = get_xmp(data)
        return parse(packet) if packet else {}
    except MediaError:
        return {}
