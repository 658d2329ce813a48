"""What is on record about the training: measured by the code that trained, written beside the weights."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from clearmark.generation.reference.autoencoder import to_tensor
from clearmark.generation.reference.data import Dataset
from clearmark.generation.reference.denoiser import Latents, validation_loss
from clearmark.generation.reference.loop import History, read_history
from clearmark.generation.reference.prepare import Prepared

_STAGES = ("autoencoder", "denoiser", "decoder")
_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")


def write_record(
    target: Path,
    cache: Path,
    *,
    data: Dataset,
    prepared: Prepared,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    start: Path | None = None,
) -> None:
    """Write data, steps, minutes, versions and losses to `target`, held-out pictures measured apart.

    `start` is the exported folder that the training went on from: the stages of its record stay on record.
    """
    earlier = _earlier(start)
    held_out = data.held_out()
    count = int(held_out.sum())
    seen = np.flatnonzero(~held_out)[:: max(1, int((~held_out).sum()) // count)][:count]
    body = {
        "data": {
            "pictures": len(data.items),
            "held_out": count,
            "captions": len(prepared.train.text) - 1,
            "skipped": data.skipped,
            "digest": f"sha256:{data.digest}",
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "stages": {name: _stage(cache / f"{name}.pt", earlier.get(name)) for name in _STAGES},
        "redrawing_error": {
            "unit": "mean absolute error of a pixel, out of 255",
            "seen": round(_redrawing_error(vae, data.pictures[seen]), 2),
            "held_out": round(_redrawing_error(vae, data.pictures[held_out]), 2),
        },
        "velocity_error": {
            "unit": "mean squared error of the velocity, averaged over eight noise levels",
            "seen": round(validation_loss(unet, _some(prepared.train, count)), 4),
            "held_out": round(validation_loss(unet, prepared.held_out), 4),
        },
    }
    target.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _earlier(start: Path | None) -> dict[str, Any]:
    if start is None:
        return {}
    body = json.loads((start / "training.json").read_text(encoding="utf-8"))
    return dict(body["stages"])


def _stage(checkpoint: Path, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    if not checkpoint.exists():
        return earlier
    history: History = read_history(checkpoint)
    rounded = [{name: round(value, 4) for name, value in row.items()} for row in history.losses]
    return {
        "steps": history.step,
        "minutes": round(history.seconds / 60, 1),
        "first": rounded[0] if rounded else {},
        "last": rounded[-1] if rounded else {},
        **({"went_on_from": earlier} if earlier else {}),
    }


def _redrawing_error(vae: AutoencoderKL, pictures: Any) -> float:
    total = 0.0
    with torch.inference_mode():
        for picture in pictures:
            wanted = to_tensor(picture[None])
            made = vae.decode(vae.encode(wanted).latent_dist.mean).sample.clamp(-1, 1)
            total += float((made - wanted).abs().mean()) * 127.5
    return total / len(pictures)


def _some(data: Latents, count: int) -> Latents:
    """Take `count` pictures, evenly from all."""
    rows = list(range(0, len(data.plain), max(1, len(data.plain) // count)))[:count]
    return Latents(
        plain=data.plain[rows],
        mirrored=data.mirrored[rows],
        may_mirror=data.may_mirror[rows],
        text=data.text,
        captions=[data.captions[i] for i in rows],
        weights=[data.weights[i] for i in rows],
    )
