"""The watermarks on trial: ours, and the packages invisible-watermark and blind-watermark."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from clearmark.benchmarks._watermark_attacks import rounded
from clearmark.provenance.watermark import Embedded, Pixels, get_codec
from clearmark.provenance.watermark._quality import psnr, ssim

__all__ = ["KEY", "MARK_ID", "Blind", "Contestant", "Own", "Package"]

MARK_ID = "5eb63bbbe01eeed0"
KEY = b"clearmark bench"


class Contestant(Protocol):
    """A watermark on trial: writes its message and says whether a picture still holds it."""

    name: str
    checked: bool

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture."""

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether the exact message is read; None when nothing is, which an unchecked one never says."""


class Own:
    """One of our codecs, 64 bits behind a check word."""

    checked = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.codec = get_codec(name, KEY)

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture."""
        return self.codec.embed([pixels], [MARK_ID])[0]

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether the id is read."""
        found = self.codec.extract([pixels])[0]
        return None if found is None else found.mark_id == MARK_ID


class Package:
    """A method of invisible-watermark with the message that it takes: 64 bits, or 32 for rivaGan."""

    checked = False

    def __init__(self, method: str) -> None:
        import imwatermark

        self.name = f"invisible-watermark {method}"
        self.bits = [int(bit) for bit in f"{int(MARK_ID, 16):064b}"][: 32 if method == "rivaGan" else 64]
        self.method = method
        self.encoder, self.decoder = imwatermark.WatermarkEncoder(), imwatermark.WatermarkDecoder
        self.encoder.set_watermark("bits", self.bits)
        if method == "rivaGan":
            imwatermark.WatermarkEncoder.loadModel()

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture, which the package does not check."""
        marked = self.encoder.encode(np.ascontiguousarray(pixels[..., ::-1]), self.method)
        out = np.ascontiguousarray(rounded(marked)[..., ::-1])
        return Embedded(pixels=out, psnr_db=psnr(pixels, out), ssim=ssim(pixels, out))

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether all bits are read."""
        try:
            read = self.decoder("bits", len(self.bits)).decode(
                np.ascontiguousarray(pixels[..., ::-1]), self.method
            )
        except RuntimeError:  # smaller than the package takes
            return None
        return [int(bit) for bit in read] == self.bits


class Blind:
    """The package blind-watermark with 64 bits."""

    checked = False
    name = "blind-watermark"

    def __init__(self) -> None:
        self.bits = [int(bit) for bit in f"{int(MARK_ID, 16):064b}"]

    def _mark(self) -> Any:
        with redirect_stdout(sys.stderr):  # it advertises itself
            return import_module("blind_watermark").WaterMark(password_img=1, password_wm=1)

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture, which the package does not check."""
        mark = self._mark()
        mark.read_img(img=np.ascontiguousarray(pixels[..., ::-1]))
        mark.read_wm(list(self.bits), mode="bit")
        out = np.ascontiguousarray(rounded(mark.embed())[..., ::-1])
        return Embedded(pixels=out, psnr_db=psnr(pixels, out), ssim=ssim(pixels, out))

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether all bits are read."""
        try:
            read = self._mark().extract(
                embed_img=np.ascontiguousarray(pixels[..., ::-1]), wm_shape=len(self.bits), mode="bit"
            )
        except (AssertionError, ValueError, IndexError):  # smaller than the package takes
            return None
        return [int(bit) for bit in read] == self.bits
