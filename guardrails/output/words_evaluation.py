"""Measure the guard `words`: `python -m clearmark.guardrails.output.words_evaluation --help`.

Brand names drawn from the list are written on pieces of photographs, in fonts of the folder, 3 to 16% of the
side high, turned by up to eight degrees, half of them on a plate, saved as JPEG of quality 75; and the pieces
are read as they are. Needs `rapidocr-onnxruntime`. What the guard says is counted at its own thresholds.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Finding, Request, Stage, Subject
from clearmark.guardrails._lists import list_lines
from clearmark.guardrails._names import key_of
from clearmark.guardrails.output._text import TextGuard
from clearmark.guardrails.output.overlay_evaluation import pieces
from clearmark.guardrails.prompt.evaluation import interval

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Written", "main", "names", "write_on"]

_SIDE = 512
_HEIGHTS = ((16, 24), (24, 40), (40, 80))
"""Pixels of a capital letter with what is above and below it, on a side of 512."""


@dataclass(frozen=True)
class Written:
    """A picture with a name on it."""

    picture: Image
    name: str
    height: int
    font: str


def names(*, doubtful: bool) -> list[str]:
    """Return the names of the list that Latin letters write, those that are everyday words or the others."""
    found = (line for _, line in list_lines("trademark", "brands.txt"))
    chosen = {line.lstrip("?") for line in found if line.startswith("?") is doubtful}
    return sorted(name for name in chosen if name.isascii() and 4 <= len(key_of(name)) <= 20)


def write_on(picture: Image, name: str, font: Path, height: int, draw: random.Random) -> tuple[Image, int]:
    """Return the picture with the name on it, in a colour that can be told from what is below; its height.

    A name that does not fit is written smaller.
    """
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    face = PIL.ImageFont.truetype(str(font), height)
    left, top, right, bottom = face.getbbox(name)
    while right - left > 0.9 * picture.width:
        face = PIL.ImageFont.truetype(str(font), round(face.size * 0.8))
        left, top, right, bottom = face.getbbox(name)
    edge = round(face.size / 3)
    size = (round(right - left) + 2 * edge, round(bottom - top) + 2 * edge)
    text = PIL.Image.new("L", size, 0)
    PIL.ImageDraw.Draw(text).text((edge - left, edge - top), name, fill=255, font=face)
    plate = PIL.Image.new("L", size, 255 if draw.random() < 0.5 else 0)
    turn = draw.uniform(-8, 8)
    text, plate = (mask.rotate(turn, PIL.Image.Resampling.BICUBIC, expand=True) for mask in (text, plate))
    out = picture.copy()
    x = draw.randint(0, max(0, out.width - text.width))
    y = draw.randint(0, max(0, out.height - text.height))
    below = out.convert("L").crop((x, y, x + text.width, y + text.height)).resize((1, 1)).getpixel((0, 0))
    light = isinstance(below, int | float) and below < 128
    ink = tuple(draw.randint(190, 255) if light else draw.randint(0, 65) for _ in range(3))
    ground = tuple(draw.randint(0, 40) if light else draw.randint(215, 255) for _ in range(3))
    out.paste(ground, (x, y), plate)
    out.paste(ink, (x, y), text)
    return out, round(face.size)


def _subject(picture: Image) -> Subject:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75)
    asset = Asset(data=stream.getvalue(), media_type="image/jpeg", width=picture.width, height=picture.height)
    return Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)


def _over(findings: Sequence[Finding]) -> set[str]:
    return {one.category for one in findings if one.score >= (one.threshold or 0.5)}


def _written(photos: Sequence[Image], fonts: Path, count: int, *, doubtful: bool) -> Iterator[Written]:
    draw = random.Random(21 + doubtful)  # noqa: S311  a sample, not a secret
    faces = sorted(path for path in fonts.rglob("*") if path.suffix in {".ttf", ".otf"})
    for number, name in enumerate(draw.sample(names(doubtful=doubtful), count)):
        height = draw.randrange(*_HEIGHTS[number % len(_HEIGHTS)])
        font = faces[number % len(faces)]
        photo = photos[number % len(photos)]
        picture, written = write_on(photo, name, font, height, draw)
        yield Written(picture, name, written, font.name)


def _found(guard: TextGuard, written: Sequence[Written]) -> dict[str, Any]:
    """Return how many of the names were read as brands, and as the right one, also by height."""
    rows = []
    for one in written:
        (findings,) = guard.check([_subject(one.picture)])
        mark = next(finding for finding in findings if finding.category == "trademark")
        match = mark.evidence.match if mark.score >= (mark.threshold or 0.5) else None
        right = match is not None and key_of(match.item) == key_of(one.name)
        rows.append((one, "trademark" in _over(findings), right))
    out: dict[str, Any] = {
        "any brand": _share([any_brand for _, any_brand, _ in rows]),
        "the right brand": _share([right for _, _, right in rows]),
    }
    for low, high in _HEIGHTS:
        own = [right for one, _, right in rows if low <= one.height < high]
        out[f"the right brand, {low} to {high} pixels"] = _share(own)
    return out


def _share(held: Sequence[bool]) -> dict[str, Any]:
    low, high = interval(sum(held), len(held))
    return {
        "share": round(sum(held) / max(1, len(held)), 4),
        "interval": [round(low, 4), round(high, 4)],
        "of": len(held),
    }


_KINDS = ("alarms", "names", "everyday words")


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photos", type=Path, required=True, nargs="+", help="folders of photographs without words"
    )
    parser.add_argument("--fonts", type=Path, required=True, help="a folder of .ttf and .otf files")
    parser.add_argument("--each", type=int, default=2, help="pieces of each photograph")
    parser.add_argument("--count", type=int, default=100, help="pieces, and names of each kind")
    parser.add_argument(
        "--only", nargs="+", choices=_KINDS, default=_KINDS, help="pieces as they are, names, doubtful names"
    )
    args = parser.parse_args()
    every = list(chain.from_iterable(pieces(folder, args.each, _SIDE) for folder in args.photos))
    photos = list(islice(every[:: max(1, len(every) // args.count)], args.count))
    guard = TextGuard()
    document: dict[str, Any] = {}
    if "alarms" in args.only:
        began = time.process_time()
        alarms = [_over(guard.check([_subject(photo)])[0]) for photo in photos]
        document["pieces of photographs"] = {
            "processor ms a piece": round((time.process_time() - began) * 1000 / max(1, len(photos)), 1),
            "trademark": _share(["trademark" in one for one in alarms]),
            "any category": _share([bool(one) for one in alarms]),
        }
    for kind, doubtful in (("names", False), ("everyday words", True)):
        if kind in args.only:
            document[kind] = _found(guard, list(_written(photos, args.fonts, args.count, doubtful=doubtful)))
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
