"""How often a mark in the initial noise is found again: `clearmark bench latent`.

Pictures are made from marked noise by the reference model or a pipeline folder, without guards and without
other layers; then they are attacked, inverted without their prompt and without guidance, and their mark is
looked for. Three figures for each attack: how often the picture's own id is identified when only it is on
record; how often among ten thousand on record; how often all 64 bits are read with nothing on record. False
alarms are counted on pictures that the same model makes from plain noise; by design they are at most one in a
million.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clearmark.core import Request
from clearmark.core.errors import Error, UsageError
from clearmark.core.pixels import open_image
from clearmark.generation import create
from clearmark.provenance.watermark import get_codec
from clearmark.provenance.watermark.latent import FALSE_ALARMS, LatentWatermark, chance

if TYPE_CHECKING:
    from PIL.Image import Image

    from clearmark.sdk.latent import LatentReader

__all__ = ["ATTACKS", "PROMPTS", "main", "measure"]

PROMPTS = (
    "a red apple", "a blue car", "a green tree", "a smiling sun", "a cat", "a house with a red roof",
    "a fish",
    "a yellow star", "a flower in a pot", "a dog", "a ship on the sea", "a clock", "a bird", "a mountain",
    "a cup of coffee", "a golden key",
)  # fmt: skip
ON_RECORD = 10_000
KEY = b"clearmark bench latent"


def _jpeg(picture: Image, quality: int) -> Image:
    from PIL import Image as Images

    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Images.open(out).convert("RGB")


def _scaled(picture: Image, factor: float) -> Image:
    return picture.resize((round(picture.width * factor), round(picture.height * factor)))


def _noisy(picture: Image, sigma: float) -> Image:
    from PIL import Image as Images

    rng = np.random.default_rng(picture.width)
    values = np.asarray(picture, np.float32) + rng.normal(0, sigma, (picture.height, picture.width, 3))
    return Images.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _blurred(picture: Image, sigma: float) -> Image:
    from PIL import ImageFilter

    return picture.filter(ImageFilter.GaussianBlur(sigma))


def _brighter(picture: Image, factor: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(picture).enhance(factor)


def _middle(picture: Image, share: float) -> Image:
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _turned(picture: Image, degrees: float) -> Image:
    from PIL import Image as Images
    from PIL import ImageOps

    if not degrees:
        return ImageOps.mirror(picture)
    return picture.rotate(degrees, resample=Images.Resampling.BILINEAR, fillcolor="white")


def _watermarked(picture: Image) -> Image:
    from PIL import Image as Images

    marked = get_codec("auto").embed([np.asarray(picture)], ["0123456789abcdef"])[0]
    return Images.fromarray(marked.pixels)


ATTACKS: Mapping[str, Callable[[Image], Image]] = {
    "none": lambda picture: picture,
    "pixel watermark": _watermarked,
    "JPEG 70": lambda picture: _jpeg(picture, 70),
    "JPEG 50": lambda picture: _jpeg(picture, 50),
    "half and back": lambda picture: _scaled(_scaled(picture, 0.5), 2),
    "blur 1.5": lambda picture: _blurred(picture, 1.5),
    "noise 10": lambda picture: _noisy(picture, 10),
    "brightness 1.3": lambda picture: _brighter(picture, 1.3),
    "flip": lambda picture: _turned(picture, 0),
    "crop 90%": lambda picture: _middle(picture, 0.9),
    "crop 75%": lambda picture: _middle(picture, 0.75),
    "rotate 5": lambda picture: _turned(picture, 5),
}


def measure(
    *, backend: str = "reference", pictures: int = 32, guidance: float | None = None, side: int | None = None
) -> dict[str, Any]:
    """Make, attack and look again; return rates and scores.

    Raises:
        UsageError: a backend whose sampler cannot be started from given noise.
    """
    from clearmark.sdk.latent import LatentMarker, LatentReader

    generator: Any = create(backend)
    if not getattr(generator, "takes_noise", False):
        raise UsageError(f"{backend} takes no initial noise", hint="reference, or diffusers:FOLDER")
    ids = [f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in range(1, pictures + 1)]
    others = [f"{number * 0xD1342543DE82EF95 % 2**64:016x}" for number in range(1, ON_RECORD)]
    marker, reader = LatentMarker(KEY), LatentReader(KEY, [generator])
    requests = [
        Request(PROMPTS[n % len(PROMPTS)], seed=n, guidance=guidance, width=side, height=side)
        for n in range(pictures)
    ]
    start = time.perf_counter()
    made = generator.generate_from(requests, [[marker.noise(one)] for one in ids])
    making = (time.perf_counter() - start) / pictures
    marked = [open_image(row[0].data).convert("RGB") for row in made]
    plain = [open_image(row[0].data).convert("RGB") for row in generator.generate(requests)]
    rows = {}
    for name, attack in ATTACKS.items():
        found = [_look(reader, attack(one), mark, others) for one, mark in zip(marked, ids, strict=True)]
        rows[name] = _summary(found)
    alarms = [_look(reader, one, mark, others) for one, mark in zip(plain, ids, strict=True)]
    return {
        "bench": "latent",
        "backend": backend,
        "model": {"id": generator.model.id, "digest": generator.model.digest},
        "guidance": generator.defaults.guidance if guidance is None else guidance,
        "shape": list(generator.invert(marked[:1]).shape[1:]),
        "pictures": pictures,
        "false_alarms_by_design": FALSE_ALARMS,
        "machine": platform.machine(),
        "generate_s": round(making, 3),
        "attacks": rows,
        "unmarked": _summary(alarms),
    }


def _look(reader: LatentReader, picture: Image, mark_id: str, others: list[str]) -> dict[str, Any]:
    start = time.perf_counter()
    estimates = reader.estimates(picture)
    seconds = time.perf_counter() - start
    share = FALSE_ALARMS / sum(map(len, estimates))
    row: dict[str, Any] = {"alone": False, "among": False, "read": False, "wrong": False, "seconds": seconds}
    row |= {"score": 0.0, "signs": 0.5}
    for noises in estimates:
        mark = LatentWatermark(noises[0].shape, KEY)
        best = mark.identify(noises, [mark_id], false_alarms=math.inf)
        if best is not None and best.score > row["score"]:
            row |= {"score": best.score, "signs": best.confidence}
        row["alone"] |= best is not None and chance(best.score) <= share
        among = mark.identify(noises, [mark_id, *others], false_alarms=share * len(noises))
        read = [found.mark_id for noise in noises if (found := mark.read(noise)) is not None]
        row["among"] |= among is not None and among.mark_id == mark_id
        row["read"] |= mark_id in read
        row["wrong"] |= bool(set(read) - {mark_id}) or (among is not None and among.mark_id != mark_id)
    return row


def _summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    count = len(found)
    return {
        "tpr_at_1e-6": round(sum(one["alone"] for one in found) / count, 4),
        "tpr_at_1e-6_among_10000": round(sum(one["among"] for one in found) / count, 4),
        "read_blind": round(sum(one["read"] for one in found) / count, 4),
        "wrong_id": sum(one["wrong"] for one in found),
        "score_mean": round(statistics.mean(one["score"] for one in found), 2),
        "score_min": round(min(one["score"] for one in found), 2),
        "signs_right": round(statistics.mean(one["signs"] for one in found), 4),
        "look_s": round(statistics.median(one["seconds"] for one in found), 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print (`--json`: one document); 1 when an unmarked picture was called marked."""
    parser = argparse.ArgumentParser(prog="clearmark bench latent", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", default="reference")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--side", type=int, help="pixels; the model's usual size without it")
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    report = measure(
        backend=options.backend, pictures=options.pictures, guidance=options.guidance, side=options.side
    )
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print(report)
    unmarked = report["unmarked"]
    return 1 if unmarked["tpr_at_1e-6"] or unmarked["wrong_id"] else 0


def _print(report: Mapping[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = (
        f"Marks in the initial noise {tuple(report['shape'])} of {report['model']['id']}, guidance "
        f"{report['guidance']}, {report['pictures']} pictures"
    )
    table = Table(title=title, box=box.SIMPLE_HEAD)
    names = ("tpr_at_1e-6", "tpr_at_1e-6_among_10000", "read_blind", "score_mean", "score_min", "signs_right")
    for name in ("attack", *names, "wrong_id", "look_s"):
        table.add_column(name.replace("_", " "), justify="left" if name == "attack" else "right")
    for attack, row in [*report["attacks"].items(), ("(unmarked)", report["unmarked"])]:
        table.add_row(attack, *(str(row[name]) for name in (*names, "wrong_id", "look_s")))
    Console().print(table)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Error as failed:
        sys.exit(failed.diagnostics())
