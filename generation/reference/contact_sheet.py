"""Draw a sheet of prompts and what the model makes of them.

`python -m clearmark.generation.reference.contact_sheet --out docs/images/contact-sheet.png`
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from clearmark.generation.reference.catalogue import WEIGHTS
from clearmark.generation.reference.text import package_folder

PROMPTS = (
    "a red apple", "a green apple", "a banana", "a strawberry", "an ice cream cone", "a birthday cake",
    "a glass of beer", "a cup of coffee", "a cat", "a dog", "a yellow bird", "a fish",
    "a blue butterfly", "an insect", "a lion", "a horse", "a house", "a green tree",
    "a red flower", "a car", "a boat", "an airplane", "a yellow sun", "a smiley face",
    "a red heart", "a clock", "a folder", "a guitar", "the flag of france", "a blue and yellow flag",
    "a hat", "a pair of scissors", "a red ladybug", "a bee", "a pink flower", "a palm tree", "a sailing boat",
    "a red house", "an owl", "a duck", "an elephant", "a turtle", "a mouse", "a snail", "a pear",
    "a slice of pizza", "a loaf of bread", "a carrot", "a bus", "a bicycle", "a rocket", "a church",
    "a castle", "a chair", "a book", "a telephone", "a light bulb", "a key", "a hammer", "a football",
    "a trumpet", "a playing card", "a purple butterfly", "a sad smiley face",
)  # fmt: skip
COLUMNS, TILE, STRIP = 8, 160, 18


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet, eight pictures to a row, each above its prompt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("contact-sheet.png"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    options = parser.parse_args(arguments)

    from clearmark.generation.reference.pipeline import load_pipeline

    pipeline = load_pipeline(options.weights, package_folder() / "model")
    pictures: list[Image.Image] = []
    for start in range(0, len(PROMPTS), COLUMNS):
        prompts = list(PROMPTS[start : start + COLUMNS])
        pictures += _pictures(pipeline, prompts, start, options)
    sheet(pictures, PROMPTS).save(options.out, optimize=True)


def _pictures(
    pipeline: Any, prompts: list[str], first: int, options: argparse.Namespace
) -> list[Image.Image]:
    import torch

    # Every picture has the next seed, none was picked.
    generators = [torch.Generator().manual_seed(options.seed + first + i) for i in range(len(prompts))]
    made = pipeline(
        prompts, num_inference_steps=options.steps, guidance_scale=options.guidance, generator=generators
    )
    return list(made.images)


def sheet(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Lay `pictures` out in rows of eight with `captions` below them."""
    rows = -(-len(pictures) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + STRIP)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = index % COLUMNS * TILE, index // COLUMNS * (TILE + STRIP)
        canvas.paste(picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + TILE // 2, top + TILE + 1), caption, fill="black", font=font, anchor="ma")
    return canvas


if __name__ == "__main__":
    main()
