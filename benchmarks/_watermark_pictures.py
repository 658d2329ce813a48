"""The pictures that the watermark bench marks, and those that it reads though nobody marked them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from clearmark.benchmarks._watermark_attacks import cut, jpeg, rounded, scaled
from clearmark.provenance.watermark import Pixels

__all__ = ["pictures", "texture", "unmarked"]

WALLPAPERS = (Path("/usr/share/backgrounds/gnome"), Path("/usr/share/backgrounds/mate"))
DRAWINGS = (Path("/usr/share/openclipart/png"),)
"""Where Debian's gnome-backgrounds, mate-backgrounds and openclipart-png keep pictures that nobody marked."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
LARGEST = 40_000_000
LONGEST = 2048
"""Longest side of a picture at its original size, in pixels."""


def pictures(folder: Path | None, *, size: int, count: int) -> list[tuple[str, Pixels]]:
    """Return up to `count` named pictures, size x size (0: as they are): files, or what is at hand."""
    if folder is not None:
        return loaded(_files([folder]), size, count)
    found = loaded(_photographs(), size, 2)
    share = max(1, (count - len(found)) // 3)
    for places in (WALLPAPERS, DRAWINGS):
        files = _files(places)
        found += loaded(files[:: max(1, len(files) // share)], size, share)
    seeds = range(count - len(found))
    return [*found, *((f"texture {seed}", texture(size or 1024, seed)) for seed in seeds)][:count]


def _files(places: Sequence[Path]) -> list[Path]:
    return [p for place in places for p in sorted(place.rglob("*")) if p.suffix.lower() in SUFFIXES]


def _photographs() -> list[Path]:
    """Return scikit-learn's two photographs, where it is installed."""
    spec = find_spec("sklearn")
    if spec is None or not spec.origin:
        return []
    return sorted((Path(spec.origin).parent / "datasets/images").glob("*.jpg"))


def loaded(paths: Sequence[Path], size: int, count: int) -> list[tuple[str, Pixels]]:
    """Return up to `count` of the files, size x size; with size 0 as they are, to LONGEST pixels a side."""
    from PIL import Image, ImageOps

    out: list[tuple[str, Pixels]] = []
    for path in paths:
        if len(out) == count:
            break
        with Image.open(path) as opened:
            # Of a large JPEG no more than is needed.
            opened.draft("RGB", (2 * size or LONGEST,) * 2)
            if opened.width * opened.height > LARGEST:
                continue
            picture = opened.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture)
        flat = ground.convert("RGB")
        # Small drawings keep their edges; photographs are cut to a square.
        if not size:
            flat.thumbnail((LONGEST, LONGEST))
        elif path.suffix.lower() == ".png" and min(picture.size) < size:
            flat = ImageOps.pad(flat, (size, size), color="white")
        else:
            flat = ImageOps.fit(flat, (size, size))
        pixels = np.asarray(flat)
        # A single colour is no test: it has no content to damage.
        if pixels.std() > 4:
            out.append((path.name, pixels))
    return out


def texture(size: int, seed: int) -> Pixels:
    """Return a generated picture: coloured 1/f noise, its roughness by `seed`, and hard shapes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) + 1 / size
    planes = []
    for _ in range(3):
        noise = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** (0.9 + 0.3 * (seed % 4))
        plane = np.fft.irfft2(noise, (size, size))
        planes.append(128 + plane / plane.std() * (15 + 10 * (seed % 3)))
    out = rounded(np.stack(planes, -1))
    for _ in range(seed % 5):
        at = [int(value) for value in rng.integers(0, size, 2)]
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.circle(out, at, int(rng.integers(size // 20, size // 5)), colour, -1, cv2.LINE_AA)
    return out


def unmarked(count: int, *, size: int, known: Mapping[str, int]) -> Iterator[tuple[str, list[Pixels]]]:
    """Yield `count` pictures that were never marked, by the name of the file that they are from.

    Each file at hand gives two, itself and a crop at full resolution, as a picture cut out of a larger one;
    then come textures. Of the names in `known` so many were read before: they count, and are left out.
    """
    files = [*_files([*WALLPAPERS, *DRAWINGS]), *_photographs()]
    given = 0
    for place in np.random.default_rng(7).permutation(len(files)):
        path = files[place]
        if given >= count:
            return
        if str(path) in known:
            given += known[str(path)]
            continue
        views: list[Pixels] = []
        for _, whole in loaded([path], 2 * size, 1):
            part = cut(whole, 0.5, 0.2, 0.7)
            small = scaled(whole, 0.5)
            views = [small, part if part.std() > 4 else jpeg(small, 50)][: count - given]
        given += len(views)
        yield str(path), views
    for seed in range(count - given):
        if f"texture {seed}" not in known:
            yield f"texture {seed}", [texture(size, seed)]
