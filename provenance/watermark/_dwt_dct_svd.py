"""The codec `dwt-dct-svd`: the carrier of invisible-watermark's method of that name, in NumPy alone.

What it reads and writes is what the package invisible-watermark 0.2 does with `dwtDctSvd` and its default
scales: the largest singular value of each 4 x 4 block of the U channel's Haar low band lies in the lower half
of a step of 36 for a zero and in the upper half for a one; block `n` in reading order carries bit `n mod 96`.
The package's decoder reads our pictures and ours reads the package's.

How it is written is our own. The package moves every block to the middle of its half step and clips; here a
block moves only as far as a margin asks, towards whichever half step is nearer and has room (a white or
saturated block has room on one side only), and pixels that would clip pull all three channels along, which
leaves U alone. The smallest margin is taken whose picture reads back before and after JPEG.

The DCT of the method's name changes nothing: it is orthonormal, so a block and its DCT have the same singular
values, and the same change of the largest one. It is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clearmark.core.errors import WatermarkFailed
from clearmark.provenance.watermark._jpeg import jpeg
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
from clearmark.provenance.watermark.codec import MIN_SIDE, Embedded, Extracted, Pixels

__all__ = ["DwtDctSvd"]

Floats = npt.NDArray[np.float32]

STEP = 36.0
"""Step of the quantiser, in units of the singular value: a block's mean U times eight."""

MARGINS = (3.0, 4.5, 6.0, 7.5, 9.0)
"""Distances from the edge of the half step that are tried, weakest first; 9 is the middle."""

ROUNDS = 5
CHASE_BITS, CHASE_WEIGHT = 10, 3
BAND = 512
"""Rows that are held as floats at a time; a multiple of eight."""

# What one step of U is in RGB when Y and V stay (BT.601, the inverse of OpenCV's YUV).
U_TO_GREEN, U_TO_BLUE = np.float32(-0.395), np.float32(2.032)


def _bayer(size: int) -> Floats:
    """Return the ordered-dither matrix of `size` (a power of two), values in (0, 1)."""
    matrix = np.zeros((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    out: Floats = ((matrix + 0.5) / size**2).astype(np.float32)
    return out


def _blocks(band: Pixels) -> Floats:
    """Return the 4 x 4 blocks of the Haar low band of U: rows x columns x 4 x 4."""
    import cv2

    height, width = band.shape[0] // 8 * 8, band.shape[1] // 8 * 8
    plane = cv2.cvtColor(np.ascontiguousarray(band[:height, :width]), cv2.COLOR_RGB2YUV)[..., 1]
    # The Haar low band: half the sum of each 2 x 2.
    low = plane.reshape(height // 2, 2, width // 2, 2).sum((1, 3), dtype=np.uint16).astype(np.float32) / 2
    out: Floats = low.reshape(height // 8, 4, width // 8, 4).swapaxes(1, 2)
    return out


def _bits_of(rows: int, columns: int, first_row: int) -> npt.NDArray[np.intp]:
    """Return which bit each block of a band carries: rows x columns."""
    start = first_row * columns
    return (np.arange(start, start + rows * columns) % BITS).reshape(rows, columns)


def _vote(pixels: Pixels) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Return the ones, the soft ones and the blocks counted per bit, each of 96."""
    ones, soft, count = np.zeros(BITS), np.zeros(BITS), np.zeros(BITS, np.intp)
    for top in range(0, pixels.shape[0] // 8 * 8, BAND):
        blocks = _blocks(pixels[top : top + BAND])
        value = np.linalg.svd(blocks, compute_uv=False)[..., 0] % STEP
        index = _bits_of(value.shape[0], value.shape[1], top // 8).ravel()
        ones += np.bincount(index, (value > STEP / 2).ravel(), BITS)
        # Near an edge between half steps a block says little: weigh by the first harmonic.
        soft += np.bincount(index, -np.sin(2 * np.pi / STEP * value).ravel(), BITS)
        count += np.bincount(index, minlength=BITS)
    return ones.astype(np.float32), soft.astype(np.float32), count


def _rgb(base: Floats, move: Floats, dither: Floats) -> Pixels:
    """Add `move` of U to `base` (three planes) and round; where a channel would clip, all three give way."""
    red, green, blue = base[0], base[1] + move * U_TO_GREEN, base[2] + move * U_TO_BLUE
    over = np.maximum(np.maximum(np.maximum(red, green), blue) - 255, 0)
    under = np.minimum(np.minimum(np.minimum(red, green), blue), 0)
    shift = dither - over - under
    planes = (np.clip(plane + shift, 0, 255).astype(np.uint8) for plane in (red, green, blue))
    return np.stack(list(planes), -1)


def _target(value: Floats, bits: Bits, margin: float, *, up: bool) -> Floats:
    """Return the nearest value that says each block's bit, `margin` inside its half step, on one side."""
    low, high = STEP / 2 * bits + margin, STEP / 2 * (bits + 1) - margin
    cell = np.floor(value / STEP) * STEP
    rest = value - cell
    away = np.where(rest < low, low, STEP + low) if up else np.where(rest > high, high, high - STEP)
    out: Floats = np.where((rest >= low) & (rest <= high), value, cell + away).astype(np.float32)
    return out


def _largest(blocks: Floats) -> tuple[Floats, Floats]:
    """Return the largest singular value of each block and the product of its singular vectors.

    By power iteration from the even vector, which never misses: blocks are non-negative, so the wanted
    vectors are too (Perron-Frobenius). A block of zeros gets even vectors.
    """
    gram = np.einsum("...ki,...kj->...ij", blocks, blocks)
    for _ in range(3):
        gram = gram / np.maximum(np.trace(gram, axis1=-2, axis2=-1), 1e-9)[..., None, None]
        gram = gram @ gram
    right = gram.sum(-1) + 1e-12
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    left = (blocks @ right[..., None])[..., 0]
    value = np.linalg.norm(left, axis=-1)
    left = np.where(value[..., None] > 1e-3, left / np.maximum(value, 1e-3)[..., None], 0.5)
    return value.astype(np.float32), (left[..., :, None] * right[..., None, :]).astype(np.float32)


def _settle(base: Floats, before: Floats, target: Floats, dither: Floats) -> tuple[Pixels, Floats]:
    """Move each block's value from `before` to `target`; return the pixels and how far off each block ends.

    Rounding, clipping and the decoder's own integer U all bend the way, so a few rounds of feedback are run
    against exactly what the decoder computes.
    """
    height, width = base.shape[1:]
    move = np.zeros((height, width), np.float32)
    pixels = np.stack(list(base), -1).astype(np.uint8)
    best, best_off = pixels, np.abs(target - before)
    for turn in range(ROUNDS):
        value, outer = _largest(_blocks(pixels))
        off = np.abs(target - value)
        if turn:
            better = off < best_off
            best = np.where(_spread(better, 8)[..., None], pixels, best)
            best_off = np.minimum(off, best_off)
        gap = np.where(off < 0.5, 0, target - value)
        if not gap.any():
            break
        # Half of a Haar low coefficient's change is the change of each of its four pixels.
        change = (gap[..., None, None] * outer / 2).swapaxes(1, 2).reshape(height // 2, width // 2)
        move += _spread(change, 2)
        pixels = _rgb(base, move, dither)
    return best, best_off


def _spread(plane: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Repeat each element of `plane` `size` times down and across."""
    return np.repeat(np.repeat(plane, size, 0), size, 1)


def _write_band(band: Pixels, bits: Bits, margin: float) -> Pixels:
    """Return `band` with each whole 8 x 8 block moved to its bit, on the cheaper side that has room."""
    height, width = band.shape[0] // 8 * 8, band.shape[1] // 8 * 8
    inner = band[:height, :width]
    base = np.stack([inner[..., channel] for channel in range(3)]).astype(np.float32)
    dither = np.tile(_bayer(8), (height // 8, width // 8))
    before, _ = _largest(_blocks(inner))
    tries = []
    for up in (True, False):
        pixels, off = _settle(base, before, _target(before, bits, margin, up=up), dither)
        cost = sum(np.square(pixels[..., channel] - base[channel]) for channel in range(3))
        cost = cost.reshape(height // 8, 8, width // 8, 8).sum((1, 3))
        # A block left more than the margin off is as good as unmarked, whatever it cost.
        tries.append((pixels, cost + 1e6 * np.maximum(off - 2.0, 0)))
    pick_up = tries[0][1] <= tries[1][1]
    out = band.copy()
    out[:height, :width] = np.where(_spread(pick_up, 8)[..., None], tries[0][0], tries[1][0])
    return out


def _write(pixels: Pixels, message: Bits, margin: float) -> Pixels:
    """Return `pixels` with `message` in every block, band by band."""
    out = pixels.copy()
    columns = pixels.shape[1] // 8
    for top in range(0, pixels.shape[0] // 8 * 8, BAND):
        band = pixels[top : top + BAND]
        index = _bits_of(band.shape[0] // 8, columns, top // 8)
        out[top : top + BAND] = _write_band(band, message[index], margin)
    return out


def _guesses(ones: Floats, soft: Floats, count: npt.NDArray[np.intp]) -> Iterator[Bits]:
    """Yield what the votes may mean, likeliest first: 177 readings, so a false one is let in once in 2**24.5.

    First the majority, as the package reads it; then the soft votes with up to three of the ten least sure
    bits turned over (after Chase 1972, algorithm 2, with a CRC in place of the algebraic decoder).
    """
    yield (ones / np.maximum(count, 1) * 255 > 127).astype(np.uint8)
    bits = (soft > 0).astype(np.uint8)
    unsure = np.argsort(np.abs(soft), kind="stable")[:CHASE_BITS]
    for weight in range(CHASE_WEIGHT + 1):
        for turned in itertools.combinations(unsure.tolist(), weight):
            guess = bits.copy()
            guess[list(turned)] ^= 1
            yield guess


class DwtDctSvd:
    """The codec; `key` (any bytes) makes the message unreadable for others, not the carrier unseen."""

    name = "dwt-dct-svd"
    version = "1"

    def __init__(self, *, key: bytes | None = None) -> None:
        self._mask = keystream(key, b"clearmark dwt-dct-svd 1")

    def embed(self, pixels: Sequence[Pixels], mark_ids: Sequence[str]) -> list[Embedded]:
        """Mark each picture; see `WatermarkCodec.embed`."""
        check_batch(pixels, mark_ids)
        return [self._embed(picture, mark_id) for picture, mark_id in zip(pixels, mark_ids, strict=True)]

    def extract(self, pixels: Sequence[Pixels]) -> list[Extracted | None]:
        """Read each picture's mark; see `WatermarkCodec.extract`."""
        return [self._extract(check_pixels(picture)) for picture in pixels]

    def _embed(self, picture: Pixels, mark_id: str) -> Embedded:
        height, width = picture.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise WatermarkFailed(
                f"{width} x {height} pixels are too few for a watermark",
                hint=f"the shortest side must have at least {MIN_SIDE} pixels",
            )
        message = frame(mark_id) ^ self._mask
        for margin in MARGINS:
            marked = _write(picture, message, margin)
            # A harder JPEG than must be survived keeps something in hand, as long as there is strength left.
            qualities = (90,) if margin == MARGINS[-1] else (90, 80)
            if not np.array_equal(next(_guesses(*_vote(marked))), message):
                continue
            if all(self._reads(jpeg(marked, quality), mark_id) for quality in qualities):
                return Embedded(pixels=marked, psnr_db=psnr(picture, marked), ssim=ssim(picture, marked))
        raise WatermarkFailed(
            f"the watermark did not read back from {width} x {height} pixels at any strength",
            hint="the picture leaves no room for it: noise, or colours at the end of their range all over",
        )

    def _reads(self, pixels: Pixels, mark_id: str) -> bool:
        found = self._extract(pixels)
        return found is not None and found.mark_id == mark_id

    def _extract(self, pixels: Pixels) -> Extracted | None:
        if min(pixels.shape[:2]) < MIN_SIDE:
            return None
        ones, soft, count = _vote(pixels)
        for bits in _guesses(ones, soft, count):
            mark_id = unframe(bits ^ self._mask)
            if mark_id is not None:
                agree = np.where(bits, ones, count - ones).sum() / count.sum()
                return Extracted(mark_id=mark_id, confidence=round(float(agree), 4))
        return None
