"""Build and measure the index of logos: `python -m clearmark.guardrails.trademark.logos STEP ...`.

`build --icons DIR --photos DIR` renders every SVG of simple-icons (by `resvg-py`) and learns from pieces of
the photographs (and of the drawings in `--clipart`) what is usual for each mark. `fit`, with the same
options, weighs marks pasted into them against what only looks like one. `measure` pastes 300 other draws into
photographs (15 to 40% of the side, turned by up to 15 degrees, JPEG of quality 50) and counts false alarms on
them as they are: give it folders that the other two have not seen. `measure --part 2/7` does a seventh of
that and prints it raw; `sum` puts such parts together.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.optional import import_optional
from clearmark.guardrails._shipping import ship
from clearmark.guardrails.trademark import _logos
from clearmark.guardrails.trademark._logos import LogoIndex, Weights, candidates, find_logos
from clearmark.guardrails.trademark._regions import regions
from clearmark.guardrails.trademark._shapes import ANGLES, FEATURES, embed, framed, unit

__all__ = ["main"]

_FILE = Path(__file__).parents[1] / "models" / "weights" / "logo-shapes.npz"
_KINDS = {".jpg", ".png", ".webp"}
_SIDE = 512
_DIMENSIONS = 96
_RARE = 0.001  # share of the regions of ordinary pictures that reach what is usual for a mark
_ALARMS = 0.008  # share of the pictures that the limit was set on, by models that had not seen them
_SIGNS = (1, 1, 1, -1, -1, 1, 1, 1, 1, 1, -1, 1)  # of `FEATURES`: an odd, sharp, even, large shape is a mark
_HELD = 1  # seed of what is measured: other marks, sizes and places than those that were fitted on


def _render(path: Path, side: int) -> Any:
    """Return the silhouette of an SVG as a mask [side, side], 0 or 255."""
    import numpy as np
    import PIL.Image

    resvg = import_optional("resvg_py", pip="pip install resvg-py")
    data = bytes(resvg.svg_to_bytes(svg_path=str(path), width=side, height=side))
    alpha = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGBA"))[:, :, 3]
    return ((alpha > 127) * 255).astype(np.uint8)


def _icons(folder: Path) -> list[tuple[str, Path]]:
    out = []
    for row in json.loads((folder / "data" / "simple-icons.json").read_bytes()):
        path = folder / "icons" / f"{row.get('slug') or _slug(row['title'])}.svg"
        if path.is_file():
            out.append((str(row["title"]), path))
    return out


@dataclass(frozen=True)
class _Piece:
    """A part of a picture, by shares of its size: left, top, right, bottom."""

    path: Path
    box: tuple[float, float, float, float]

    def read(self) -> Any:
        """Return it as 512 x 512, what is clear on white."""
        import numpy as np
        import PIL.Image

        stored = PIL.Image.open(self.path)
        stored.draft("RGB", (1800, 1800))
        clear = stored.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
        left, top, right, bottom = self.box
        width, height = picture.size
        cut = picture.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))
        return np.asarray(cut.resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS))


def _pieces(folder: Path, each: int, seed: int) -> Iterator[_Piece]:
    """Yield `each` square pieces of every picture, none overlapping another."""
    import PIL.Image

    draw = random.Random(seed)  # noqa: S311  a sample, not a secret
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _KINDS):
        try:
            width, height = PIL.Image.open(path).size
        except (OSError, ValueError):
            continue
        if min(width, height) < 300:
            continue
        across, down = (3, 2) if width >= height else (2, 3)
        if width >= 1.8 * height and each <= 2:
            across, down = 2, 1
        cells = [(x, y) for x in range(across) for y in range(down)]
        draw.shuffle(cells)
        for x, y in cells[:each]:
            side = min(width / across, height / down) * draw.uniform(0.8, 1)
            left = x * width / across + draw.uniform(0, width / across - side)
            top = y * height / down + draw.uniform(0, height / down - side)
            yield _Piece(path, (left / width, top / height, (left + side) / width, (top + side) / height))


def _drawings(folder: Path, count: int) -> Iterator[Any]:
    """Yield `count` drawings, whole on a plain ground; what is a mark or a sign itself is left out."""
    import numpy as np
    import PIL.Image

    draw = random.Random(4)  # noqa: S311
    paths = sorted(
        path
        for path in folder.rglob("*.png")
        if not {"logos", "signs_and_symbols", "geography", "shapes"} & set(path.parts)
    )
    for path in draw.sample(paths, min(count, len(paths))):
        try:
            picture = PIL.Image.open(path).convert("RGBA")
        except (OSError, ValueError):
            continue
        picture.thumbnail((_SIDE - 32, _SIDE - 32))
        ground = draw.choice([(255, 255, 255, 255), (240, 235, 220, 255), (200, 220, 240, 255)])
        canvas = PIL.Image.new("RGBA", (_SIDE, _SIDE), ground)
        canvas.alpha_composite(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
        yield np.asarray(canvas.convert("RGB"))


def _build(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    icons = _icons(options.icons)
    names = tuple(name for name, _ in icons)
    shapes = np.stack([framed(_render(path, 256)) > 127 for _, path in icons])
    rows = unit(embed([shape.astype(np.uint8) * 255 for shape in shapes]))
    _, _, axes = np.linalg.svd(rows[:: max(1, len(rows) // 2000)], full_matrices=False)
    basis = axes[:_DIMENSIONS].T.astype(np.float16).astype(np.float32)
    index = LogoIndex(names, shapes, np.zeros(len(names), np.float32), basis=basis)
    _, plain = _plain(options)
    index.usual, seen = _usual(index, plain)
    _write(index, shapes, Weights.none())
    return {"marks": len(names), "all pictures": len(plain), "regions": seen}


def _plain(options: argparse.Namespace) -> tuple[list[Any], list[Any]]:
    """Return pieces of the photographs, and these with some drawings."""
    photos = [piece.read() for piece in _pieces(options.photos, options.each, seed=11)]
    return photos, photos + (list(_drawings(options.clipart, 80)) if options.clipart else [])


def _write(index: LogoIndex, shapes: Any, weights: Weights) -> dict[str, Any]:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.frombuffer("\n".join(index.names).encode(), dtype=np.uint8),
        shapes=np.packbits(shapes.reshape(len(index), -1), axis=1),
        usual=index.usual.astype(np.float16),
        basis=np.asarray(index.basis).astype(np.float16),
        mean=weights.mean,
        scale=weights.scale,
        weights=np.append(weights.weights, np.float32(weights.bias)),
    )
    data = buffer.getvalue()
    return {"size": len(data), "sha256": ship("logo-shapes", "models/weights/logo-shapes.npz", data)}


def _usual(index: LogoIndex, pictures: list[Any]) -> tuple[Any, int]:
    """Return for each mark the likeness that one region in a thousand reaches, and the number of regions."""
    import numpy as np

    top = np.zeros((100, len(index)), dtype=np.float32)
    seen = 0
    for picture in pictures:
        found = regions(picture)
        if found:
            likeness = index.likenesses(_logos.turned(found)).reshape(len(found), len(ANGLES), -1).max(axis=1)
            both = np.concatenate([top, likeness])
            top = np.partition(both, len(both) - 100, axis=0)[-100:]
            seen += len(found)
    ranked = np.sort(top, axis=0)[::-1]
    return ranked[min(99, int(_RARE * seen))].astype(np.float16).astype(np.float32), seen


def _fit(options: argparse.Namespace) -> dict[str, Any]:
    """Fit the model on pasted marks against candidates of pictures without; set the limit across folds."""
    import numpy as np

    index, _ = _logos.read_index(_FILE.read_bytes())
    icons = _icons(options.icons)
    photos, plain = _plain(options)
    rows, group = _of_plain(index, plain)
    truth = [0] * len(rows)
    marks = _of_pasted(index, [path for _, path in icons], photos, options.count)
    rows, truth, group = rows + marks, truth + [1] * len(marks), group + [-1] * len(marks)
    x, y, g = np.stack(rows), np.array(truth), np.array(group)
    folds = np.where(g >= 0, g % 5, np.arange(len(g)) % 5)
    odds = np.zeros(len(x), dtype=np.float32)
    for fold in range(5):
        held = folds == fold
        odds[held] = _weighed(x[~held], y[~held]).log_odds(x[held])
    worst = np.full(len(plain), -99.0)
    np.maximum.at(worst, g[g >= 0], odds[g >= 0])
    limit = float(np.sort(worst)[::-1][int(_ALARMS * len(plain))]) + 1e-3
    whole = _weighed(x, y)
    shapes = np.stack([np.unpackbits(np.frombuffer(index.bits(at), np.uint8)) for at in range(len(index))])
    done = _write(index, shapes, Weights(whole.mean, whole.scale, whole.weights, whole.bias - limit))
    return {
        "photographs' pieces": len(photos),
        "all pictures": len(plain),
        "pasted": options.count,
        "pasted that were a candidate": len(marks),
        "found across folds": float((odds[y == 1] > limit).sum()) / options.count,
        "limit": limit,
        "weights": dict(zip(FEATURES, [round(float(w), 3) for w in whole.weights], strict=True)),
        **done,
    }


def _of_plain(index: LogoIndex, plain: list[Any]) -> tuple[list[Any], list[int]]:
    """Return the features of all candidates in pictures without marks, and each one's picture."""
    rows, group = [], []
    for number, picture in enumerate(plain):
        for one in candidates(picture, index):
            rows.append(one.features)
            group.append(number)
    return rows, group


def _of_pasted(index: LogoIndex, paths: list[Path], photos: list[Any], count: int) -> list[Any]:
    """Return the features of pasted marks where they were among the candidates."""
    draw = random.Random(7)  # noqa: S311
    rows = []
    for _ in range(count):
        mark = draw.randrange(len(index))
        picture, place = _paste(draw.choice(photos), _render(paths[mark], 256), draw)
        rows += [c.features for c in candidates(picture, index) if c.mark == mark and _on(c.box, place)][:1]
    return rows


def _weighed(x: Any, y: Any) -> Weights:
    """Fit by those features that speak for a mark in the way that they should: the rest is chance."""
    import numpy as np

    linear = import_optional("sklearn.linear_model", pip="pip install scikit-learn")
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    rows = np.clip((x - mean) / scale, -6, 6)
    used = np.ones(len(FEATURES), dtype=bool)
    while True:
        model = linear.LogisticRegression(C=0.3, max_iter=2000, class_weight="balanced")
        model.fit(rows[:, used], y)
        weights = np.zeros(len(FEATURES), dtype=np.float32)
        weights[used] = model.coef_[0]
        wrong = weights * np.array(_SIGNS, dtype=np.float32) < 0
        if not wrong.any():
            return Weights(mean, scale, weights, float(model.intercept_[0]))
        used &= ~wrong


def _on(box: Any, place: tuple[int, int, int, int]) -> bool:
    x, y, w, h = place
    across = abs(box.x + box.width / 2 - x - w / 2)
    return bool(across < 0.3 * w and abs(box.y + box.height / 2 - y - h / 2) < 0.3 * h)


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


def _paste(photo: Any, mask: Any, draw: random.Random) -> tuple[Any, tuple[int, int, int, int]]:
    """Return the photograph with a mark in one colour, half of the time on a plate, and where it is."""
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
    return np.asarray(PIL.Image.open(out).convert("RGB")), (x, y, shape.width, shape.height)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return what is found in photographs as they are, and in those with a mark pasted into them."""
    draw = random.Random(_HELD)  # noqa: S311
    icons = _icons(options.icons)
    clean = [piece for folder in options.photos for piece in _pieces(folder, options.each, seed=12)]
    number, of = options.part
    alarms = [_hits(piece.read()) for piece in clean[number::of]]
    pasted = []
    drawn = draw.sample(icons, min(options.count, len(icons)))
    for place, (name, path) in enumerate(drawn):
        if place % of == number:
            own = random.Random(place)  # noqa: S311  the same in whichever part it is done
            picture, _ = _paste(own.choice(clean).read(), _render(path, 256), own)
            pasted.append((name, _hits(picture)))
    return {"alarms": alarms, "pasted": pasted}


def _summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    alarms = [one for part in parts for one in part["alarms"]]
    pasted = [(name, found) for part in parts for name, found in part["pasted"]]
    worst = sorted((max(one.values(), default=0.0) for one in alarms), reverse=True)
    return {
        "marks in the index": len(_logos.logo_index()),
        "photographs' pieces": len(alarms),
        "pasted": len(pasted),
        "by limit": {
            f"{limit:g}": {
                "alarms": _share([any(score >= limit for score in one.values()) for one in alarms]),
                "the right mark found": _share([found.get(name, 0.0) >= limit for name, found in pasted]),
                "any mark found": _share(
                    [any(score >= limit for score in found.values()) for _, found in pasted]
                ),
            }
            for limit in (0.2, 0.35, 0.5, 0.65, 0.8)
        },
        "strongest alarms": [round(score, 3) for score in worst[:10]],
    }


def _hits(picture: Any) -> dict[str, float]:
    return {hit.name: hit.score for hit in find_logos(picture, least=0.05)}


def _share(held: list[bool]) -> dict[str, Any]:
    """Return a share with Wilson's interval at 95%."""
    n, p, z = max(1, len(held)), sum(held) / max(1, len(held)), 1.96
    middle, reach = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((middle + sign * reach) / (1 + z * z / n) for sign in (-1, 1))
    return {"share": round(p, 4), "interval": [round(max(0.0, low), 4), round(min(1.0, high), 4)], "of": n}


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("build", "fit"):
        step = steps.add_parser(name)
        step.add_argument("--icons", type=Path, required=True, help="unpacked simple-icons")
        step.add_argument("--photos", type=Path, required=True, help="a folder of photographs without marks")
        step.add_argument("--clipart", type=Path, help="a folder of PNG drawings, such as openclipart's")
        step.add_argument("--each", type=int, default=2, help="pieces of each photograph")
        step.add_argument("--count", type=int, default=150, help="marks to paste")
    measure = steps.add_parser("measure")
    measure.add_argument("--icons", type=Path, required=True, help="unpacked simple-icons")
    measure.add_argument(
        "--photos", type=Path, required=True, nargs="+", help="folders that build has not seen"
    )
    measure.add_argument("--each", type=int, default=2, help="pieces of each photograph")
    measure.add_argument("--count", type=int, default=300, help="marks to paste")
    measure.add_argument(
        "--part", type=_part, default=(0, 1), help="2/7: the second of seven parts alone, raw"
    )
    total = steps.add_parser("sum", help="the figures of parts that `measure --part` printed")
    total.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    if options.step == "build":
        done = _build(options)
    elif options.step == "fit":
        done = _fit(options)
    elif options.step == "sum":
        done = _summed([json.loads(file.read_bytes()) for file in options.files])
    else:
        done = _measure(options)
        if options.part == (0, 1):
            done = _summed([done])
    print(json.dumps(done, indent=1 if "by limit" in done or options.step in {"build", "fit"} else None))


def _part(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError("such as 2/7")
    return int(number) - 1, int(of)


if __name__ == "__main__":
    main()
