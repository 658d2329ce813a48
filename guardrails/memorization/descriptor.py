"""Copy-detection descriptors: pictures to unit vectors whose cosine says "copy", and their 64-byte
sign codes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from clearmark.core.errors import Error, GuardUnavailable, ModelMissing, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Box4",
    "Descriptor",
    "OnnxDescriptor",
    "cosines",
    "default_descriptor",
    "sign_codes",
    "views",
]

Box4 = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""

MODEL = "copy-descriptor"
_BLANK = 8.0
_BATCH = 32


@runtime_checkable
class Descriptor(Protocol):
    """What turns pictures into descriptors. `ref` is `id@sha256:…`: an index holds those of one `ref`
    only."""

    @property
    def ref(self) -> str:
        """The model's id with the digest of its weights."""
        ...

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return unit vectors float32 [n, 512] of pictures uint8 [h, w, 3] of any size."""
        ...


class OnnxDescriptor:
    """A descriptor in ONNX: input uint8 [n, side, side, 3], output float [n, 512]."""

    def __init__(self, path: str | Path, *, name: str = "") -> None:
        self._path = Path(path)
        self._name = name or self._path.stem
        self._lock = threading.Lock()

    @cached_property
    def ref(self) -> str:
        """The model's id with the digest of its weights.

        Raises:
            ModelMissing: the file cannot be read.
        """
        return f"{self._name}@sha256:{hashlib.sha256(self._data).hexdigest()}"

    @cached_property
    def _data(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as exc:
            raise ModelMissing(f"{self._path}: {exc.strerror}", hint="give the path of an ONNX file") from exc

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The bytes that were digested are the bytes that run.
        return onnxruntime.InferenceSession(
            self._data, sess_options=options, providers=["CPUExecutionProvider"]
        )

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return unit vectors float32 [n, 512].

        Raises:
            GuardUnavailable: the runtime fails, or the file is no descriptor of 512 values.
        """
        import cv2
        import numpy as np

        out: list[NDArray[np.float32]] = []
        try:
            with self._lock:
                session = self._session
            put = session.get_inputs()[0]
            side = int(put.shape[1])
            for first in range(0, len(pictures), _BATCH):
                batch = np.stack(
                    [
                        cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
                        for picture in pictures[first : first + _BATCH]
                    ]
                )
                out.append(session.run(None, {put.name: batch})[0])
        except Error:
            raise
        except Exception as exc:  # the runtime raises its own types
            raise GuardUnavailable(f"{self._name}: the ONNX runtime fails: {type(exc).__name__}") from exc
        vectors = np.concatenate(out) if out else np.zeros((0, 512), np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != 512:
            raise GuardUnavailable(f"{self._name}: answers {vectors.shape}, not 512 values a picture")
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (vectors / np.maximum(norm, 1e-9)).astype(np.float32)
        return unit


@lru_cache(maxsize=1)
def default_descriptor() -> OnnxDescriptor:
    """Return the descriptor that ships, after checking its digest against the catalogue.

    Raises:
        ModelMissing, ModelCorrupt: the weights are absent or altered.
    """
    from clearmark.guardrails.models import entry

    paths = entry(MODEL).verify()
    if len(paths) != 1:
        raise UsageError(f"{MODEL}: the catalogue names {len(paths)} files, not one")
    return OnnxDescriptor(next(iter(paths.values())), name=MODEL)


def sign_codes(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the signs of [n, 512] as bits [n, 64]."""
    import numpy as np

    return np.packbits(vectors > 0, axis=1)


def cosines(vector: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Estimate the cosines of a unit vector [512] to vectors of which only the sign codes [n, 64] are kept.

    Asymmetric: one side is exact, so that the error is far below that of the Hamming distance. The
    factor makes
    the estimate unbiased for Gaussian coordinates.
    """
    import numpy as np

    signs = np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1
    out: NDArray[np.float32] = np.clip(signs @ vector * np.float32(np.sqrt(np.pi / 2 / 512)), -1, 1)
    return out


def views(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the whole picture, its four corners and its middle, without blank ones.

    Crops are compared with crops; two blank crops would match perfectly, so what has no contrast is no view.
    """
    height, width = pixels.shape[:2]
    h, w = int(height * 0.6), int(width * 0.6)
    out = [pixels]
    if min(h, w) < 24:
        return out
    spots = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w)]
    crops = [pixels[top : top + h, left : left + w] for top, left in spots]
    crops.append(pixels[height // 4 : height - height // 4, width // 4 : width - width // 4])
    out.extend(crop for crop in crops if float(crop.mean(axis=2).std()) >= _BLANK)
    return out
