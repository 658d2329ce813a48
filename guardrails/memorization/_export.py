"""Write the fitted network as ONNX: uint8 pictures in, descriptors out, weights in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization._network import SIDE, TAP, Conv, blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["write_onnx"]


def write_onnx(weights: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write the graph of `blocks()` with `weights` (NAME.weight, NAME.bias, head.weight) to `path`, at once.

    Raises:
        ExtraMissing: the package onnx is not installed.
    """
    onnx = import_optional("onnx", extra="memorization-fit")
    graph = _Graph(onnx, weights)
    x = graph.pixels()
    tapped = ""
    for number, block in enumerate(blocks()):
        start = x
        for conv in block.convs:
            x = graph.conv(conv, x)
        if block.residual:
            x = graph.node("Add", [x, start])
        if number == TAP + 1:
            tapped = x
    pooled = graph.node("Concat", [graph.pooled(x), graph.pooled(tapped)], axis=1)
    graph.node("MatMul", [pooled, graph.half("head.weight", weights["head.weight"].T)], out="descriptor")
    draft = path.with_suffix(".part")
    draft.write_bytes(graph.model().SerializeToString())
    draft.replace(path)


class _Graph:
    def __init__(self, onnx: Any, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self._onnx = onnx
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], *, out: str = "", **attributes: Any) -> str:
        name = out or f"v{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, value: Any) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(value, name))
        return name

    def number(self, value: float) -> str:
        import numpy as np

        return self.constant(f"c{len(self._constants)}", np.float32(value))

    def half(self, name: str, value: NDArray[np.float32]) -> str:
        import numpy as np

        stored = self.constant(name, np.ascontiguousarray(value, dtype=np.float16))
        return self.node("Cast", [stored], to=self._onnx.TensorProto.FLOAT)

    def pixels(self) -> str:
        x = self.node("Cast", ["pixels"], to=self._onnx.TensorProto.FLOAT)
        x = self.node("Transpose", [x], perm=[0, 3, 1, 2])
        return self.node("Div", [self.node("Sub", [x, self.number(127)]), self.number(128)])

    def conv(self, conv: Conv, x: str) -> str:
        before, after = conv.pads
        weight = self.half(conv.name + ".weight", self._weights[conv.name + ".weight"])
        bias = self.half(conv.name + ".bias", self._weights[conv.name + ".bias"])
        out = self.node(
            "Conv",
            [x, weight, bias],
            kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2,
            group=conv.groups,
            pads=[before, before, after, after],
        )
        return self.node("Clip", [out, self.number(0), self.number(6)]) if conv.relu else out

    def pooled(self, x: str) -> str:
        """Generalised-mean pooling with exponent 3 (Radenović et al. 2018)."""
        x = self.node("Pow", [self.node("Max", [x, self.number(1e-3)]), self.number(3)])
        x = self.node("ReduceMean", [x], axes=[2, 3], keepdims=0)
        return self.node("Pow", [x, self.number(1 / 3)])

    def model(self) -> Any:
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        graph = helper.make_graph(
            self._nodes,
            "copy-descriptor",
            [helper.make_tensor_value_info("pixels", kinds.UINT8, ["n", SIDE, SIDE, 3])],
            [helper.make_tensor_value_info("descriptor", kinds.FLOAT, ["n", None])],
            self._constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
