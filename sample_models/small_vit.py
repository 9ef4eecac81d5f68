"""Train small_vit.onnx: a vision transformer with LayerNormalization, MatMul, Softmax and GELU spelled out with Erf.

Its tokens come from two strided, normalized convolutions rather than one (Xiao et al., arXiv:2106.14881), which trains
in minutes.
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

_STEM = 24
_TOKENS = (HEIGHT // 4) ** 2
_DIM = 48
_HEADS = 4
_DEPTH = 3
_HIDDEN = 2 * _DIM


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(_DIM, 3 * _DIM)
        self.proj = nn.Linear(_DIM, _DIM)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, dim] -> the same."""
        qkv = self.qkv(x).reshape(-1, _TOKENS, 3, _HEADS, _DIM // _HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1) * (_DIM // _HEADS) ** -0.5).softmax(-1)
        mixed: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(-1, _TOKENS, _DIM))
        return mixed

    def write(self, onnx: OnnxWriter, x: str, path: str, scope: str) -> str:
        """Add the attention's nodes."""
        x = onnx.matmul(self.qkv, x, f"{path}.qkv")
        shape = onnx.constant("attn.split_heads", np.array([0, _TOKENS, 3, _HEADS, _DIM // _HEADS]))
        x = onnx.node("Transpose", [onnx.node("Reshape", [x, shape], scope)], scope, perm=[2, 0, 3, 1, 4])
        index = [onnx.constant(f"attn.index_{name}", np.array(place)) for place, name in enumerate("qkv")]
        q, k, v = (
            onnx.node("Gather", [x, at], f"{scope}/{name}", axis=0) for at, name in zip(index, "qkv", strict=True)
        )
        k = onnx.node("Transpose", [k], f"{scope}/k", perm=[0, 1, 3, 2])
        scale = onnx.constant("attn.scale", np.array((_DIM // _HEADS) ** -0.5, dtype=np.float32))
        scores = onnx.node("Mul", [onnx.node("MatMul", [q, k], f"{scope}/scores"), scale], f"{scope}/scores")
        mixed = onnx.node("MatMul", [onnx.node("Softmax", [scores], scope, axis=-1), v], f"{scope}/values")
        mixed = onnx.node("Transpose", [mixed], f"{scope}/values", perm=[0, 2, 1, 3])
        shape = onnx.constant("attn.join_heads", np.array([0, _TOKENS, _DIM]))
        return onnx.matmul(self.proj, onnx.node("Reshape", [mixed, shape], f"{scope}/values"), f"{path}.proj")


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(_DIM, _HIDDEN)
        self.fc2 = nn.Linear(_HIDDEN, _DIM)

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, dim] -> the same."""
        y: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return y

    def write(self, onnx: OnnxWriter, x: str, path: str) -> str:
        """Add the layers' nodes."""
        return onnx.matmul(self.fc2, onnx.gelu(onnx.matmul(self.fc1, x, f"{path}.fc1"), f"{path}.gelu"), f"{path}.fc2")


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_DIM)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(_DIM)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        """[N, tokens, dim] -> the same."""
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y

    def write(self, onnx: OnnxWriter, x: str, path: str) -> str:
        """Add the block's nodes."""
        y = self.attn.write(onnx, onnx.layer_norm(self.norm1, x, f"{path}.norm1"), f"{path}.attn", f"{path}/attn")
        x = onnx.node("Add", [x, y], f"{path}/residual1")
        y = self.mlp.write(onnx, onnx.layer_norm(self.norm2, x, f"{path}.norm2"), f"{path}.mlp")
        return onnx.node("Add", [x, y], f"{path}/residual2")


class SmallVit(nn.Module):
    """A token for each 4x4 pixels, learned positions, pre-norm blocks, the mean over tokens and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _STEM, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(_STEM)
        self.patch_embed = nn.Conv2d(_STEM, _DIM, 3, 2, 1, bias=False)
        self.patch_bn = nn.BatchNorm2d(_DIM)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, _TOKENS, _DIM))
        self.blocks = nn.Sequential(*(Block() for _ in range(_DEPTH)))
        self.norm = nn.LayerNorm(_DIM)
        self.head = nn.Linear(_DIM, len(CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, classes]."""
        x = self.patch_embed(nn.functional.gelu(self.stem_bn(self.stem(image))))
        x = self.patch_bn(x).flatten(2).transpose(1, 2) + self.pos_embed
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


def write(module: nn.Module) -> ModelProto:
    """Make the ONNX model of a trained `SmallVit`."""
    assert isinstance(module, SmallVit)  # noqa: S101 - narrows for the type checker
    onnx = OnnxWriter("small_vit")
    x = onnx.batch_norm(module.stem_bn, onnx.conv(module.stem, INPUT_NAME, "stem"), "stem_bn")
    x = onnx.conv(module.patch_embed, onnx.gelu(x, "stem.gelu"), "patch_embed")
    x = onnx.batch_norm(module.patch_bn, x, "patch_bn")
    x = onnx.node("Reshape", [x, onnx.constant("patch_embed.shape", np.array([0, _DIM, _TOKENS]))], "patch_embed")
    x = onnx.node("Transpose", [x], "patch_embed", perm=[0, 2, 1])
    x = onnx.node("Add", [x, onnx.constant("pos_embed", module.pos_embed)], "pos_embed")
    for position, block in enumerate(module.blocks):
        assert isinstance(block, Block)  # noqa: S101 - narrows for the type checker
        x = block.write(onnx, x, f"blocks.{position}")
    x = onnx.node("ReduceMean", [onnx.layer_norm(module.norm, x, "norm")], "pool", axes=[1], keepdims=0)
    x = onnx.gemm(module.head, x, "head")
    return onnx.finish(x, inputs={INPUT_NAME: ["batch", 1, HEIGHT, HEIGHT]}, shape=["batch", len(CLASSES)])


if __name__ == "__main__":
    run(__file__, SmallVit, write, Course(epochs=5, images=40_000, batch=64, rate=2e-3, threads=1))
