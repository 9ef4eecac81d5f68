"""Train depthwise_cnn.onnx: inverted residual blocks with depthwise convolutions behind squared ReLU.

Squared ReLU (So et al., Primer, arXiv:2109.08668) has no upper bound and stretches large activations further, so the
input of each depthwise convolution has a long tail: fine in floating point, hard on one INT8 scale that must reach the
largest value seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glyphs import CLASSES, HEIGHT, INPUT_NAME
from onnx_writer import OnnxWriter
from torch import Tensor, nn
from training import Course, run

if TYPE_CHECKING:
    from onnx import ModelProto

_STEM = 24
_STAGES = ((24, 1), (40, 2), (40, 1), (64, 2), (64, 1))  # channels and stride of each block
_EXPANSION = 3


class Block(nn.Module):
    """Expand with 1x1, square the ReLU, filter each channel alone, project with 1x1; a shortcut where shapes allow."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        inner = _EXPANSION * channels
        self.expand = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, width, H / stride, W / stride]."""
        y = self.bn1(self.expand(x)).relu()
        y = self.bn2(self.depthwise(y * y)).relu()
        y = self.bn3(self.project(y))
        out: Tensor = x + y if self.shortcut else y
        return out

    def write(self, onnx: OnnxWriter, x: str, path: str) -> str:
        """Add the block's nodes."""
        y = onnx.batch_norm(self.bn1, onnx.conv(self.expand, x, f"{path}.expand"), f"{path}.bn1")
        y = onnx.node("Relu", [y], f"{path}/act1")
        y = onnx.node("Mul", [y, y], f"{path}/act1")
        y = onnx.batch_norm(self.bn2, onnx.conv(self.depthwise, y, f"{path}.depthwise"), f"{path}.bn2")
        y = onnx.node("Relu", [y], f"{path}/act2")
        y = onnx.batch_norm(self.bn3, onnx.conv(self.project, y, f"{path}.project"), f"{path}.bn3")
        return onnx.node("Add", [x, y], path) if self.shortcut else y


class DepthwiseCnn(nn.Module):
    """A strided stem, five blocks, global average pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _STEM, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(_STEM)
        channels = _STEM
        blocks = []
        for width, stride in _STAGES:
            blocks.append(Block(channels, width, stride))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, len(CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, classes]."""
        x = self.bn(self.stem(image)).relu()
        logits: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return logits


def write(module: nn.Module) -> ModelProto:
    """Make the ONNX model of a trained `DepthwiseCnn`."""
    assert isinstance(module, DepthwiseCnn)  # noqa: S101 - narrows for the type checker
    onnx = OnnxWriter("depthwise_cnn")
    x = onnx.node("Relu", [onnx.batch_norm(module.bn, onnx.conv(module.stem, INPUT_NAME, "stem"), "bn")], "act")
    for position, block in enumerate(module.blocks):
        assert isinstance(block, Block)  # noqa: S101 - narrows for the type checker
        x = block.write(onnx, x, f"blocks.{position}")
    x = onnx.node("Flatten", [onnx.node("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    x = onnx.gemm(module.head, x, "head")
    return onnx.finish(x, inputs={INPUT_NAME: ["batch", 1, HEIGHT, HEIGHT]}, shape=["batch", len(CLASSES)])


if __name__ == "__main__":
    run(__file__, DepthwiseCnn, write, Course())
