"""Train residual_cnn.onnx: a small ResNet whose Conv, BatchNormalization and Relu stay separate nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glyphs import CLASSES, HEIGHT, INPUT_NAME
from onnx_writer import OnnxWriter
from torch import Tensor, nn
from training import Course, run

if TYPE_CHECKING:
    from onnx import ModelProto

_WIDTHS = (16, 32, 64)
_BLOCKS = 2  # in each stage


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is projected where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, width, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        out: Tensor = (y + shortcut).relu()
        return out

    def write(self, onnx: OnnxWriter, x: str, path: str) -> str:
        """Add the block's nodes."""
        y = onnx.batch_norm(self.bn1, onnx.conv(self.conv1, x, f"{path}.conv1"), f"{path}.bn1")
        y = onnx.node("Relu", [y], f"{path}/relu1")
        y = onnx.batch_norm(self.bn2, onnx.conv(self.conv2, y, f"{path}.conv2"), f"{path}.bn2")
        if self.downsample is not None:
            conv, norm = self.downsample
            assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows for the type checker
            assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101 - narrows for the type checker
            x = onnx.batch_norm(norm, onnx.conv(conv, x, f"{path}.downsample.conv"), f"{path}.downsample.bn")
        return onnx.node("Relu", [onnx.node("Add", [y, x], path)], f"{path}/relu2")


class ResidualCnn(nn.Module):
    """A strided stem, three stages of blocks, global average pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _WIDTHS[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        channels = _WIDTHS[0]
        stages = []
        for index, width in enumerate(_WIDTHS):
            blocks = []
            for position in range(_BLOCKS):
                blocks.append(Block(channels, width, 2 if index and not position else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(channels, len(CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, classes]."""
        x = self.bn1(self.conv1(image)).relu()
        logits: Tensor = self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))
        return logits


def write(module: nn.Module) -> ModelProto:
    """Make the ONNX model of a trained `ResidualCnn`."""
    assert isinstance(module, ResidualCnn)  # noqa: S101 - narrows for the type checker
    onnx = OnnxWriter("residual_cnn")
    x = onnx.batch_norm(module.bn1, onnx.conv(module.conv1, INPUT_NAME, "conv1"), "bn1")
    x = onnx.node("Relu", [x], "relu1")
    for stage in ("layer1", "layer2", "layer3"):
        for position, block in enumerate(module.get_submodule(stage).children()):
            assert isinstance(block, Block)  # noqa: S101 - narrows for the type checker
            x = block.write(onnx, x, f"{stage}.{position}")
    x = onnx.node("Flatten", [onnx.node("GlobalAveragePool", [x], "avgpool")], "flatten", axis=1)
    x = onnx.gemm(module.fc, x, "fc")
    return onnx.finish(x, inputs={INPUT_NAME: ["batch", 1, HEIGHT, HEIGHT]}, shape=["batch", len(CLASSES)])


if __name__ == "__main__":
    run(__file__, ResidualCnn, write, Course())
