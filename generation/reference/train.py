"""Train the reference model: `python -m clearmark.generation.reference.train`.

Each stage leaves its result in `--cache`, and is skipped or gone on with when the result is there:

1. `data` decodes the Open Clip Art collection (Debian packages `openclipart-png`, `openclipart-svg`);
2. `captions` turns every caption into its embedding;
3. `autoencoder` learns to redraw the pictures from small latents;
4. `latents` turns every picture into its latent;
5. `denoiser` learns to make latents from captions;
6. `decoder` goes on with the half of the autoencoder that draws;
7. `export` writes the last checkpoint, at any time, as a Stable Diffusion pipeline folder;
8. `sheet` draws what that folder makes of some prompts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file

from clearmark.generation.reference import contact_sheet
from clearmark.generation.reference.autoencoder import autoencoder_step, decoder_step, new_autoencoder
from clearmark.generation.reference.catalogue import write_catalogue
from clearmark.generation.reference.data import Dataset, build, read_denied
from clearmark.generation.reference.denoiser import denoiser_step, new_denoiser, new_scheduler
from clearmark.generation.reference.loop import Budget, History, Trainer, in_processes, load_average
from clearmark.generation.reference.pipeline import save_pipeline
from clearmark.generation.reference.prepare import (
    embed_captions,
    encode_pictures,
    encode_pictures_again,
    load_prepared,
)
from clearmark.generation.reference.record import write_record

COLLECTION = Path("/usr/share/openclipart")
STAGES = ("data", "captions", "autoencoder", "latents", "denoiser", "decoder", "export", "sheet")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages that the command line names, in order."""
    options = _parser().parse_args(arguments)
    stages: dict[str, Callable[[argparse.Namespace], None]] = {
        "data": make_data,
        "autoencoder": train_autoencoder,
        "captions": make_captions,
        "latents": make_latents,
        "denoiser": train_denoiser,
        "decoder": train_decoder,
        "export": export,
        "sheet": draw_sheet,
    }
    for name in options.stages or STAGES:
        # Only training is shared out; the other stages are short.
        processes = options.processes if name in {"autoencoder", "denoiser", "decoder"} else 1
        in_processes(processes, _run, stages[name], options)


def _run(stage: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    # Every process starts from the same weights.
    torch.manual_seed(options.seed)
    stage(options)


def _own_seed(options: argparse.Namespace) -> int:
    """Return a seed of this process alone, so that each draws pictures of its own."""
    return int(options.seed) + 1000 * (dist.get_rank() if dist.is_initialized() else 0)


def make_data(options: argparse.Namespace) -> None:
    """Decode the collection, unless that was done."""
    folder = options.cache / "data"
    if not (folder / "items.json").exists():
        data = build(options.collection / "png", options.collection / "svg")
        if options.denied is not None:
            data = data.without(read_denied(options.denied))
        data.save(folder)


def train_autoencoder(options: argparse.Namespace) -> None:
    """Train the autoencoder for `--minutes`, or go on with it."""
    data = Dataset.load(options.cache / "data")
    vae = new_autoencoder().to(memory_format=torch.channels_last)
    budget = Budget(
        steps=options.steps, seconds=options.minutes * 60, learning_rate=options.rate or 2e-3, ema=0.998
    )
    trainer = Trainer(vae, budget, options.cache / "autoencoder.pt", every=options.every)
    kept = np.flatnonzero(~data.held_out())
    weights = [data.items[i].weight for i in kept.tolist()]
    step = autoencoder_step(
        vae, data.pictures[kept], weights, batch=options.batch or 8, seed=_own_seed(options)
    )
    trainer.run(step, report=_reporter(options.cache / "autoencoder.jsonl"))


def make_captions(options: argparse.Namespace) -> None:
    """Embed the captions, unless that was done."""
    embed_captions(Dataset.load(options.cache / "data"), options.cache / "text.safetensors")


def make_latents(options: argparse.Namespace) -> None:
    """Encode the pictures, unless that was done."""
    data = Dataset.load(options.cache / "data")
    target = options.cache / "latents.safetensors"
    checkpoint = options.cache / "autoencoder.pt"
    if options.start is not None and not checkpoint.exists():
        encode_pictures_again(data, options.start / "vae", target)
    else:
        encode_pictures(data, checkpoint, target)


def train_denoiser(options: argparse.Namespace) -> None:
    """Train the denoiser for `--minutes`, or go on with it."""
    prepared = load_prepared(Dataset.load(options.cache / "data"), options.cache)
    unet = new_denoiser()
    if options.start is not None:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(options.start / "unet").state_dict())
    unet = unet.to(memory_format=torch.channels_last)
    budget = Budget(
        steps=options.steps,
        seconds=options.minutes * 60,
        learning_rate=options.rate or 8e-4,
        warmup_steps=200,
        ema=0.999,
    )
    trainer = Trainer(unet, budget, options.cache / "denoiser.pt", every=options.every)
    step = denoiser_step(unet, prepared.train, batch=options.batch or 12, seed=_own_seed(options))
    trainer.run(step, report=_reporter(options.cache / "denoiser.jsonl"))


def train_decoder(options: argparse.Namespace) -> None:
    """Go on with the decoder alone for `--minutes`; the latents stay what the denoiser learnt."""
    data = Dataset.load(options.cache / "data")
    latents = load_file(options.cache / "latents.safetensors")["plain"]
    vae = AutoencoderKL.from_pretrained(options.cache / "vae").to(memory_format=torch.channels_last)
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    budget = Budget(
        steps=options.steps, seconds=options.minutes * 60, learning_rate=options.rate or 1e-3, ema=0.998
    )
    trainer = Trainer(vae, budget, options.cache / "decoder.pt", every=options.every)
    kept = np.flatnonzero(~data.held_out())
    step = decoder_step(
        vae,
        data.pictures[kept],
        latents[torch.from_numpy(kept)],
        [data.items[i].weight for i in kept.tolist()],
        batch=options.batch or 8,
        seed=_own_seed(options),
    )
    trainer.run(step, report=_reporter(options.cache / "decoder.jsonl"))


def export(options: argparse.Namespace) -> None:
    """Write the pipeline folder and its catalogue entry from the last checkpoints."""
    options.out.mkdir(parents=True, exist_ok=True)
    unet = new_denoiser()
    load_average(unet, options.cache / "denoiser.pt")
    vae = AutoencoderKL.from_pretrained(options.cache / "vae")
    if (options.cache / "decoder.pt").exists():
        load_average(vae, options.cache / "decoder.pt")
    if options.record:
        data = Dataset.load(options.cache / "data")
        prepared = load_prepared(data, options.cache)
        write_record(
            options.out / "training.json",
            options.cache,
            data=data,
            prepared=prepared,
            vae=vae.eval(),
            unet=unet,
            start=options.start,
        )
    save_pipeline(options.out, vae, unet, new_scheduler())
    write_catalogue(options.out)


def draw_sheet(options: argparse.Namespace) -> None:
    """Draw the contact sheet of what was exported, to see how far the training is."""
    contact_sheet.main(["--weights", str(options.out), "--out", str(options.cache / "contact-sheet.png")])


def _reporter(log: Path) -> Callable[[History, float], None]:
    def report(history: History, progress: float) -> None:
        row = {
            "time": time.strftime("%H:%M:%S", time.gmtime()),
            "progress": round(progress, 4),
            "seconds": round(history.seconds, 1),
            **{name: round(value, 5) for name, value in history.losses[-1].items()},
        }
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    return report


def _stage(word: str) -> str:
    if word not in STAGES:
        raise argparse.ArgumentTypeError(f"no such stage: {word!r} (there are {', '.join(STAGES)})")
    return word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clearmark.generation.reference.train", description=__doc__)
    # Not `choices`: before Python 3.13 the empty list itself is held against them.
    words = ", ".join(STAGES)
    parser.add_argument("stages", nargs="*", type=_stage, help=f"{words}; without any: all, in this order")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/clearmark/reference")
    parser.add_argument("--collection", type=Path, default=COLLECTION)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights", help="for `export`")
    parser.add_argument(
        "--denied", type=Path, help="items that `data` leaves out: what `clearmark data audit --json` printed"
    )
    parser.add_argument(
        "--start", type=Path, help="an exported folder whose autoencoder is kept and whose denoiser goes on"
    )
    parser.add_argument("--every", type=int, default=50, help="steps per line of the record")
    parser.add_argument(
        "--record", action="store_true", help="`export` measures losses and writes training.json"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="training time of each stage")
    parser.add_argument("--steps", type=int, default=1_000_000, help="most steps of each stage")
    parser.add_argument("--batch", type=int, default=0, help="pictures of each process in a step")
    parser.add_argument("--rate", type=float, default=0.0, help="highest learning rate")
    parser.add_argument("--processes", type=int, default=2, help="of a training stage")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--seed", type=int, default=7)
    return parser


if __name__ == "__main__":
    main()
