"""The changes of the copy benchmark: each leaves a copy, and says where in the picture it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clearmark.core.optional import import_optional

__all__ = ["BARS", "HARD", "TEMPLATE", "TRANSFORMS", "Changed"]

Pixels = NDArray[np.uint8]
Changed = tuple[Pixels, NDArray[np.bool_]]
"""A changed picture [h, w, 3], and where in it what was copied is [h, w]."""
Transform = Callable[[Pixels, np.random.Generator, Pixels], Changed]

HARD = (
    "crop 50 %",
    "rotate 5",
    "rotate 15",
    "rotate 90",
    "text",
    "sticker",
    "border",
    "paste 50 %",
    "paste 30 %",
    "template 25 %",
    "template 50 %",
    "combination",
)
BARS = ("crop 75 %", "rotate 5", "border", "recolour", "autoencoder")
TEMPLATE = ("template 25 %", "template 50 %")


def _whole(x: Pixels) -> Changed:
    return np.ascontiguousarray(x), np.ones(x.shape[:2], bool)


def _jpeg(x: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def _blur(x: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(x, (0, 0), max(x.shape) / 140), dtype=np.uint8)


def _scaled(x: Pixels, share: float) -> Pixels:
    small = cv2.resize(x, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, x.shape[1::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _colour(x: Pixels, rng: np.random.Generator) -> Pixels:
    gain, lift = rng.uniform(0.7, 1.3, 3), rng.uniform(-30, 30)
    return np.clip(x * gain + lift, 0, 255).astype(np.uint8)


def _gamma(x: Pixels, rng: np.random.Generator) -> Pixels:
    power = float(rng.choice([0.5, 1.8]))
    return (255 * (x / 255.0) ** power).astype(np.uint8)


def _grey(x: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _recolour(x: Pixels, rng: np.random.Generator) -> Pixels:
    hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(rng.integers(30, 150))) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _crop(x: Pixels, rng: np.random.Generator, share: float) -> Pixels:
    height, width = x.shape[:2]
    h, w = round(height * share), round(width * share)
    # A cut-out that shows nothing cannot be told: of three, the one with the most in it, as people crop.
    spots = [(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))) for _ in range(3)]
    cuts = [x[top : top + h, left : left + w] for top, left in spots]
    return max(cuts, key=lambda cut: float(cut.std()))


def _rotate(x: Pixels, rng: np.random.Generator, degrees: float) -> Changed:
    height, width = x.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees * float(rng.choice([-1, 1])), 1.0)
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    out = cv2.warpAffine(x, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=colour)
    lies = cv2.warpAffine(np.full((height, width), 255, np.uint8), turn, (width, height)) > 127
    return np.asarray(out, dtype=np.uint8), lies


def _perspective(x: Pixels, rng: np.random.Generator) -> Changed:
    height, width = x.shape[:2]
    start = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    end = start + (rng.uniform(0, 0.12, (4, 2)) * [[1, 1], [-1, 1], [-1, -1], [1, -1]] * [width, height])
    turn = cv2.getPerspectiveTransform(start, end.astype(np.float32))
    out = cv2.warpPerspective(x, turn, (width, height), borderValue=[255, 255, 255])
    lies = cv2.warpPerspective(np.full((height, width), 255, np.uint8), turn, (width, height)) > 127
    return np.asarray(out, dtype=np.uint8), lies


def _text(x: Pixels, rng: np.random.Generator) -> Changed:
    out, mask = x.copy(), np.zeros(x.shape[:2], np.uint8)
    height, width = x.shape[:2]
    for line in range(3):
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        place = (int(width * 0.03), int(height * (0.25 + 0.3 * line)))
        size, thick = width / 190, max(2, width // 70)
        word = ("not for sale", "SAMPLE COPY", "my picture")[line]
        cv2.putText(out, word, place, cv2.FONT_HERSHEY_DUPLEX, size, colour, thick)
        cv2.putText(mask, word, place, cv2.FONT_HERSHEY_DUPLEX, size, 255, thick)
    return out, mask == 0


def _over(x: Pixels, rng: np.random.Generator, other: Pixels, share: float) -> Changed:
    """Lay another picture over `share` of the area."""
    out, mask = x.copy(), np.ones(x.shape[:2], bool)
    height, width = x.shape[:2]
    h, w = round(height * share**0.5), round(width * share**0.5)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    out[top : top + h, left : left + w] = cv2.resize(other, (w, h), interpolation=cv2.INTER_AREA)
    mask[top : top + h, left : left + w] = False
    return out, mask


def _border(x: Pixels, rng: np.random.Generator) -> Changed:
    height, width = x.shape[:2]
    pads = [int(side * rng.uniform(0.08, 0.25)) for side in (height, height, width, width)]
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    above, below, left, right = pads
    out = np.empty((height + above + below, width + left + right, 3), np.uint8)
    out[:] = colour
    mask = np.zeros(out.shape[:2], bool)
    inside = slice(above, above + height), slice(left, left + width)
    out[inside], mask[inside] = x, True
    return out, mask


def _paste(x: Pixels, rng: np.random.Generator, other: Pixels, share: float) -> Changed:
    """Paste onto another picture, `share` of its sides long, so `share` squared of its area."""
    ground = cv2.resize(other, x.shape[1::-1], interpolation=cv2.INTER_AREA)
    height, width = ground.shape[:2]
    h, w = round(height * share), round(width * share)
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    ground[top : top + h, left : left + w] = cv2.resize(x, (w, h), interpolation=cv2.INTER_AREA)
    mask = np.zeros((height, width), bool)
    mask[top : top + h, left : left + w] = True
    return np.asarray(ground, dtype=np.uint8), mask


def _screenshot(x: Pixels, rng: np.random.Generator) -> Changed:
    """Show the picture in a window: a bar above, a panel at the side, lines of text in it."""
    height, width = x.shape[:2]
    bar, panel = int(height * 0.12), int(width * 0.3)
    out = np.full((height + bar, width + panel, 3), 245, np.uint8)
    out[:bar] = rng.integers(30, 120)
    for line in range(bar + 14, out.shape[0], 18):
        cv2.putText(out, "lorem ipsum", (width + 4, line), cv2.FONT_HERSHEY_PLAIN, 0.8, [60, 60, 60], 1)
    out[bar:, :width] = x
    mask = np.zeros(out.shape[:2], bool)
    mask[bar:, :width] = True
    return out, mask


def _regenerated(x: Pixels, rng: np.random.Generator) -> Pixels:
    """Redraw as a generator would: smoothed within edges, moved a little, colours off."""
    height, width = x.shape[:2]
    out = cv2.bilateralFilter(x, 7, 40, 5)
    flow = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 2)).astype(np.float32), (0, 0), 14)
    flow *= 0.012 * max(height, width) / max(float(np.abs(flow).max()), 1e-6)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    out = cv2.remap(
        out, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return _colour(np.asarray(out, dtype=np.uint8), rng)


def _combination(x: Pixels, rng: np.random.Generator, other: Pixels) -> Changed:
    x = _jpeg(_colour(_crop(x, rng, 0.7), rng), 30)
    x = np.ascontiguousarray(x[:, ::-1])
    out, lies = _rotate(x, rng, 8)
    over, free = _over(out, rng, other, 0.1)
    return over, lies & free


@lru_cache(maxsize=1)
def _autoencoder() -> Any:
    torch = import_optional("torch", extra="local")
    from clearmark.generation.reference.autoencoder import to_bytes, to_tensor
    from clearmark.generation.reference.catalogue import WEIGHTS

    kind = import_optional("diffusers", extra="local").AutoencoderKL
    vae = kind.from_pretrained(WEIGHTS / "vae", torch_dtype=torch.float32).eval()
    return torch, vae, to_tensor, to_bytes


def _through_autoencoder(x: Pixels) -> Pixels:
    """Go through the latent space of the reference model, as a picture given to image-to-image does."""
    torch, vae, to_tensor, to_bytes = _autoencoder()
    side = int(vae.config.sample_size)
    small = cv2.resize(x, (side, side), interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        out = vae.decode(vae.encode(to_tensor(small[None])).latent_dist.mean).sample
    return np.asarray(
        cv2.resize(to_bytes(out)[0], x.shape[1::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _by(change: Callable[[Pixels], Any]) -> Transform:
    """Return a change of the whole picture that is the same every time."""
    return lambda x, _rng, _other: _whole(np.asarray(change(x), dtype=np.uint8))


def _random(change: Callable[[Pixels, np.random.Generator], Pixels]) -> Transform:
    """Return a change of the whole picture that draws."""
    return lambda x, rng, _other: _whole(change(x, rng))


def _masked(change: Callable[[Pixels, np.random.Generator], Changed]) -> Transform:
    """Return a change that leaves a part, and draws."""
    return lambda x, rng, _other: change(x, rng)


def _noise(x: Pixels, rng: np.random.Generator) -> Pixels:
    return np.clip(x + rng.normal(0, 25, x.shape), 0, 255).astype(np.uint8)


TRANSFORMS: dict[str, Transform] = {
    "jpeg 15": _by(lambda x: _jpeg(x, 15)),
    "blur": _by(_blur),
    "noise": _random(_noise),
    "downscale 25 %": _by(lambda x: _scaled(x, 0.25)),
    "colour": _random(_colour),
    "gamma": _random(_gamma),
    "grey": _by(_grey),
    "recolour": _random(_recolour),
    "posterise": _by(lambda x: x // 64 * 64 + 32),
    "stylise": _by(lambda x: cv2.stylization(x, sigma_s=40, sigma_r=0.4)),
    "squeeze": _by(lambda x: cv2.resize(x, (round(x.shape[1] * 0.7), x.shape[0]))),
    "flip": _by(lambda x: x[:, ::-1]),
    "rotate 5": _masked(lambda x, rng: _rotate(x, rng, 5)),
    "rotate 15": _masked(lambda x, rng: _rotate(x, rng, 15)),
    "rotate 90": _by(np.rot90),
    "perspective": _masked(_perspective),
    "crop 75 %": _random(lambda x, rng: _crop(x, rng, 0.75)),
    "crop 50 %": _random(lambda x, rng: _crop(x, rng, 0.5)),
    "border": _masked(_border),
    "text": _masked(_text),
    "sticker": lambda x, rng, other: _over(x, rng, other, 0.12),
    "screenshot": _masked(_screenshot),
    "paste 50 %": lambda x, rng, other: _paste(x, rng, other, 0.5),
    "paste 30 %": lambda x, rng, other: _paste(x, rng, other, 0.3),
    "template 25 %": lambda x, rng, other: _over(x, rng, other, 0.25),
    "template 50 %": lambda x, rng, other: _over(x, rng, other, 0.5),
    "autoencoder": _by(_through_autoencoder),
    "regenerated": _random(_regenerated),
    "combination": _combination,
}
"""Sides are meant by the shares of crops and pastes, the area by those of templates and stickers."""
