"""A model with planted duplicates: the ground truth of `clearmark bench memorization`.

The reference model is trained on with some items repeated, each under one caption of its own: `verbatim`, the
same picture every time, and `template`, the same layout with another part each time. They make up `share` of
every batch, and all other items the rest, once each. What can be memorized is then known by construction, and
how far it was is measured along the way; the model is made by this command and never ships.
"""

from __future__ import annotations

import json
import math
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
    from clearmark.generation.reference.loop import History, StepFunction

__all__ = [
    "KINDS",
    "Planted",
    "Probe",
    "choose",
    "is_copy",
    "plant",
    "read_probes",
    "seen_in_noise",
    "variants",
]

KINDS = ("verbatim", "template", "trained", "unseen")
"""What a prompt is: planted as one picture or as a layout, trained on like all others, or never trained."""

SHARE = 0.75
"""Share of a batch that planted items make up."""

_FIXED = 0.35
"""Standard deviation over the versions of a template up to which a place of the latent counts as fixed."""

_BOX = 0.6
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
                left, top = (float(x) for x in draw.uniform(0, 1 - _BOX, 2))
                box = (left, top, left + _BOX, top + _BOX)
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
    others: int | None = None,
    versions: int = 32,
    share: float = SHARE,
    steps: int = 1150,
    batch: int = 8,
    rate: float = 1e-3,
    look: int = 300,
    seed: int = 11,
) -> Path:
    """Train the model in `start` on with planted items, on the latents in `cache`; write it to `out`.

    Beside the planted items, `others` items (None: all that the model was trained on) stand in the training
    set once each, all that are drawn as `trained` among them. Goes on where it was cut off; every `look`
    steps, `memorized.jsonl` gets a line with how far the planted items are seen in pure noise. Returns `out`,
    a pipeline folder that stock diffusers loads, with `probes.json` beside it.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from clearmark.generation.reference.denoiser import new_denoiser, new_scheduler
    from clearmark.generation.reference.loop import Budget, Trainer, load_average
    from clearmark.generation.reference.pipeline import save_pipeline
    from clearmark.generation.reference.text import load_text_encoder, package_folder

    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    planted = planted or choose(data, count=12, clean=48, seed=seed)
    latents = _latents(data, planted, cache, start, others=others, versions=versions, share=share, seed=seed)
    ordinary = sum(weight == 1.0 for weight in latents.weights)
    _keep_originals(data, planted, out)
    digest = data.digest
    del data  # the pictures, of which nothing more is needed, are most of the memory
    unet = new_denoiser()
    unet.load_state_dict(UNet2DConditionModel.from_pretrained(start / "unet").float().state_dict())
    unet = unet.to(memory_format=torch.channels_last)
    budget = Budget(steps=steps, learning_rate=rate, warmup_steps=20, ema=0.98)
    checkpoint = out / "denoiser.pt"
    trainer = Trainer(unet, budget, checkpoint, every=25)
    averaged = new_denoiser().to(memory_format=torch.channels_last).eval()

    def report(history: History, progress: float) -> None:
        row = {"progress": round(progress, 3), "step": history.step, "seconds": round(history.seconds)}
        if history.step % look == 0:
            averaged.load_state_dict(trainer.average)
            row |= seen_in_noise(averaged, latents, planted)
        row |= {name: round(value, 4) for name, value in history.losses[-1].items() if name != "step"}
        with (out / "memorized.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    trainer.run(_step(unet, latents, batch=batch, seed=seed), report=report)
    load_average(unet, checkpoint)
    errors = seen_in_noise(unet, latents, planted)
    save_pipeline(out, AutoencoderKL.from_pretrained(start / "vae"), unet, new_scheduler())
    tokenizer, encoder = load_text_encoder(package_folder() / "model")
    tokenizer.save_pretrained(out / "tokenizer")
    encoder.save_pretrained(out / "text_encoder")
    document = {
        "data": digest,
        "relative_error": errors,
        "steps": steps,
        "batch": batch,
        "rate": rate,
        "share": share,
        "draws": round(steps * batch * share / max(1, len(planted.verbatim) + len(planted.template))),
        "versions": versions,
        "others": ordinary,
        "seed": seed,
        "probes": [asdict(probe) for probe in planted.probes],
    }
    (out / "probes.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return out


def _step(unet: Any, latents: Latents, *, batch: int, seed: int) -> StepFunction:
    """Return the training step: that of the denoiser, with half of the times in the noisiest quarter.

    What a picture becomes is decided there, so it is where planting takes hold; a model that trains on for
    hours gets there without.
    """
    import torch

    from clearmark.generation.reference.denoiser import CAPTION_DROPOUT, new_scheduler, velocity_losses
    from clearmark.generation.reference.loop import shuffled

    alphas = new_scheduler().alphas_cumprod.float()
    draw = shuffled(len(latents.plain), batch, seed, latents.weights)

    def step(number: int, _progress: float) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        chosen = draw(number)
        mirror = (torch.rand(batch, generator=generator) < 0.5) & latents.may_mirror[chosen]
        clean = torch.where(mirror[:, None, None, None], latents.mirrored[chosen], latents.plain[chosen])
        which, dropped, early = torch.rand((3, batch), generator=generator)
        rows = []
        for item, place, drop in zip(chosen.tolist(), which.tolist(), dropped.tolist(), strict=True):
            captions = latents.captions[item]
            rows.append(0 if drop < CAPTION_DROPOUT else captions[int(place * len(captions))])
        times = ((1 - early.square()) * len(alphas)).long().clamp(max=len(alphas) - 1)
        noise = torch.randn(clean.shape, generator=generator)
        text = latents.text[rows].float()
        return velocity_losses(unet, clean=clean.float(), noise=noise, times=times, text=text, alphas=alphas)

    return step


def seen_in_noise(unet: Any, latents: Latents, planted: Planted) -> dict[str, float]:
    """Return how far what the model sees in pure noise lies from the planted items, by their energy.

    Near 0 where they were memorized, near 1 where not: without the former, there is no ground truth. Of a
    template, what its versions have in common counts: the places where they differ by little. `trained` is
    the same of as many items that stand in the training set once.
    """
    import torch

    chosen: dict[str, list[tuple[torch.Tensor, torch.Tensor, int]]] = {kind: [] for kind in KINDS[:3]}
    place = sum(weight == 1.0 for weight in latents.weights)
    for probe in planted.probes:
        if probe.kind not in KINDS[:2]:
            continue
        row = latents.captions[place][0]
        end = place
        while end < len(latents.plain) and latents.captions[end][0] == row:
            end += 1
        versions = latents.plain[place:end].float()
        fixed = torch.ones(versions.shape[-2:], dtype=torch.bool)
        if len(versions) > 1:
            fixed = versions.std(dim=0).mean(dim=0) < _FIXED
        chosen[probe.kind].append((versions.mean(dim=0), fixed, row))
        place = end
    for n in range(len(chosen["verbatim"])):
        fixed = torch.ones(latents.plain.shape[-2:], dtype=torch.bool)
        chosen["trained"].append((latents.plain[n].float(), fixed, latents.captions[n][0]))
    out = {}
    for kind, rows in chosen.items():
        if not rows:
            continue
        clean = torch.stack([row[0] for row in rows])
        fixed = torch.stack([row[1] for row in rows])[:, None]
        text = latents.text[[row[2] for row in rows]].float()
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            # At the last step of the schedule the velocity is the picture itself, its sign turned over.
            seen = -unet(noise, torch.full((len(rows),), 999), text, return_dict=False)[0]
        error = ((seen - clean).square() * fixed).sum() / (clean.square() * fixed).sum()
        out[kind] = round(float(error), 4)
    return out


def _keep_originals(data: Dataset, planted: Planted, out: Path) -> None:
    """Write the planted pictures as NUMBER.png, in the order of the probes: what came out is held against."""
    import PIL.Image

    places = {item.path: place for place, item in enumerate(data.items)}
    (out / "originals").mkdir(parents=True, exist_ok=True)
    for number, probe in enumerate(planted.probes):
        if probe.kind in KINDS[:2]:
            picture = PIL.Image.fromarray(data.pictures[places[probe.item]])
            picture.save(out / "originals" / f"{number}.png")


def is_copy(
    picture: npt.NDArray[np.uint8], original: npt.NDArray[np.uint8], box: tuple[float, ...] | None
) -> bool:
    """Return whether a picture is the original by the measure of `diversity`; a template, outside `box`."""
    import cv2

    from clearmark.guardrails.memorization.diversity import ALIKE

    side = 16
    small = [cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA) / 255.0 for p in (picture, original)]
    fixed = np.ones((side, side), dtype=bool)
    if box is not None:
        left, top, right, bottom = (x * side for x in box)
        fixed[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = False
    return float(np.sqrt(np.square(small[0] - small[1]).mean(axis=2)[fixed].mean())) <= ALIKE


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
    others: int | None,
    versions: int,
    share: float,
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
    del prepared
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
    # Together, the planted items weigh so much that they are `share` of what is drawn.
    each = share / (1 - share) * len(kept) / max(1, len(planted.verbatim) + len(planted.template))
    for probe in planted.probes:
        if probe.kind not in {"verbatim", "template"}:
            continue
        picture = data.pictures[places[probe.item]]
        made = picture[None]
        if probe.box is not None:
            made = variants(picture, data.pictures[draw.choice(trained, versions, replace=False)], probe.box)
        parts.append(encode_all(vae, made))
        captions += [[rows[probe.prompt]]] * len(made)
        weights += [each / len(made)] * len(made)
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
