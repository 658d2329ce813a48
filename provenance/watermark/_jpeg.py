"""A JPEG round trip, as every mark must survive."""

from __future__ import annotations

from clearmark.provenance.watermark.codec import Pixels

__all__ = ["jpeg"]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return `pixels` after JPEG at `quality` (4:2:0, as nearly every encoder does by default)."""
    import cv2

    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    out: Pixels = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return out
