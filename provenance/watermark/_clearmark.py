"""The codec `clearmark`: a keyed spread-spectrum mark that survives what pictures go through on the web."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clearmark.core.errors import WatermarkFailed
from clearmark.provenance.watermark._carrier import carrier_for
from clearmark.provenance.watermark._convolution import encode
from clearmark.provenance.watermark._front import on_all, resized
from clearmark.provenance.watermark._jpeg import jpeg
from clearmark.provenance.watermark._payload import check_batch, check_pixels, frame
from clearmark.provenance.watermark._quality import luma, noise, psnr, quiet_areas, ssim
from clearmark.provenance.watermark._reader import SALT, read
from clearmark.provenance.watermark._writer import HEADROOM, ROOM, Message, layouts
from clearmark.provenance.watermark.codec import MIN_SIDE, Embedded, Extracted, Pixels

__all__ = ["Clearmark"]

Floats = npt.NDArray[np.float32]

ROOMS = (ROOM, 1.5)
"""The strength to which they give way at most, where a mark beside an edge is stronger: the second where the
first takes the picture below LEAST_PSNR."""

LEAST_PSNR = 38.1

MOST_NOISE, ROUNDING = 0.98, 1 / 12
"""Root mean square of the mark in flat areas that is not passed, and the power that whole steps add to it."""

ROWS = 512

KEPT = 24 << 20
"""Bytes of a block that is taken and given back untouched, before all else: after it glibc keeps what is
freed instead of returning it (mallopt(3), M_MMAP_THRESHOLD), and the planes of a picture, each of which is
needed for a moment, are not mapped and cleared by the kernel again every time, a fifth of the whole."""


class Clearmark:
    """The codec under `key`; without one, a key that all have: anyone can read and forge its marks."""

    name = "clearmark"
    version = "1"

    def __init__(self, *, key: bytes | None = None) -> None:
        # A key of no bytes is not the same as no key.
        self._key = b"public" if key is None else b"secret" + key

    def embed(self, pixels: Sequence[Pixels], mark_ids: Sequence[str]) -> list[Embedded]:
        """Mark each picture; see `WatermarkCodec.embed`."""
        check_batch(pixels, mark_ids)
        return [self._embed(picture, mark_id) for picture, mark_id in zip(pixels, mark_ids, strict=True)]

    def extract(self, pixels: Sequence[Pixels]) -> list[Extracted | None]:
        """Read each picture's mark; see `WatermarkCodec.extract`."""
        return [self._extract(check_pixels(picture)) for picture in pixels]

    def _extract(self, picture: Pixels, *, deep: bool = True) -> Extracted | None:
        if min(picture.shape[:2]) < MIN_SIDE // 2:
            return None
        reading = read(luma(picture), carrier_for(self._key), deep=deep)
        return None if reading is None else reading.extracted

    def _embed(self, picture: Pixels, mark_id: str) -> Embedded:
        height, width = picture.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise WatermarkFailed(
                f"{width} x {height} pixels are too few for a watermark",
                hint=f"the shortest side must have at least {MIN_SIDE} pixels",
            )
        message = Message(
            mark_id=mark_id,
            code=encode(frame(mark_id, salt=SALT)),
            key=self._key,
            carrier=carrier_for(self._key),
        )
        np.empty(KEPT, np.uint8)
        seen = luma(picture)
        still = quiet_areas(seen)
        for plan, strength in layouts(picture, seen, message):
            mark, hides = (resized(plane, width, height) for plane in (plan.mark, plan.mask))
            for most in ROOMS:
                marked = _within(picture, mark, np.minimum(hides, most), strength, still)
                quality = psnr(picture, marked)
                if quality >= LEAST_PSNR:
                    break
            if all(self._reads(view, mark_id) for view in (marked, jpeg(marked, 90))):
                return Embedded(pixels=marked, psnr_db=quality, ssim=ssim(picture, marked))
        raise WatermarkFailed(
            f"the watermark did not read back from {width} x {height} pixels at any strength",
            hint="the picture leaves no room for it: noise all over, or colours at the end of their range",
        )

    def _reads(self, pixels: Pixels, mark_id: str) -> bool:
        found = self._extract(pixels, deep=False)
        return found is not None and found.mark_id == mark_id


def _within(
    picture: Pixels, mark: Floats, hides: Floats, strength: float, still: npt.NDArray[np.bool_]
) -> Pixels:
    """Return `picture` with as much of `mark` as keeps its flat areas (`still`) within MOST_NOISE."""
    marked = _added(picture, mark, hides, strength)
    seen = noise(picture, marked, still)
    if seen <= MOST_NOISE:
        return marked
    less = math.sqrt((MOST_NOISE**2 - ROUNDING) / (seen**2 - ROUNDING))
    return _added(picture, mark, hides, strength * less)


def _added(picture: Pixels, mark: Floats, hides: Floats, strength: float) -> Pixels:
    """Return `picture` with `mark` on all channels; those near white or black give way first."""
    import cv2

    out = np.empty_like(picture)
    for top in range(0, len(picture), ROWS):
        rows = slice(top, top + ROWS)
        band = np.ascontiguousarray(picture[rows], np.float32)
        room = on_all(np.ascontiguousarray(HEADROOM * strength * hides[rows], np.float32), band)
        given = np.minimum(np.maximum(band, room), 255 - room)
        added = on_all(np.ascontiguousarray(strength * mark[rows], np.float32), band)
        out[rows] = cv2.add(given, added, dtype=cv2.CV_8U)
    return out
