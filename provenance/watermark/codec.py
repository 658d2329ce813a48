"""The protocol of a watermark codec, and the values that go in and come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["MAX_PIXELS", "MIN_SIDE", "Embedded", "Extracted", "Found", "Pixels", "WatermarkCodec"]

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""A picture: height x width x 3, RGB, 0-255. Alpha, colour profile and bit depth are the caller's."""

MIN_SIDE = 128
"""Shortest side that a codec must be able to mark, in pixels."""

MAX_PIXELS = 8192 * 8192
"""Largest picture that is marked or read."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A marked picture that the codec's own decoder read back.

    `psnr_db` is over all three channels, `ssim` over luma, both against the picture before marking.
    """

    pixels: Pixels = field(repr=False)
    psnr_db: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """A mark id whose check word fits.

    `confidence` is the share of the carrier that agrees with the message: 0.5 is chance, 1.0 is all of it.
    It says how much of the mark is left, not how likely the message is to be right: that is the check word's.
    """

    mark_id: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """A mark that `extract_any` read, and the codec that read it."""

    codec: str
    mark_id: str
    confidence: float


@runtime_checkable
class WatermarkCodec(Protocol):
    """Writes a mark id of 16 hex digits into pixels and reads it back.

    The batch is the primitive: element `i` of a result belongs to element `i` of the argument. Every
    implementation passes `WatermarkContract` of the test suite.
    """

    @property
    def name(self) -> str:
        """The codec's name, as `get_codec` takes it."""

    @property
    def version(self) -> str:
        """Version of the embedded format; a decoder reads what the same version wrote."""

    def embed(self, pixels: Sequence[Pixels], mark_ids: Sequence[str]) -> list[Embedded]:
        """Mark each picture with its id.

        Raises:
            WatermarkFailed: a picture is too small or too flat, or did not read back; nothing is returned.
            UsageError: an id or an array of the wrong form, or batches of unequal length.
        """

    def extract(self, pixels: Sequence[Pixels]) -> list[Extracted | None]:
        """Read each picture's mark; None where no message with a fitting check word is found.

        Raises:
            UsageError: an array of the wrong form.
        """
