"""What a verdict obliges us to do to a picture before it leaves."""

from __future__ import annotations

from dataclasses import replace

from clearmark.core import Asset

__all__ = ["blurred"]

_RADIUS = 1 / 16
"""Radius of the blur, as a share of the longer side: shapes stay, nothing that identifies does."""


def blurred(asset: Asset) -> Asset:
    """Return the picture blurred beyond recognition, as PNG.

    The picture is also shrunk to 32 pixels before it is blurred: a Gaussian blur alone can be undone in part.

    Raises:
        MediaError: when the bytes do not decode.
    """
    from PIL import Image, ImageFilter

    from clearmark.core.pixels import encode_png, open_image

    picture = open_image(asset.data).convert("RGB")
    side = max(picture.size)
    small = picture.copy()
    small.thumbnail((32, 32), Image.Resampling.BOX)
    soft = small.resize(picture.size, Image.Resampling.BICUBIC).filter(
        ImageFilter.GaussianBlur(max(1.0, side * _RADIUS))
    )
    return replace(asset, data=encode_png(soft), media_type="image/png")
