"""What the guards of pictures cost: each of them and all together, beside peers on the same pictures."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from clearmark.core import Asset, Guard, Request, Stage, Subject
from clearmark.guardrails import default_guards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["measure_pictures", "print_pictures"]

_SIDE = 512
_REPEATS = 3


def measure_pictures(folder: Path | None, count: int, *, peers: bool) -> dict[str, Any]:
    """Return processor milliseconds a picture of 512 x 512, by guard, in one batch; and of the peers."""
    from clearmark.guardrails._media import read_rgb, shared_pixels

    subjects = list(_subjects(folder, count))
    guards = [guard for guard in default_guards() if Stage.OUTPUT in guard.stages]
    rows: list[dict[str, Any]] = []
    with shared_pixels():  # as in a run of guards: the first to ask decodes, here before any is timed
        for guard in guards:
            guard.check(subjects)
        rows.extend(
            {"guard": guard.name, "ms": _milliseconds(_call(guard, subjects), len(subjects))}
            for guard in guards
        )
    data = [subject.asset.data for subject in subjects if subject.asset is not None]
    decoding = _milliseconds(lambda: [read_rgb(one) for one in data], len(data))
    return {
        "pictures": len(subjects),
        "from": "a folder" if folder else "drawn",
        "guards": [{"guard": "decoding, once for all", "ms": decoding}, *rows],
        "sum_ms": decoding + sum(row["ms"] for row in rows),
        "peers": _peers(subjects) if peers else [],
    }


def print_pictures(document: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console()
    title = f"Pictures of 512 x 512, batch of {document['pictures']} ({document['from']}), processor time"
    table = Table("guard", "ms a picture", title=title)
    for row in document["guards"]:
        table.add_row(row["guard"], f"{row['ms']:.1f}")
    table.add_row("all default output guards", f"{document['sum_ms']:.1f}")
    for row in document["peers"]:
        told = f"{row['ms']:.1f} ({document['sum_ms'] / row['ms']:.2f} of it)" if row["installed"] else "-"
        table.add_row(f"peer: {row['peer']}", told)
    console.print(table)


def _call(guard: Guard, subjects: Sequence[Subject]) -> Callable[[], object]:
    return lambda: guard.check(subjects)


def _milliseconds(call: Callable[[], object], count: int) -> float:
    """Return the least of some runs: what else the machine does is not the guard's time."""
    spent = []
    for _ in range(_REPEATS):
        began = time.process_time()
        call()
        spent.append((time.process_time() - began) * 1000 / count)
    return min(spent)


def _subjects(folder: Path | None, count: int) -> Iterator[Subject]:
    import numpy as np
    import PIL.Image

    made = _read(folder, count) if folder else _drawn(count)
    for pixels in made:
        out = io.BytesIO()
        PIL.Image.fromarray(np.asarray(pixels)).save(out, "PNG")
        asset = Asset(data=out.getvalue(), media_type="image/png", width=_SIDE, height=_SIDE)
        yield Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)


def _read(folder: Path, count: int) -> Iterator[NDArray[np.uint8]]:
    import numpy as np
    import PIL.Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".webp"})
    for path in paths[:: max(1, len(paths) // count)][:count]:
        picture = PIL.Image.open(path).convert("RGB")
        side = min(picture.size)
        yield np.asarray(picture.crop((0, 0, side, side)).resize((_SIDE, _SIDE)))


def _drawn(count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield clouds of the spectrum that photographs have, with some plain shapes before them."""
    import cv2
    import numpy as np

    draw = np.random.default_rng(7)
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None]) + 1 / _SIDE
    for _ in range(count):
        waves = draw.normal(size=(3, *frequency.shape)) + 1j * draw.normal(size=(3, *frequency.shape))
        clouds = np.fft.irfft2(waves / frequency**1.2, (_SIDE, _SIDE)).transpose(1, 2, 0)
        pixels = np.ascontiguousarray(np.clip(128 + 45 * clouds / clouds.std(), 0, 255).astype(np.uint8))
        for _ in range(12):
            x, y, r = (int(value) for value in draw.integers(20, _SIDE - 20, 3))
            colour = tuple(int(value) for value in draw.integers(0, 256, 3))
            cv2.ellipse(pixels, (x, y), (8 + r // 8, 8 + r // 16), int(r), 0, 360, colour, -1)
        yield pixels


def _peers(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    name = "diffusers' safety checker (CLIP ViT-L/14, random weights)"
    if find_spec("diffusers") and find_spec("transformers"):
        out.append({"peer": name, "installed": True, "ms": _safety_checker(subjects)})
    else:
        out.append({"peer": name, "installed": False})
    if find_spec("nudenet"):
        out.append({"peer": "NudeNet", "installed": True, "ms": _nudenet(subjects)})
    else:
        out.append({"peer": "NudeNet", "installed": False})
    return out


def _pixels(subjects: Sequence[Subject]) -> list[NDArray[np.uint8]]:
    from clearmark.guardrails._media import read_rgb

    return [read_rgb(subject.asset.data) for subject in subjects if subject.asset is not None]


def _safety_checker(subjects: Sequence[Subject]) -> float:
    import numpy as np
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    # The sizes of the checkpoint that the pipelines load; what a random network says does not matter here.
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "patch_size": 14, "image_size": 224, "projection_dim": 768,
    }  # fmt: skip
    config = CLIPConfig(vision_config=vision, projection_dim=768)
    checker = StableDiffusionSafetyChecker(config).eval()
    prepare = CLIPImageProcessor()
    pictures = _pixels(subjects)[:4]

    def call() -> None:
        put = prepare(pictures, return_tensors="pt").pixel_values
        with torch.inference_mode():
            checker(clip_input=put, images=[np.asarray(one, dtype=np.float32) / 255 for one in pictures])

    return _milliseconds(call, len(pictures))


def _nudenet(subjects: Sequence[Subject]) -> float:
    detector = import_module("nudenet").NudeDetector()
    pictures = [one[:, :, ::-1].copy() for one in _pixels(subjects)]
    return _milliseconds(lambda: [detector.detect(one) for one in pictures], len(pictures))
