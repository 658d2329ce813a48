"""Measure the guard of overlays: `python -m clearmark.guardrails.output.overlay_evaluation --photos DIR`.

Pieces of photographs, each as it is and with words laid over it as agencies do: repeated, turned, white or
dark, seen through. Saved as JPEG of quality 75. The strength that a share of the plain pieces reaches is
printed beside the share of marked ones that reach it.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.guardrails._media import read_rgb
from clearmark.guardrails.output._overlay import LIMIT, _grey, overlay_strength

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["lay_over", "main", "pieces"]

_WORDS = ("sample", "preview", "stock photo", "agency", "do not copy", "imagebank", "comp", "licensed only")


def pieces(folder: Path, each: int, side: int = 512) -> Iterator[Image]:
    """Yield `each` pieces of every photograph of `folder`, none of them overlapping another."""
    import PIL.Image

    draw = random.Random(5)  # noqa: S311  a sample, not a secret
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".webp"}):
        picture = PIL.Image.open(path).convert("RGB")
        across, down = (3, 2) if picture.width >= picture.height else (2, 3)
        cells = [(x, y) for x in range(across) for y in range(down)]
        draw.shuffle(cells)
        size = min(picture.width // across, picture.height // down)
        for x, y in cells[:each]:
            left, top = x * picture.width // across, y * picture.height // down
            cut = picture.crop((left, top, left + size, top + size))
            yield cut.resize((side, side), PIL.Image.Resampling.LANCZOS)


def lay_over(picture: Image, draw: random.Random) -> Image:
    """Return `picture` with a word repeated over it, turned, seen through by 60 to 85%."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    side = 2 * max(picture.size)
    layer = PIL.Image.new("L", (side, side), 0)
    pen = PIL.ImageDraw.Draw(layer)
    font = PIL.ImageFont.load_default(draw.randint(16, 34))
    word = draw.choice(_WORDS)
    wide = round(pen.textlength(word, font=font)) + draw.randint(20, 70)
    high, shift = draw.randint(50, 110), draw.choice([0, 0.5])
    for number, y in enumerate(range(0, side, high)):
        for x in range(-wide, side, wide):
            pen.text((x + round(shift * wide) * (number % 2), y), word, fill=255, font=font)
    layer = layer.rotate(draw.choice([0, 20, 30, 35, 45, -30]), PIL.Image.Resampling.BICUBIC)
    left = (side - picture.width) // 2
    layer = layer.crop((left, left, left + picture.width, left + picture.height))
    strength = draw.uniform(0.15, 0.40)
    mask = layer.point(lambda value: round(value * strength))
    out = picture.copy()
    out.paste(draw.choice([(255, 255, 255), (255, 255, 255), (30, 30, 30)]), (0, 0), mask)
    return out


def _strength(picture: Image) -> float:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75)
    return overlay_strength(_grey(read_rgb(stream.getvalue())))


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs without marks")
    parser.add_argument("--each", type=int, default=4, help="pieces of each")
    args = parser.parse_args()
    draw = random.Random(9)  # noqa: S311
    plain, marked = [], []
    for piece in pieces(args.photos, args.each):
        plain.append(_strength(piece))
        marked.append(_strength(lay_over(piece, draw)))
    ranked = sorted(plain, reverse=True)
    edge = ranked[min(len(ranked) - 1, len(ranked) // 100)]
    print(
        json.dumps(
            {
                "pieces": len(plain),
                "alarms at the limit": sum(one >= LIMIT for one in plain) / len(plain),
                "found at the limit": sum(one >= LIMIT for one in marked) / len(marked),
                "strength that 1% of the pieces exceed": edge,
                "found above it": sum(one > edge for one in marked) / len(marked),
                "strongest plain pieces": [round(one, 3) for one in ranked[:8]],
                "weakest tenth of the marked": sorted(marked)[len(marked) // 10],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
