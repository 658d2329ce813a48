"""Adapters for the package invisible-watermark, where it is installed.

Their names are `invisible:dwtDct` and `invisible:dwtDctSvd`. The package imports torch, so nothing here is
touched until one of these codecs is asked for by name. It has no check word
of its own and returns bits for every picture; here its 96 bits are a mark id and CRC-32. Its third method,
rivaGan, carries 32 bits and so no mark id; `benchmarks/watermark.py` measures it on its own terms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clearmark.core.errors import WatermarkFailed
from clearmark.core.optional import import_optional
from clearmark.provenance.watermark._payload import (
    BITS,
    Bits,
    check_batch,
    check_pixels,
    frame,
    keystream,
    unframe,
)
from clearmark.provenance.watermark._quality import psnr, ssim
from clearmark.provenance.watermark.codec import Embedded, Extracted, Pixels

__all__ = ["METHODS", "Invisible"]

METHODS = ("dwtDct", "dwtDctSvd")
MIN_AREA = 256 * 256
"""What the package refuses to go below."""


class Invisible:
    """A method of the package as a codec: for comparison, and for pictures that it marked."""

    version = "1"

    def __init__(self, method: str, *, key: bytes | None = None) -> None:
        self.name = f"invisible:{method}"
        self._method = method
        self._mask = keystream(key, self.name.encode())
        self._package = import_optional("imwatermark", pip="pip install invisible-watermark")

    def embed(self, pixels: Sequence[Pixels], mark_ids: Sequence[str]) -> list[Embedded]:
        """Mark each picture; see `WatermarkCodec.embed`."""
        check_batch(pixels, mark_ids)
        return [self._embed(picture, mark_id) for picture, mark_id in zip(pixels, mark_ids, strict=True)]

    def extract(self, pixels: Sequence[Pixels]) -> list[Extracted | None]:
        """Read each picture's mark; see `WatermarkCodec.extract`."""
        found: list[Extracted | None] = []
        for picture in pixels:
            bits = self._bits(check_pixels(picture))
            mark_id = None if bits is None else unframe(bits)
            # The package tells nothing of how clear its votes were.
            found.append(None if mark_id is None else Extracted(mark_id=mark_id, confidence=1.0))
        return found

    def _embed(self, picture: Pixels, mark_id: str) -> Embedded:
        height, width = picture.shape[:2]
        if height * width < MIN_AREA:
            raise WatermarkFailed(
                f"{width} x {height} pixels are too few for {self.name}",
                hint=f"the package needs {MIN_AREA:,} pixels; the codec clearmark takes smaller pictures",
            )
        encoder = self._package.WatermarkEncoder()
        encoder.set_watermark("bits", (frame(mark_id) ^ self._mask).tolist())
        bgr = encoder.encode(np.ascontiguousarray(picture[..., ::-1]), self._method)
        marked = np.ascontiguousarray(np.clip(bgr, 0, 255).astype(np.uint8)[..., ::-1])
        bits = self._bits(marked)
        if bits is None or unframe(bits) != mark_id:
            raise WatermarkFailed(
                f"{self.name} did not read back its own mark",
                hint="flat and saturated areas clip it; the codec clearmark makes room for itself",
            )
        return Embedded(pixels=marked, psnr_db=psnr(picture, marked), ssim=ssim(picture, marked))

    def _bits(self, pixels: Pixels) -> Bits | None:
        if pixels.shape[0] * pixels.shape[1] < MIN_AREA:
            return None
        decoder = self._package.WatermarkDecoder("bits", BITS)
        bits = decoder.decode(np.ascontiguousarray(pixels[..., ::-1]), self._method)
        out: Bits = np.asarray(bits, bool).astype(np.uint8) ^ self._mask
        return out
