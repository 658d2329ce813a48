"""Any diffusers pipeline as a generator: a folder on disk, or a model of the Hugging Face hub.

Weights are read as safetensors only and code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, Request
from clearmark.core.errors import BackendUnavailable, ModelMissing, UsageError
from clearmark.core.optional import import_optional
from clearmark.core.weights import sha256_file
from clearmark.generation._backend import Defaults, ModelInfo, Noise
from clearmark.generation._diffusion import Limits, PipelineRunner

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

__all__ = ["DiffusersGenerator"]

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_LOADED = (".safetensors", ".json", ".txt", ".model")
_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_FALLBACK_SIDE = 512


class DiffusersGenerator:
    """Make pictures with the pipeline `source`: a folder, or a hub id at `revision`.

    Pin the revision (a commit) of a hub model: without it the newest one is taken. `device` and `dtype` are
    chosen by what the machine has; `batch` pictures are made at once (1 on a CPU, where it gains little and
    would make the bytes of a picture depend on its neighbours). The library's own safety checker is left out:
    clearmark's guards judge the pictures.
    """

    name = "diffusers"

    def __init__(
        self,
        source: str | Path,
        *,
        revision: str | None = None,
        steps: int = 30,
        guidance: float | None = None,
        device: str | None = None,
        batch: int | None = None,
        licence: str = "",
    ) -> None:
        self.source = str(source)
        self.revision = revision
        self._steps, self._guidance, self._licence = steps, guidance, licence
        self._device, self._batch = device, batch
        self._lock = threading.RLock()
        self._is_folder = Path(self.source).expanduser().is_dir()
        if not self._is_folder and not _HUB_ID.fullmatch(self.source):
            raise ModelMissing(
                f"diffusers: no folder {self.source}",
                hint="a pipeline folder (with model_index.json) or a hub id",
            )
        if self._is_folder and revision is not None:
            raise UsageError("diffusers: a folder has no revision", hint="leave it out")

    @classmethod
    def of(cls, text: str) -> DiffusersGenerator:
        """Read `FOLDER`, `ID` or `ID@REVISION`."""
        if Path(text).expanduser().is_dir() or "@" not in text:
            return cls(text)
        source, _, revision = text.rpartition("@")
        return cls(source, revision=revision)

    @cached_property
    def folder(self) -> Path:
        """The folder of the pipeline; a hub model is downloaded first.

        Raises:
            BackendUnavailable: when the hub does not answer or has no such model.
            ModelMissing: when the folder holds no pipeline.
        """
        if self._is_folder:
            found = Path(self.source).expanduser().resolve()
        else:
            diffusers = import_optional("diffusers", extra="local")
            try:
                found = Path(
                    diffusers.DiffusionPipeline.download(
                        self.source, revision=self.revision, use_safetensors=True, trust_remote_code=False
                    )
                )
            except Exception as exc:  # the hub's client raises errors of many packages
                raise BackendUnavailable(
                    f"diffusers: {self.source} could not be fetched ({type(exc).__name__})",
                    hint="check the id, the revision and the network; only safetensors are read",
                ) from exc
        if not (found / "model_index.json").is_file():
            raise ModelMissing(f"diffusers: no model_index.json in {found}", hint="name a pipeline folder")
        return found

    @cached_property
    def model(self) -> ModelInfo:
        """The id, the commit of a hub model, and a digest over every weight and config file."""
        folder = self.folder
        files = sorted(p for p in folder.rglob("*") if p.suffix in _LOADED and p.is_file())
        listing = "".join(f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files)
        digest = "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
        if self._is_folder:
            return ModelInfo(id=folder.name, digest=digest, licence=self._licence)
        return ModelInfo(id=self.source, version=folder.name, digest=digest, licence=self._licence)

    @cached_property
    def defaults(self) -> Defaults:
        """The size that the model was made for, as its config says."""
        side = _native_side(self.folder)
        return Defaults(width=side, height=side, steps=self._steps, guidance=self._guidance)

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Make the pictures; calls from several threads take turns.

        Raises:
            ModelMissing: when the folder cannot be loaded as a pipeline.
        """
        with self._lock:
            return self._runner.generate(requests)

    @property
    def spec(self) -> str:
        """What `create` makes this generator from."""
        return f"diffusers:{self.source}" + (f"@{self.revision}" if self.revision else "")

    @property
    def takes_noise(self) -> bool:
        """Whether the pipeline can be started from given noise and run backwards; loads it."""
        with self._lock:
            return self._runner.takes_noise

    def generate_from(
        self, requests: Sequence[Request], noises: Sequence[Sequence[Noise]]
    ) -> list[list[Asset]]:
        """Make the pictures from the noises given."""
        with self._lock:
            return self._runner.generate(requests, noises)

    def invert(self, pictures: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Return the estimated initial noise of RGB pictures of one size.

        Raises:
            UsageError: a pipeline or a size that cannot be run backwards.
        """
        with self._lock:
            found: npt.NDArray[np.float32] = self._runner.invert(pictures)
        return found

    @cached_property
    def _runner(self) -> PipelineRunner:
        pipeline = self._load()
        multiple = int(getattr(pipeline, "vae_scale_factor", 8))
        on_cpu = str(pipeline.device) == "cpu"
        return PipelineRunner(
            pipeline,
            name=self.name,
            model=self.model,
            defaults=self.defaults,
            limits=Limits(multiple=multiple, smallest=multiple),
            batch=self._batch or (1 if on_cpu else 4),
        )

    def _load(self) -> Any:
        diffusers = import_optional("diffusers", extra="local")
        torch = import_optional("torch", extra="local")
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        options: dict[str, Any] = {
            "local_files_only": True,
            "use_safetensors": True,
            "torch_dtype": torch.float32 if device == "cpu" else torch.float16,
        }
        if "safety_checker" in _read_json(self.folder / "model_index.json"):
            options |= {"safety_checker": None, "requires_safety_checker": False}
        try:
            pipeline = diffusers.AutoPipelineForText2Image.from_pretrained(self.folder, **options).to(device)
        except Exception as exc:  # a broken folder can fail in any package of the stack
            raise ModelMissing(
                f"diffusers: {self.folder} cannot be loaded for text-to-image ({type(exc).__name__})",
                hint="does diffusers.DiffusionPipeline.from_pretrained read it, with use_safetensors=True?",
            ) from exc
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def _native_side(folder: Path) -> int:
    for part in ("unet", "transformer"):
        size = _read_json(folder / part / "config.json").get("sample_size")
        widths = _read_json(folder / "vae" / "config.json").get("block_out_channels")
        if isinstance(size, int) and isinstance(widths, list) and widths:
            return int(size * 2 ** (len(widths) - 1))
    return _FALLBACK_SIDE


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
