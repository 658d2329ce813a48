"""Between the two trainings: every picture as a latent and every caption as an embedding, once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from clearmark.generation.reference.autoencoder import encode_all, new_autoencoder, normalise
from clearmark.generation.reference.data import Dataset
from clearmark.generation.reference.denoiser import Latents
from clearmark.generation.reference.loop import load_average
from clearmark.generation.reference.text import embed, load_text_encoder, package_folder


@dataclass(frozen=True, slots=True)
class Prepared:
    """The latents to train on, those that are held out, and how the autoencoder was trained."""

    train: Latents
    held_out: Latents


def embed_captions(data: Dataset, target: Path) -> None:
    """Embed every caption of `data` once and write the rows to `target`, unless that was done."""
    if target.exists():
        return
    texts, _ = _rows(data)
    tokenizer, encoder = load_text_encoder(package_folder() / "model")
    _save({"text": embed(texts, tokenizer, encoder)}, target)


def encode_pictures(data: Dataset, checkpoint: Path, target: Path) -> None:
    """Encode every picture and its mirror image; write the latents and the autoencoder that made them."""
    if target.exists():
        return
    vae = new_autoencoder().to(memory_format=torch.channels_last)
    load_average(vae, checkpoint)
    plain = encode_all(vae, data.pictures).float()
    mean, std = plain.mean(dim=(0, 2, 3)), plain.std(dim=(0, 2, 3))
    normalise(vae, mean, std)
    plain = (plain - mean[:, None, None]) / std[:, None, None]
    flips = torch.tensor([item.flip for item in data.items])
    mirrored = plain.clone()
    mirrored[flips] = encode_all(vae, data.pictures[flips.numpy()][:, :, ::-1]).float()
    vae.save_pretrained(target.parent / "vae")
    _save({"plain": plain.half(), "mirrored": mirrored.half(), "flips": flips}, target)


def encode_pictures_again(data: Dataset, folder: Path, target: Path) -> None:
    """Encode with the autoencoder of an exported `folder`, which brings latents to 0 and 1 by itself."""
    if target.exists():
        return
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    vae = vae.eval().to(memory_format=torch.channels_last)
    plain = encode_all(vae, data.pictures)
    mirrored = plain.clone()
    flips = torch.tensor([item.flip for item in data.items])
    mirrored[flips] = encode_all(vae, data.pictures[flips.numpy()][:, :, ::-1])
    vae.save_pretrained(target.parent / "vae")
    _save({"plain": plain, "mirrored": mirrored, "flips": flips}, target)


def load_prepared(data: Dataset, folder: Path) -> Prepared:
    """Read what the two functions above wrote, as training and held-out latents."""
    latents = load_file(folder / "latents.safetensors")
    text = load_file(folder / "text.safetensors")["text"]
    _, rows = _rows(data)
    held_out = data.held_out()

    def part(mask: Any) -> Latents:
        chosen = np.flatnonzero(mask)
        index = torch.from_numpy(chosen)
        return Latents(
            plain=latents["plain"][index],
            mirrored=latents["mirrored"][index],
            may_mirror=latents["flips"][index],
            text=text,
            captions=[rows[i] for i in chosen.tolist()],
            weights=[data.items[i].weight for i in chosen.tolist()],
        )

    return Prepared(train=part(~held_out), held_out=part(held_out))


def _rows(data: Dataset) -> tuple[list[str], list[list[int]]]:
    """List every caption once, the empty one first, and give for each picture the rows of its captions."""
    texts: dict[str, int] = {"": 0}
    rows = [[texts.setdefault(caption, len(texts)) for caption in item.captions] for item in data.items]
    return list(texts), rows


def _save(tensors: dict[str, torch.Tensor], target: Path) -> None:
    part = target.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(target)
