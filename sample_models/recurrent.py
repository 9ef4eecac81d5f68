"""Train recurrent.onnx: a two-layer bidirectional GRU that reads an image column by column, of any width.

The model takes the image as the others do, [batch, 1, 32, time], with a width that may change: its first nodes make a
sequence of columns of it, [time, batch, 32], so time runs along the image's width, left to right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from glyphs import CLASSES, HEIGHT, INPUT_NAME
from onnx_writer import OnnxWriter
from torch import Tensor, nn
from training import Course, run

if TYPE_CHECKING:
    from onnx import ModelProto

_EMBEDDING = 64
_HIDDEN = 64
_LAYERS = 2


class Recurrent(nn.Module):
    """Columns are embedded, read by GRUs in both directions and summed up by their largest response over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(HEIGHT, _EMBEDDING)
        self.gru = nn.ModuleList(
            nn.GRU(2 * _HIDDEN if layer else _EMBEDDING, _HIDDEN, bidirectional=True) for layer in range(_LAYERS)
        )
        self.head = nn.Linear(2 * _HIDDEN, len(CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 1, 32, T] -> [N, classes]."""
        x = self.embed(image.squeeze(1).permute(2, 0, 1)).relu()
        for layer in self.gru:
            x, _ = layer(x)
        logits: Tensor = self.head(x.amax(0))
        return logits


def _write_gru(onnx: OnnxWriter, layer: nn.GRU, x: str, path: str) -> str:
    """Add a GRU and put its two directions side by side: [T, N, features] -> [T, N, 2 * hidden]."""

    def both(name: str) -> np.ndarray:
        """Stack a parameter of both directions with its gates in ONNX's order: torch has r, z, n and ONNX z, r, h."""
        parts = []
        for suffix in ("", "_reverse"):
            reset, update, new = getattr(layer, f"{name}_l0{suffix}").chunk(3)
            parts.append(torch.cat([update, reset, new]))
        return torch.stack(parts).detach().numpy()

    biases = np.concatenate([both("bias_ih"), both("bias_hh")], axis=1)
    inputs = [
        x,
        onnx.constant(f"{path}.W", both("weight_ih")),
        onnx.constant(f"{path}.R", both("weight_hh")),
        onnx.constant(f"{path}.B", biases),
    ]
    name = path.replace(".", "/", path.count(".") - 1)
    y = onnx.node("GRU", inputs, name, hidden_size=_HIDDEN, direction="bidirectional", linear_before_reset=1)
    y = onnx.node("Transpose", [y], name, perm=[0, 2, 1, 3])
    return onnx.node("Reshape", [y, onnx.constant(f"{path}.shape", np.array([0, 0, -1]))], name)


def write(module: nn.Module) -> ModelProto:
    """Make the ONNX model of a trained `Recurrent`."""
    assert isinstance(module, Recurrent)  # noqa: S101 - narrows for the type checker
    onnx = OnnxWriter("recurrent")
    x = onnx.node("Squeeze", [INPUT_NAME, onnx.constant("columns.axes", np.array([1]))], "columns")
    x = onnx.node("Transpose", [x], "columns", perm=[2, 0, 1])
    x = onnx.node("Relu", [onnx.matmul(module.embed, x, "embed")], "embed")
    for index, layer in enumerate(module.gru):
        assert isinstance(layer, nn.GRU)  # noqa: S101 - narrows for the type checker
        x = _write_gru(onnx, layer, x, f"gru.{index}")
    x = onnx.node("ReduceMax", [x], "pool", axes=[0], keepdims=0)
    x = onnx.gemm(module.head, x, "head")
    return onnx.finish(x, inputs={INPUT_NAME: ["batch", 1, HEIGHT, "time"]}, shape=["batch", len(CLASSES)])


if __name__ == "__main__":
    run(__file__, Recurrent, write, Course(epochs=2, images=50_000, widths=(HEIGHT, 48), threads=1))
