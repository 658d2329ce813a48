"""Say which model made a picture, for pipelines that arrive as live objects."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clearmark.generation import ModelInfo

__all__ = ["describe_model", "describe_pipeline"]

_ATTRIBUTE = "_clearmark_digest"


def describe_model(id_: str, *, version: str = "", digest: str = "") -> ModelInfo:
    """Return what is known of a model."""
    from clearmark.generation import ModelInfo

    return ModelInfo(id=id_, version=version, digest=digest, licence="")


def describe_pipeline(pipeline: Any) -> ModelInfo:
    """Return the pipeline's own name for its weights and a digest over them.

    The digest covers every parameter of the denoiser, in the order of their names: loaded weights have no
    file to hash any more, and an adapter that was fused in changes what the model is. It is computed once for
    one state of the weights.
    """
    config = getattr(pipeline, "config", {})
    name = str(config.get("_name_or_path") or "") if hasattr(config, "get") else ""
    kind = type(pipeline).__name__
    return describe_model(name or kind, version=kind, digest=_digest(pipeline))


def _digest(pipeline: Any) -> str:
    module = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if module is None or not hasattr(module, "state_dict"):
        return ""
    import torch

    weights = sorted(module.state_dict().items())
    # Every change in place raises a tensor's version, so an adapter fused in later is hashed anew.
    state = hash(tuple((key, tensor.data_ptr(), tensor._version) for key, tensor in weights))
    known = getattr(module, _ATTRIBUTE, None)
    if known is not None and known[0] == state:
        return str(known[1])
    total = hashlib.sha256()
    for key, tensor in weights:
        total.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest = f"sha256:{total.hexdigest()}"
    object.__setattr__(module, _ATTRIBUTE, (state, digest))
    return digest
