"""Build and measure the index of logos: `python -m clearmark.guardrails.trademark.logos build|measure ...`.

`build --icons DIR --photos DIR` renders every SVG of simple-icons (by `resvg-py`) and sets each mark's
threshold above what one half of the photographs reaches; `measure` pastes 300 marks into the other half
(15 to 40% of the side, turned by up to 15 degrees, JPEG of quality 50) and counts false alarms on it without.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearmark.core.optional import import_optional
from clearmark.guardrails.trademark._logos import FRAME, LogoIndex, find_logos, frame, likenesses, logo_index

__all__ = ["main"]

_FILE = Path(__file__).parents[1] / "models" / "weights" / "logo-shapes.npz"
_FLOOR, _MARGIN, _HIGHEST = 0.90, 0.012, 0.985


def _render(path: Path, side: int) -> Any:
    """Return the silhouette of an SVG as a mask [side, side], 0 or 255."""
    import numpy as np
    import PIL.Image

    resvg = import_optional("resvg_py", pip="pip install resvg-py")
    data = bytes(resvg.svg_to_bytes(svg_path=str(path), width=side, height=side))
    alpha = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGBA"))[:, :, 3]
    return ((alpha > 127) * 255).astype(np.uint8)


def _photos(folder: Path, half: int, crops: int) -> Iterator[Any]:
    """Yield pieces of every second photograph, 512 pixels on the longer side."""
    import numpy as np
    import PIL.Image

    draw = random.Random(half)  # noqa: S311  a sample, not a secret
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".webp"})
    for path in paths[half::2]:
        try:
            picture = PIL.Image.open(path).convert("RGB")
        except OSError:
            continue
        picture.thumbnail((1600, 1600))
        width, height = picture.size
        if min(width, height) < 300:
            continue
        for _ in range(crops):
            side = draw.randint(280, min(width, height))
            x, y = draw.randint(0, width - side), draw.randint(0, height - side)
            yield np.asarray(picture.crop((x, y, x + side, y + side)).resize((512, 512)))


def _build(icons: Path, photos: Path) -> None:
    import numpy as np

    names, masks = [], []
    for row in json.loads((icons / "data" / "simple-icons.json").read_bytes()):
        slug = row.get("slug") or _slug(row["title"])
        path = icons / "icons" / f"{slug}.svg"
        if path.is_file():
            names.append(row["title"])
            masks.append(frame(_render(path, 128)))
    stacked = np.stack(masks)
    best = np.zeros(len(names), dtype=np.float32)
    index = LogoIndex(tuple(names), stacked, best)
    for photo in _photos(photos, 0, 8):
        _, products = likenesses(photo, index)
        if len(products):
            best = np.maximum(best, products.max(axis=0))
    limits = np.maximum(best + _MARGIN, _FLOOR)
    keep = limits <= _HIGHEST  # a mark that any blob looks like (a disc, a bar) cannot be told
    buffer = io.BytesIO()
    kept = "\n".join(name for name, good in zip(names, keep, strict=True) if good)
    np.savez_compressed(
        buffer,
        names=np.frombuffer(kept.encode(), dtype=np.uint8),
        masks=stacked[keep],
        limits=limits[keep].astype(np.float32),
    )
    _FILE.write_bytes(buffer.getvalue())
    print(json.dumps({
        "marks": len(names), "kept": int(keep.sum()), "frame": FRAME, "size": len(buffer.getvalue()),
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }))  # fmt: skip


def _slug(title: str) -> str:
    """Return the file name that simple-icons gives a title."""
    import unicodedata

    text = title.lower()
    for sign, word in (
        ("+", "plus"),
        (".", "dot"),
        ("&", "and"),
        ("đ", "d"),
        ("ħ", "h"),
        ("ı", "i"),
        ("ß", "ss"),
    ):
        text = text.replace(sign, word)
    plain = unicodedata.normalize("NFD", text)
    return "".join(char for char in plain if char.isascii() and char.isalnum())


def _paste(photo: Any, mask: Any, draw: random.Random) -> Any:
    """Return the photograph with a mark in one colour, half of the time on a plate, as JPEG of quality 50."""
    import numpy as np
    import PIL.Image

    base = PIL.Image.fromarray(photo)
    side = round(draw.uniform(0.15, 0.40) * base.width)
    shape = PIL.Image.fromarray(mask).resize((side, side)).rotate(
        draw.uniform(-15, 15), PIL.Image.Resampling.BICUBIC, expand=True
    )  # fmt: skip
    x, y = draw.randint(0, base.width - shape.width), draw.randint(0, base.height - shape.height)
    colour = tuple(draw.randint(0, 255) for _ in range(3))
    if draw.random() < 0.5:
        plate = (255, 255, 255) if sum(colour) < 384 else (20, 20, 20)
        base.paste(plate, (x, y, x + shape.width, y + shape.height))
    base.paste(colour, (x, y), shape)
    out = io.BytesIO()
    base.save(out, "JPEG", quality=50)
    return np.asarray(PIL.Image.open(out).convert("RGB"))


def _measure(icons: Path, photos: Path, count: int) -> dict[str, Any]:
    """Return the rates by margin: alarms on two parts of the photographs, one to choose the margin on."""
    draw = random.Random(3)  # noqa: S311
    index = logo_index()
    rows = json.loads((icons / "data" / "simple-icons.json").read_bytes())
    clean = list(_photos(photos, 1, 8))
    draw.shuffle(clean)
    clean = clean[:count]
    plain = [_excess(photo, index) for photo in clean]
    pasted = []
    for row in draw.sample(rows, count):
        path = icons / "icons" / f"{row.get('slug') or _slug(row['title'])}.svg"
        picture = _paste(draw.choice(clean), _render(path, 256), draw)
        pasted.append((row["title"], _excess(picture, index)))
    middle = len(plain) // 2
    return {
        "marks in the index": len(index),
        "pasted": count,
        "photographs": len(plain),
        "by margin": {
            margin: {
                "alarms where chosen": _over(plain[:middle], margin),
                "alarms elsewhere": _over(plain[middle:], margin),
                "any mark found": _over([found for _, found in pasted], margin),
                "the right mark found": sum(found.get(name, -1.0) >= margin for name, found in pasted)
                / count,
            }
            for margin in (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06)
        },
    }


def _excess(photo: Any, index: LogoIndex) -> dict[str, float]:
    return {hit.name: hit.likeness - hit.threshold for hit in find_logos(photo, index, margin=0.0)}


def _over(found: list[dict[str, float]], margin: float) -> float:
    return sum(any(value >= margin for value in one.values()) for one in found) / max(1, len(found))


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["build", "measure"])
    parser.add_argument("--icons", type=Path, required=True, help="unpacked simple-icons")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs without marks")
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    if args.step == "build":
        _build(args.icons, args.photos)
    else:
        print(json.dumps(_measure(args.icons, args.photos, args.count), indent=1))


if __name__ == "__main__":
    main()
