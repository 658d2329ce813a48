"""Between encoded pictures and the 8-bit RGB pixels that labels and watermarks work on."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import MarkingFailed, MediaError, MediaTooLarge
from clearmark.core.parts import check_parts
from clearmark.core.pixels import MAX_BYTES, MAX_PIXELS, open_image, sniff
from clearmark.provenance._media import PICTURES, media_type_of
from clearmark.provenance._wide import is_wide, png_of, wide_pixels, with_changes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from clearmark.provenance._wide import Wide

    Pixels = npt.NDArray[np.uint8]

__all__ = [
    "MEDIA_TYPES",
    "Encoding",
    "Opened",
    "encode",
    "has_transparency",
    "open_for_marking",
    "open_for_reading",
    "rgb_pixels",
    "with_pixels",
]

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How pictures are encoded after the watermark. PNG is lossless; so is WebP without a quality."""

    media_type: str = ""
    jpeg_quality: int = 95
    webp_quality: int | None = None


@dataclass(frozen=True)
class Opened:
    """A picture as RGB or RGBA, upright, with what must survive: colour profile, Exif, XMP, 16 bits."""

    picture: Image
    media_type: str
    icc_profile: bytes | None = field(repr=False, default=None)
    exif: bytes | None = field(repr=False, default=None)
    xmp: bytes | None = field(repr=False, default=None)
    wide: Wide | None = field(repr=False, default=None)


def open_for_marking(data: bytes) -> Opened:
    """Decode one still picture. Its Exif orientation is applied, so that a label stands where it should.

    Raises:
        MediaError: unreadable bytes, or an animation, of which only one frame would be marked.
    """
    from clearmark.provenance._containers import get_xmp

    check_parts(data, sniff(data))
    picture = open_image(data)
    if getattr(picture, "n_frames", 1) > 1:
        raise MediaError("an animation: only still pictures are marked", hint="mark its frames one by one")
    upright, exif = _upright(picture)
    try:
        xmp = get_xmp(data)
    except MediaError:
        xmp = None
    rgb, profile = _rgb(upright, picture.info.get("icc_profile") or None)
    wide = None
    if is_wide(data) and "transparency" not in picture.info:
        wide = wide_pixels(data, orientation=1 if upright is picture else _orientation(picture))
        if wide is not None and wide.shape[:2] != (rgb.height, rgb.width):
            wide = None
    return Opened(rgb, sniff(data), profile, exif, xmp, wide)


def _orientation(picture: Image) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  as in _upright: the pixels are sound
        return 1


def open_for_reading(data: bytes) -> Image:
    """Decode a picture, of an animation its first frame, as RGB or RGBA and upright.

    Raises:
        MediaError: for unreadable bytes.
    """
    kind = PICTURES.get(media_type_of(data))
    picture = _open_other(data, kind) if kind else open_image(data)
    return _rgb(_upright(picture)[0], None)[0]


def _open_other(data: bytes, kind: str) -> Image:
    """Decode a kind of picture that is read but never written, within the same bounds as the others."""
    import PIL.Image

    if len(data) > MAX_BYTES:
        raise MediaTooLarge(f"{len(data):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about what the limits below refuse
            picture = PIL.Image.open(io.BytesIO(data), formats=[kind])
            if picture.width * picture.height > MAX_PIXELS:
                raise MediaTooLarge(
                    f"{picture.width} x {picture.height} pixels; at most {MAX_PIXELS:,} are decoded"
                )
            picture.load()
    except MediaError:
        raise
    except Exception as exc:  # Pillow's plugins raise anything on hostile bytes
        raise MediaError(f"broken {kind}: {type(exc).__name__}: {exc}") from exc
    return picture


def _upright(picture: Image) -> tuple[Image, bytes | None]:
    """Apply the Exif orientation; return the picture and the Exif block without it."""
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(picture)
        exif = upright.getexif()
        return upright, exif.tobytes() if exif else None
    except Exception:  # noqa: BLE001  Pillow raises anything on a broken Exif block; the pixels are sound
        return picture, None


def _rgb(picture: Image, profile: bytes | None) -> tuple[Image, bytes | None]:
    """Return the picture as RGB or RGBA, and the profile where it still fits."""
    import numpy as np
    from PIL import Image as Images

    if picture.mode in {"RGB", "RGBA"}:
        return picture, profile
    if picture.mode in {"I", "I;16", "I;16B", "I;16L", "F"}:
        # 16-bit grey: Pillow's own conversion would clip everything above 255.
        wide = np.asarray(picture).astype(np.float64)
        grey = np.clip(np.rint(wide / 257 if picture.mode != "F" else wide), 0, 255).astype(np.uint8)
        return Images.fromarray(grey).convert("RGB"), None
    if picture.mode == "CMYK":
        return _from_cmyk(picture, profile), None
    alpha = picture.mode in {"LA", "PA", "La", "RGBa"} or "transparency" in picture.info
    keep = profile if picture.mode in {"P", "PA"} else None  # a grey profile does not fit RGB
    return picture.convert("RGBA" if alpha else "RGB"), keep


def _from_cmyk(picture: Image, profile: bytes | None) -> Image:
    from PIL import ImageCms

    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            out = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            out = None
        if out is not None:
            return out
    return picture.convert("RGB")


def rgb_pixels(picture: Image) -> Pixels:
    """Return height x width x 3 uint8, alpha left out."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(picture.convert("RGB"), dtype=np.uint8))


def with_pixels(picture: Image, pixels: Pixels) -> Image:
    """Return `picture` with other colours and its own alpha."""
    from PIL import Image as Images

    out = Images.fromarray(pixels)
    if picture.mode == "RGBA":
        out.putalpha(picture.getchannel("A"))
    return out


def has_transparency(picture: Image) -> bool:
    """Say whether any pixel of an RGB or RGBA picture lets something through."""
    import numpy as np

    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < 255).any())


def encode(opened: Opened, picture: Image, encoding: Encoding) -> tuple[bytes, str]:
    """Encode `picture` with the profile and Exif of what was opened; return bytes and media type.

    Raises:
        MarkingFailed: JPEG is asked for a picture with transparency, or another type than the three.
    """
    media_type = encoding.media_type or opened.media_type
    if media_type not in MEDIA_TYPES:
        raise MarkingFailed(f"marked pictures are not written as {media_type}", hint=", ".join(MEDIA_TYPES))
    if media_type == "image/jpeg" and picture.mode == "RGBA":
        if has_transparency(picture):
            raise MarkingFailed("a picture with transparency cannot be a JPEG", hint="write PNG or WebP")
        picture = picture.convert("RGB")
    options: dict[str, Any] = {"icc_profile": opened.icc_profile}
    if opened.exif:
        options["exif"] = opened.exif
    out = io.BytesIO()
    if media_type == "image/png" and opened.wide is not None and picture.size == opened.picture.size:
        changed = with_changes(opened.wide, rgb_pixels(opened.picture), rgb_pixels(picture))
        return png_of(changed, icc_profile=opened.icc_profile, exif=opened.exif), media_type
    if media_type == "image/png":
        picture.save(out, "PNG", **options)
    elif media_type == "image/jpeg":
        # Full colour resolution: part of a watermark may be in the colours.
        picture.save(out, "JPEG", quality=encoding.jpeg_quality, subsampling=0, **options)
    elif encoding.webp_quality is None:
        picture.save(out, "WEBP", lossless=True, method=2, exact=True, **options)
    else:
        picture.save(out, "WEBP", quality=encoding.webp_quality, exact=True, **options)
    return out.getvalue(), media_type
