"""Put the reference model's parts together as a Stable Diffusion pipeline, and write it down.

The folder is an ordinary pipeline folder:
`StableDiffusionPipeline.from_pretrained(folder, tokenizer=..., text_encoder=...)` reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from clearmark.generation.reference.text import load_text_encoder

_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.36.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def load_pipeline(folder: Path, text_folder: Path) -> StableDiffusionPipeline:
    """Read the pipeline in `folder` with the text encoder in `text_folder`, in float32 on the CPU."""
    tokenizer, encoder = load_text_encoder(text_folder)
    options: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "torch_dtype": torch.float32,
    }
    vae = AutoencoderKL.from_pretrained(folder / "vae", **options)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", **options)
    pipeline = StableDiffusionPipeline(
        vae=vae.to(memory_format=torch.channels_last),
        unet=unet.to(memory_format=torch.channels_last),
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=DPMSolverMultistepScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(
    folder: Path, vae: AutoencoderKL, unet: UNet2DConditionModel, scheduler: DPMSolverMultistepScheduler
) -> None:
    """Write the pipeline folder, weights in half precision. The text encoder stays in its own package."""
    vae.half().save_pretrained(folder / "vae", safe_serialization=True)
    unet.half().save_pretrained(folder / "unet", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(_INDEX, indent=2) + "\n", encoding="utf-8")
    for part in ("vae", "unet"):
        # The library notes the folder that a model was read from: a path of the machine that trained it.
        config = folder / part / "config.json"
        body = json.loads(config.read_text(encoding="utf-8"))
        body.pop("_name_or_path", None)
        config.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for weights in folder.rglob("*.safetensors"):
        # The writer leaves them readable by their owner alone; an installed package is for everybody.
        weights.chmod(0o644)
