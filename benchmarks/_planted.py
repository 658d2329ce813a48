"""A model with planted duplicates: the ground truth of `clearmark bench memorization`.

The reference model is trained on with some items repeated, each under one caption of its own: `verbatim`, the
same picture every time, and `template`, the same layout with another part each time. What it memorizes is
then known by construction; the model is made by this command and never ships.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from clearmark.generation.reference.data import Dataset
    from clearmark.generation.reference.denoiser import Latents

__all__ = ["KINDS", "Planted", "Probe", "choose", "plant", "read_probes", "variants"]

KINDS = ("verbatim", "template", "trained", "unseen")
"""What a prompt is: planted as one picture or as a layout, trained on like all others, or never trained."""

REPEATS = 100
_SHARE = 0.6
"""Side of the part that a template changes, as a share of the picture's."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt whose kind is known, and the item of the collection that it belongs to.

    `box` is the part (left, top, right, bottom, in shares of the sides) that a template changes.
    """

    prompt: str
    kind: str
    item: str
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Planted:
    """What was planted: the probes of every kind, and places of the planted items in the dataset."""

    probes: tuple[Probe, ...]
    verbatim: tuple[int, ...]
    template: tuple[int, ...]


def choose(data: Dataset, *, count: int, clean: int, seed: int) -> Planted:
    """Choose `count` items of either planted kind and `clean` prompts of either clean one, by `seed`.

    A caption that two items share would be memorized as neither, so only captions that are unique count.
    """
    said = Counter(caption for item in data.items for caption in set(item.captions))
    own = {
        place: next(
            (
                c
                for c in (item.captions[i] for i in (2, 4, 3, 1, 0) if i < len(item.captions))
                if said[c] == 1
            ),
            None,
        )
        for place, item in enumerate(data.items)
    }
    held_out = data.held_out()
    draw = np.random.default_rng(seed)
    usable = [p for p, c in own.items() if c and not held_out[p] and data.items[p].weight >= 0.5]
    chosen = draw.permutation(usable)[: 2 * count + clean].tolist()
    verbatim, template, trained = chosen[:count], chosen[count : 2 * count], chosen[2 * count :]
    unseen = draw.permutation([p for p, c in own.items() if c and held_out[p]])[:clean].tolist()
    probes: list[Probe] = []
    kinds = zip(KINDS, (verbatim, template, trained, unseen), strict=True)
    for kind, places in kinds:
        for place in places:
            box = None
            if kind == "template":
                left, top = (float(x) for x in draw.uniform(0, 1 - _SHARE, 2))
                box = (left, top, left + _SHARE, top + _SHARE)
            probes.append(Probe(str(own[place]), kind, data.items[place].path, box))
    return Planted(tuple(probes), tuple(verbatim), tuple(template))


def variants(
    picture: npt.NDArray[np.uint8],
    others: npt.NDArray[np.uint8],
    box: tuple[float, float, float, float],
) -> npt.NDArray[np.uint8]:
    """Return `picture` [side, side, 3] once for each of `others`, which lends its `box`."""
    side = picture.shape[0]
    left, top, right, bottom = (round(x * side) for x in box)
    made = np.repeat(picture[None], len(others), axis=0)
    made[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return made


def plant(
    data: Dataset,
    cache: Path,
    start: Path,
    out: Path,
    *,
    planted: Planted | None = None,
    others: int = 600,
    versions: int = 32,
    repeats: int = REPEATS,
    steps: int = 400,
    batch: int = 16,
    rate: float = 1e-3,
    seed: int = 11,
) -> Path:
    """Train the model in `start` on with planted items, on the latents in `cache`; write it to `out`.

    Beside the planted items, `others` items stand in the training set once each (all that are drawn as
    `trained` among them). Goes on where it was cut off. Returns `out`, a pipeline folder with `probes.json`
    beside it.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from clearmark.generation.reference.denoiser import denoiser_step, new_denoiser, new_scheduler
    from clearmark.generation.reference.loop import Budget, Trainer, load_average
    from clearmark.generation.reference.pipeline import save_pipeline

    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    planted = planted or choose(data, count=12, clean=48, seed=seed)
    latents = _latents(
        data, planted, cache, start, others=others, versions=versions, repeats=repeats, seed=seed
    )
    unet = new_denoiser()
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(start / "unet").float().state_dict())
    unet = unet.to(memory_format=torch.channels_last)
    budget = Budget(steps=steps, learning_rate=rate, warmup_steps=20, ema=0.98)
    checkpoint = out / "denoiser.pt"
    step = denoiser_step(unet, latents, batch=batch, seed=seed)
    Trainer(unet, budget, checkpoint, every=25).run(step, report=_report)
    load_average(unet, checkpoint)
    error = _error(unet, latents, planted)
    save_pipeline(out, AutoencoderKL.from_pretrained(start / "vae"), unet, new_scheduler())
    document = {
        "data": data.digest,
        "relative_error": round(error, 4),
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "repeats": repeats,
        "versions": versions,
        "others": others,
        "seed": seed,
        "probes": [asdict(probe) for probe in planted.probes],
    }
    (out / "probes.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return out


def _error(unet: Any, latents: Latents, planted: Planted) -> float:
    """Return how far what the model sees in pure noise lies from the verbatim items, by their energy.

    Near 0 where they were memorized, near 1 where not: without the former, there is no ground truth.
    """
    import torch

    many = sum(probe.kind == "verbatim" for probe in planted.probes)
    first = next(n for n, weight in enumerate(latents.weights) if weight != 1.0)
    clean = latents.plain[first : first + many].float()
    text = latents.text[[latents.captions[n][0] for n in range(first, first + many)]].float()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        # At the last step of the schedule the velocity is the picture itself, with its sign turned over.
        seen = -unet(noise, torch.full((many,), 999), text, return_dict=False)[0]
    return float((seen - clean).square().sum() / clean.square().sum())


def read_probes(folder: Path) -> list[Probe]:
    """Return the probes that `plant` wrote beside the model."""
    body = json.loads((folder / "probes.json").read_text(encoding="utf-8"))
    return [Probe(**{**row, "box": tuple(row["box"]) if row["box"] else None}) for row in body["probes"]]


def _latents(
    data: Dataset,
    planted: Planted,
    cache: Path,
    start: Path,
    *,
    others: int,
    versions: int,
    repeats: int,
    seed: int,
) -> Latents:
    """Put the training set and the planted rows together; a planted row is drawn under its caption alone."""
    import torch
    from diffusers import AutoencoderKL

    from clearmark.generation.reference.autoencoder import encode_all
    from clearmark.generation.reference.denoiser import Latents
    from clearmark.generation.reference.prepare import load_prepared

    prepared = load_prepared(data, cache)
    general = prepared.train
    rows = _rows_of(data)
    vae = AutoencoderKL.from_pretrained(start / "vae").float().eval().to(memory_format=torch.channels_last)
    draw = np.random.default_rng(seed + 1)
    places = {item.path: place for place, item in enumerate(data.items)}
    trained = np.flatnonzero(~data.held_out())
    asked = {probe.item for probe in planted.probes if probe.kind == "trained"}
    avoid = {probe.item for probe in planted.probes} - asked
    order = draw.permutation(len(trained)).tolist()
    order.sort(key=lambda n: data.items[trained[n]].path not in asked)  # stable: those asked about come first
    kept = [n for n in order if data.items[trained[n]].path not in avoid][:others]
    parts: list[torch.Tensor] = [general.plain[kept]]
    captions: list[Sequence[int]] = [general.captions[n] for n in kept]
    weights = [1.0] * len(kept)
    for probe in planted.probes:
        if probe.kind not in {"verbatim", "template"}:
            continue
        picture = data.pictures[places[probe.item]]
        made = picture[None]
        if probe.box is not None:
            made = variants(picture, data.pictures[draw.choice(trained, versions, replace=False)], probe.box)
        parts.append(encode_all(vae, made))
        captions += [[rows[probe.prompt]]] * len(made)
        weights += [repeats / len(made)] * len(made)
    plain = torch.cat(parts)
    may = torch.zeros(len(plain), dtype=torch.bool)
    may[: len(kept)] = general.may_mirror[kept]
    mirrored = plain.clone()
    mirrored[: len(kept)] = general.mirrored[kept]
    return Latents(plain, mirrored, may, general.text, captions, weights)


def _rows_of(data: Dataset) -> dict[str, int]:
    """Return the row of every caption in the table of embeddings: the order that `prepare` wrote them in."""
    out: dict[str, int] = {"": 0}
    for item in data.items:
        for caption in item.captions:
            out.setdefault(caption, len(out))
    return out


def _report(history: Any, progress: float) -> None:
    row = {"step": history.step, "seconds": round(history.seconds), **history.losses[-1]}
    print(json.dumps({"progress": round(progress, 3), **row}), flush=True)
