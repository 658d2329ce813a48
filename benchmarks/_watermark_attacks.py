"""What pictures go through on the web, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clearmark.provenance.watermark import Pixels
from clearmark.provenance.watermark._quality import luma

__all__ = ["ATTACKS", "cut", "jpeg", "rounded", "scaled"]


def _codec(pixels: Pixels, extension: str, setting: int, quality: int) -> Pixels:
    _, data = cv2.imencode(extension, pixels[..., ::-1], [setting, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return `pixels` after JPEG."""
    return _codec(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Return `pixels` after lossy WebP."""
    return _codec(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return `pixels` at a size: by area when it shrinks, cubic when it grows."""
    way = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)


def scaled(pixels: Pixels, across: float, down: float | None = None) -> Pixels:
    """Return `pixels` at so many times its size."""
    down = across if down is None else down
    return resized(pixels, round(pixels.shape[1] * across), round(pixels.shape[0] * down))


def halved_and_back(pixels: Pixels) -> Pixels:
    """Return `pixels` at half size, brought back."""
    return resized(scaled(pixels, 0.5), pixels.shape[1], pixels.shape[0])


def cut(pixels: Pixels, share: float, top: float = 0.5, left: float = 0.5) -> Pixels:
    """Return a part whose sides are `share` of the picture's."""
    height, width = (int(side * share) for side in pixels.shape[:2])
    row, column = int((pixels.shape[0] - height) * top), int((pixels.shape[1] - width) * left)
    return np.ascontiguousarray(pixels[row : row + height, column : column + width])


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Return `pixels` turned about the middle, with black corners."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)
    return np.asarray(moved, np.uint8)


def rounded(values: Any) -> Pixels:
    """Return real values as pixels."""
    out: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return out


def noisy(pixels: Pixels) -> Pixels:
    """Return `pixels` with white noise of ten grey levels."""
    return rounded(pixels + np.random.default_rng(1).normal(0, 10, pixels.shape))


def captioned(pixels: Pixels) -> Pixels:
    """Return `pixels` with a dark band and white text over its lower fifth."""
    out = pixels.copy()
    height, width = out.shape[:2]
    out[height * 4 // 5 :] //= 4
    at = (width // 20, height * 9 // 10)
    cv2.putText(out, "seen on the web", at, cv2.FONT_HERSHEY_SIMPLEX, width / 400, (255, 255, 255), 2)
    return out


def printed(pixels: Pixels) -> Pixels:
    """Return `pixels` as if printed and scanned: paper and ink less than white and black, soft, grainy."""
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.8).astype(np.float32) / 255
    grain = np.random.default_rng(2).normal(0, 4, pixels.shape)
    return jpeg(rounded(20 + 215 * soft**1.2 + grain), 85)


@cache
def _autoencoder() -> Any:
    import torch
    from diffusers import AutoencoderKL

    from clearmark.generation import reference

    torch.set_num_threads(1)
    folder = Path(str(reference.__file__)).parent / "weights/vae"
    return AutoencoderKL.from_pretrained(folder).eval()


def regenerated(pixels: Pixels) -> Pixels:
    """Return `pixels` after a round trip through the reference model's autoencoder."""
    import torch

    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)), "edge")
    with torch.no_grad():
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 127.5 - 1
        vae = _autoencoder()
        back = vae.decode(vae.encode(tensor).latent_dist.mode()).sample[0].permute(1, 2, 0)
    return rounded((back.numpy()[:height, :width] + 1) * 127.5)


ATTACKS: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda p: p,
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 70": lambda p: jpeg(p, 70),
    "jpeg 50": lambda p: jpeg(p, 50),
    "jpeg 30": lambda p: jpeg(p, 30),
    "webp 50": lambda p: webp(p, 50),
    "half and back": halved_and_back,
    "size 75%": lambda p: scaled(p, 0.75),
    "crop 75%": lambda p: cut(p, 0.75),
    "crop 50%": lambda p: cut(p, 0.5),
    "turn 5°": lambda p: turned(p, 5),
    "mirror": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "stretch 1.15": lambda p: scaled(p, 1.15, 1.0),
    "blur 1.5": lambda p: cv2.GaussianBlur(p, (0, 0), 1.5),
    "noise 10": noisy,
    "brightness 1.3": lambda p: rounded(p * 1.3),
    "contrast 1.4": lambda p: rounded((p - 128.0) * 1.4 + 128),
    "gamma 1.4": lambda p: rounded(255 * (p / 255) ** 1.4),
    "grey": lambda p: np.repeat(rounded(luma(p))[..., None], 3, 2),
    "caption": captioned,
    "screenshot": lambda p: jpeg(cut(scaled(p, 0.8), 0.9, 0.3, 0.7), 70),
    "denoise": lambda p: cv2.fastNlMeansDenoisingColored(p, None, 7, 7, 7, 21),
    "crop+half+jpeg 50": lambda p: jpeg(scaled(cut(p, 0.75), 0.5), 50),
    "print and scan": printed,
    "regeneration": regenerated,
}
"""Attacks by name. A screenshot is 0.8 of the size, an off-centre crop to 90%, and JPEG 70."""
