"""The pictures of the copy benchmark: which packages, how they become one pool, and who is indexed.

Every picture comes from a free package of Debian. What a package is for is fixed here, so that pictures that
the descriptor was trained on, that the probability was fitted on and that the figures come from never share
one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clearmark.core.errors import Error, UsageError
from clearmark.guardrails.memorization._pictures import read_pixels
from clearmark.guardrails.memorization._scan import distances
from clearmark.guardrails.memorization.hashes import pdq_dihedral

__all__ = ["PACKAGES", "Picture", "fetch", "pool", "synthetic"]

PACKAGES: dict[str, dict[str, int]] = {
    # What a descriptor may learn from.
    "train": {
        "openclipart-png": 6000,
        "mate-backgrounds": 100,
        "plasma-workspace-wallpapers": 200,
        "openarena-081-textures": 1500,
        "hedgewars-data": 400,
        "megaglest-data": 600,
        "freedroidrpg-data": 300,
    },
    # What weights and settings are chosen on.
    "dev": {
        "supertux-data": 300,
        "freeciv-data": 250,
        "lincity-ng-data": 250,
        "lomiri-wallpapers-16.04": 50,
        "lomiri-wallpapers-20.04": 50,
        "extremetuxracer-data": 200,
        "asc-data": 200,
        "ufoai-textures": 600,
        "mate-icon-theme": 250,
        "pingus-data": 100,
        "neverball-data": 100,
        "sway-backgrounds": 20,
        "gcompris-qt-data": 900,
    },
    # What the figures come from.
    "test": {
        "tuxpaint-stamps-default": 900,
        "stellarium-data": 1500,
        "wesnoth-1.16-data": 1800,
        "fonts-noto-color-emoji": 1800,
        "kgeography-data": 900,
        "pysiogame": 900,
        "oxygen-icon-theme": 500,
        "nexuiz-textures": 900,
        "endless-sky-data": 600,
        "gnome-backgrounds": 50,
        "ukui-wallpapers": 50,
        "marble-data": 150,
        "desktop-base": 50,
    },
}
"""Packages by purpose, with the most pictures that are taken from each: no one style may rule the figures."""

LONGEST = 384
_LEAST = 96
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tga", ".gif"})
_CONTAINERS = frozenset({".rcc", ".ttf", ".pk3"})
_PATTERN = re.compile(
    r"^(.*?)(?:[-_]?(?:attack|defend|idle|die|magic|melee|ranged|stand|frame|n|s|se|sw|ne|nw)\b.*|[-_]?\d+.*)$"
)
_FRAMES = frozenset(
    {"wesnoth-1.16-data", "hedgewars-data", "supertux-data", "megaglest-data", "freedroidrpg-data"}
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the pool: where its file is, and the package and name it came from."""

    path: Path
    package: str
    name: str

    def pixels(self) -> NDArray[np.uint8]:
        """Decode to uint8 [height, width, 3]."""
        with PIL.Image.open(self.path) as picture:
            return np.asarray(picture.convert("RGB"))


def fetch(data: Path, purpose: str) -> None:
    """Download and unpack the packages of `purpose` into `data`/packages, as far as they are not there.

    Raises:
        UsageError: apt is not there, or does not know a package.
    """
    for package in PACKAGES[purpose]:
        folder = data / "packages" / package
        if folder.exists():
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            try:
                subprocess.run(  # noqa: S603  names from the table above
                    ["apt-get", "download", "-q", package],  # noqa: S607
                    cwd=place,
                    check=True,
                    capture_output=True,
                )
                (file,) = Path(place).glob("*.deb")
                unpacked = Path(place) / "unpacked"
                subprocess.run(["dpkg", "-x", file, unpacked], check=True, capture_output=True)  # noqa: S603, S607
            except (OSError, subprocess.CalledProcessError, ValueError) as exc:
                raise UsageError(
                    f"cannot download Debian's {package}",
                    hint=f"put its pictures into {folder} by hand, or run this where apt works",
                ) from exc
            unpacked.replace(folder)


def pool(data: Path, purpose: str) -> list[Picture]:
    """Return the pictures of `purpose`, made on the first call: small, deduplicated, capped by package."""
    folder = data / "pool" / purpose
    manifest = folder / "pool.json"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[list[str]] = []
        seen = _Seen()
        for package, most in PACKAGES[purpose].items():
            rows.extend(_gather(data / "packages" / package, package, most, folder, seen))
        manifest.write_text(json.dumps(rows))
    return [
        Picture(folder / file, package, name) for file, package, name in json.loads(manifest.read_bytes())
    ]


def _gather(source: Path, package: str, most: int, out: Path, seen: _Seen) -> Iterator[list[str]]:
    if not source.is_dir():
        raise UsageError(f"no folder {source}", hint="run with --fetch, or put the package's pictures there")
    taken, groups = 0, set()
    entries = sorted(_found(source), key=lambda entry: hashlib.sha256(entry[0].encode()).digest())
    for name, data in entries:
        if taken == most:
            return
        if package in _FRAMES:
            parent, _, stem = name.rpartition("/")
            group = (parent, (_PATTERN.match(stem) or re.match("(.*)", stem)).group(1))  # type: ignore[union-attr]
            if group in groups:
                continue
        try:
            pixels = read_pixels(data(), longest=LONGEST)
        except Error:
            continue
        if min(pixels.shape[:2]) < _LEAST or float(pixels.std()) < 4 or not seen.is_new(pixels):
            continue
        if package in _FRAMES:
            groups.add(group)
        file = hashlib.sha256(f"{package}/{name}".encode()).hexdigest()[:16] + ".png"
        PIL.Image.fromarray(pixels).save(out / file, compress_level=1)
        taken += 1
        yield [file, package, name]


class _Seen:
    """What was taken already: a near-copy of it, in any flip or quarter turn, is not taken again."""

    def __init__(self) -> None:
        self._hashes = np.zeros((0, 32), np.uint8)
        self._small: list[NDArray[np.float32]] = []

    def is_new(self, pixels: NDArray[np.uint8]) -> bool:
        codes, quality = pdq_dihedral(pixels)
        small = np.asarray(PIL.Image.fromarray(pixels).resize((12, 12)), dtype=np.float32)
        if quality >= 20:
            if len(self._hashes) and min(int(distances(self._hashes, code).min()) for code in codes) <= 40:
                return False
            self._hashes = np.concatenate([self._hashes, codes[:1]])
            return True
        if any(float(np.abs(small - other).mean()) < 6 for other in self._small):
            return False
        self._small.append(small)
        return True


def _found(folder: Path) -> Iterator[tuple[str, Any]]:
    """Return names and readers of all pictures below, those inside archives, fonts and Qt's resources too."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        name = str(path.relative_to(folder))
        if path.suffix.lower() in _SUFFIXES:
            yield name, path.read_bytes
        elif path.suffix.lower() == ".pk3":
            with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if Path(member).suffix.lower() in _SUFFIXES:
                        yield f"{name}/{member}", _member(path, member)
        elif path.suffix.lower() in _CONTAINERS:
            for number, part in enumerate(_embedded(path.read_bytes())):
                yield f"{name}/{number}", lambda part=part: part


def _member(path: Path, member: str) -> Any:
    def read() -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)

    return read


def _embedded(data: bytes) -> Iterator[bytes]:
    """Return the WebP and PNG files that stand whole inside of `data`."""
    for found in re.finditer(rb"RIFF(.{4})WEBP|\x89PNG\r\n\x1a\n", data, re.DOTALL):
        if found.group(1):
            yield data[found.start() : found.start() + 8 + struct.unpack("<I", found.group(1))[0]]
        else:
            end = data.find(b"IEND\xaeB`\x82", found.start())
            if end > 0:
                yield data[found.start() : end + 8]


def synthetic(
    rng: np.random.Generator, number: int
) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return `number` plain pictures of each kind, drawn by rule, with a look-alike of each: nobody's work.

    Striped, crossed and round flags with a twin in other colours, gradients, text pages, blank pages and
    noise.
    """
    out: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]] = []
    for _ in range(number):
        seed = int(rng.integers(2**31))
        twins = (_flag(np.random.default_rng(seed), rng), _flag(np.random.default_rng(seed), rng))
        out.append(("flag", *twins))
        out.append(("gradient", _gradient(rng), _gradient(rng)))
        out.append(("text", _page(rng), _page(rng)))
        out.append(("blank", _blank(rng), _blank(rng)))
    return out


def _flag(shape: np.random.Generator, colours: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a flag: the layout by `shape`, the colours by `colours`."""
    height, width = int(shape.integers(120, 200)), int(shape.integers(200, 300))
    paint = colours.integers(0, 256, (5, 3)).astype(np.uint8)
    x: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8) + paint[0]
    kind, bands = int(shape.integers(4)), int(shape.integers(2, 5))
    if kind in {0, 1}:
        length = (height, width)[kind]
        for band in range(bands):
            part = slice(band * length // bands, (band + 1) * length // bands)
            x[(part, slice(None)) if kind == 0 else (slice(None), part)] = paint[band]
    elif kind == 2:
        at, thick = width // int(shape.integers(2, 4)), int(shape.integers(10, 40))
        x[height // 2 - thick // 2 : height // 2 + thick // 2] = paint[1]
        x[:, at - thick // 2 : at + thick // 2] = paint[1]
    if kind == 3 or shape.random() < 0.3:
        rows, columns = np.mgrid[:height, :width]
        x[np.hypot(rows - height / 2, columns - width / 2) < height * shape.uniform(0.15, 0.4)] = paint[4]
    return x


def _gradient(rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = (int(side) for side in rng.integers(160, 320, 2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows / height + np.sin(angle) * columns / width
    if rng.random() < 0.4:
        along = np.hypot(rows / height - rng.random(), columns / width - rng.random())
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    ends = rng.integers(0, 256, (2, 3))
    out: NDArray[np.uint8] = (ends[0] + along[..., None] * (ends[1] - ends[0])).astype(np.uint8)
    return out


def _page(rng: np.random.Generator) -> NDArray[np.uint8]:
    import PIL.ImageDraw
    import PIL.ImageFont

    page = PIL.Image.new("RGB", (300, 380), "white")
    draw = PIL.ImageDraw.Draw(page)
    size = int(rng.integers(9, 15))
    font = PIL.ImageFont.load_default(size)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    for top in range(24, 356, size + 4):
        if rng.random() < 0.1:
            continue
        words = ("".join(rng.choice(letters, int(rng.integers(2, 10)))) for _ in range(9))
        draw.text((20, top), " ".join(words)[: 540 // size], fill=(20, 20, 20), font=font)
    return np.asarray(page)


def _blank(rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = (int(side) for side in rng.integers(120, 320, 2))
    x = np.zeros((height, width, 3)) + rng.integers(0, 256, 3)
    out: NDArray[np.uint8] = (
        (x + rng.normal(0, rng.choice([0, 2, 12, 40]), x.shape)).clip(0, 255).astype(np.uint8)
    )
    return out


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return `pixels` as PNG."""
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def split(pictures: Sequence[Picture], share: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """Return who is indexed, and who is never indexed, package by package."""
    rng = np.random.default_rng(seed)
    first: list[Picture] = []
    second: list[Picture] = []
    for package in sorted({picture.package for picture in pictures}):
        some = [picture for picture in pictures if picture.package == package]
        order = rng.permutation(len(some))
        cut = round(share * len(some))
        first.extend(some[n] for n in order[:cut])
        second.extend(some[n] for n in order[cut:])
    return first, second
