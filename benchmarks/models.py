"""Models of well-known shapes with seeded weights: what benchmarks run on, without downloading anything.

The shapes (layers, channels, strides) are those of the papers; the weights are random, heavy-tailed like trained ones,
and scaled so that activations keep their size through the network. Speed depends on shapes alone; accuracy figures on
these models say nothing about trained ones.

    python benchmarks/models.py FOLDER [resnet50] [mobilenet_v2] [vit_small]    writes FOLDER/NAME.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["mobilenet_v2", "resnet50", "vit_small"]

OPSET = 17


class _Builder:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, shape: tuple[int, ...], fan_in: int) -> str:
        # Student's t with 5 degrees of freedom has tails like trained weights; the factor keeps the variance.
        values = self.random.standard_t(5, shape) * np.sqrt(2.0 / fan_in * 3 / 5)
        return self.constant(name, values.astype(np.float32))

    def constant(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def conv(
        self, x: str, name: str, shape: tuple[int, int, int], *, stride: int = 1, group: int = 1, damping: int = 1
    ) -> str:
        """Convolution of `shape` (channels in, channels out, kernel) with bias, padded to keep the size.

        `damping` makes the end of a residual branch small, so that sixteen of them do not add up to huge numbers.
        """
        c_in, c_out, kernel = shape
        fan_in = damping * c_in // group * kernel * kernel
        w = self.weight(f"{name}.weight", (c_out, c_in // group, kernel, kernel), fan_in)
        b = self.constant(f"{name}.bias", (self.random.standard_normal(c_out) * 0.1).astype(np.float32))
        pads = [kernel // 2] * 4
        return self.node(
            "Conv", [x, w, b], name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group
        )

    def linear(self, x: str, name: str, c_in: int, c_out: int) -> str:
        """MatMul and Add, as exporters write a linear layer of a transformer."""
        w = self.weight(f"{name}.weight", (c_in, c_out), 2 * c_in)
        b = self.constant(f"{name}.bias", np.zeros(c_out, np.float32))
        return self.node("Add", [self.node("MatMul", [x, w], f"{name}/MatMul"), b], f"{name}/Add")

    def model(self, name: str, x: tuple[object, ...], y: str, classes: int) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, (x[0], classes))],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="workbench benchmarks")


def resnet50(batch: int | str = "N", size: int = 224, seed: int = 0) -> onnx.ModelProto:
    """ResNet-50 (He et al. 2015, stride in the 3x3 convolution), BatchNormalization folded: 53 Conv, 1 Gemm."""
    b = _Builder(seed)
    x = b.node("Relu", [b.conv("input", "stem/conv", (3, 64, 7), stride=2)], "stem/relu")
    x = b.node("MaxPool", [x], "stem/pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c_in = 64
    for stage, (depth, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(depth):
            name, stride = f"layer{stage}/{block}", 2 if stage > 1 and block == 0 else 1
            y = b.node("Relu", [b.conv(x, f"{name}/conv1", (c_in, width, 1))], f"{name}/relu1")
            y = b.node("Relu", [b.conv(y, f"{name}/conv2", (width, width, 3), stride=stride)], f"{name}/relu2")
            y = b.conv(y, f"{name}/conv3", (width, 4 * width, 1), damping=16)
            shortcut = b.conv(x, f"{name}/downsample", (c_in, 4 * width, 1), stride=stride) if block == 0 else x
            x = b.node("Relu", [b.node("Add", [y, shortcut], f"{name}/add")], f"{name}/relu3")
            c_in = 4 * width
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "pool")], "flatten")
    w = b.weight("fc.weight", (1000, 2048), 2 * 2048)
    y = b.node("Gemm", [x, w, b.constant("fc.bias", np.zeros(1000, np.float32))], "fc", transB=1)
    return b.model("resnet50", (batch, 3, size, size), y, 1000)


def mobilenet_v2(batch: int | str = "N", size: int = 224, seed: int = 0) -> onnx.ModelProto:
    """MobileNetV2 (Sandler et al. 2018), BatchNormalization folded: 52 Conv, 1 Gemm."""
    b = _Builder(seed)

    def relu6(x: str, name: str) -> str:
        return b.node("Clip", [x, "zero", "six"], f"{name}/relu6")

    b.constant("zero", np.float32(0))
    b.constant("six", np.float32(6))
    x, c_in, position = relu6(b.conv("input", "stem/conv", (3, 32, 3), stride=2), "stem"), 32, 0
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, c_out, repeats, first_stride in table:
        for repeat in range(repeats):
            name, stride, wide = f"blocks.{position}", first_stride if repeat == 0 else 1, c_in * expand
            y = x if expand == 1 else relu6(b.conv(x, f"{name}/expand", (c_in, wide, 1)), f"{name}/expand")
            y = relu6(b.conv(y, f"{name}/depthwise", (wide, wide, 3), stride=stride, group=wide), f"{name}/depthwise")
            y = b.conv(y, f"{name}/project", (wide, c_out, 1))
            x = b.node("Add", [x, y], f"{name}/add") if stride == 1 and c_in == c_out else y
            c_in, position = c_out, position + 1
    x = relu6(b.conv(x, "head/conv", (320, 1280, 1)), "head")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "pool")], "flatten")
    w = b.weight("classifier.weight", (1000, 1280), 2 * 1280)
    y = b.node("Gemm", [x, w, b.constant("classifier.bias", np.zeros(1000, np.float32))], "classifier", transB=1)
    return b.model("mobilenet_v2", (batch, 3, size, size), y, 1000)


def vit_small(batch: int | str = "N", size: int = 224, depth: int = 12, seed: int = 0) -> onnx.ModelProto:
    """ViT-S/16 (Touvron et al. 2021): 12 blocks, width 384, 6 heads, GELU as Erf, as exporters write it."""
    b = _Builder(seed)
    width, heads, tokens = 384, 6, (size // 16) ** 2 + 1
    for name, value in (("sqrt2", np.sqrt(2.0)), ("one", 1.0), ("half", 0.5), ("scale", 1 / np.sqrt(width // heads))):
        b.constant(name, np.float32(value))
    for name, shape in (
        ("patches", (0, width, tokens - 1)),
        ("split", (0, tokens, 3, heads, width // heads)),
        ("joined", (0, tokens, width)),
    ):
        b.constant(name, np.array(shape, np.int64))
    w = b.weight("patch.weight", (width, 3, 16, 16), 2 * 3 * 256)
    x = b.node("Conv", ["input", w], "patch_embed/conv", kernel_shape=[16, 16], strides=[16, 16])
    x = b.node("Transpose", [b.node("Reshape", [x, "patches"], "patch_embed/flat")], "patch_embed/t", perm=[0, 2, 1])
    # The class token is the mean of the patches here: a Concat of equal batch without an Expand.
    token = b.node("ReduceMean", [x], "patch_embed/token", axes=[1], keepdims=1)
    x = b.node("Concat", [token, x], "patch_embed/concat", axis=1)
    position = b.constant("position", (b.random.standard_normal((1, tokens, width)) * 0.02).astype(np.float32))
    x = b.node("Add", [x, position], "patch_embed/position")
    for block in range(depth):
        x = _block(b, x, f"blocks.{block}", width)
    x = _norm(b, x, "norm", width)
    b.constant("first", np.int64(0))
    x = b.node("Gather", [x, "first"], "head/token", axis=1)
    w = b.weight("head.weight", (1000, width), 2 * width)
    y = b.node("Gemm", [x, w, b.constant("head.bias", np.zeros(1000, np.float32))], "head/fc", transB=1)
    return b.model("vit_small", (batch, 3, size, size), y, 1000)


def _norm(b: _Builder, x: str, name: str, width: int) -> str:
    scale = b.constant(f"{name}.scale", np.ones(width, np.float32))
    return b.node(
        "LayerNormalization", [x, scale, b.constant(f"{name}.bias", np.zeros(width, np.float32))], name, axis=-1
    )


def _block(b: _Builder, x: str, name: str, width: int) -> str:
    qkv = b.node(
        "Reshape",
        [b.linear(_norm(b, x, f"{name}/norm1", width), f"{name}/attn/qkv", width, 3 * width), "split"],
        f"{name}/attn/split",
    )
    qkv = b.node("Transpose", [qkv], f"{name}/attn/heads", perm=[2, 0, 3, 1, 4])
    q, k, v = (b.node("Gather", [qkv, index], f"{name}/attn/{part}", axis=0) for part, index in _parts(b, name))
    k = b.node("Transpose", [k], f"{name}/attn/kT", perm=[0, 1, 3, 2])
    scores = b.node("Mul", [b.node("MatMul", [q, k], f"{name}/attn/qk"), "scale"], f"{name}/attn/scaled")
    y = b.node("MatMul", [b.node("Softmax", [scores], f"{name}/attn/softmax", axis=-1), v], f"{name}/attn/av")
    y = b.node(
        "Reshape", [b.node("Transpose", [y], f"{name}/attn/back", perm=[0, 2, 1, 3]), "joined"], f"{name}/attn/flat"
    )
    x = b.node("Add", [x, b.linear(y, f"{name}/attn/proj", width, width)], f"{name}/add1")
    y = b.linear(_norm(b, x, f"{name}/norm2", width), f"{name}/mlp/fc1", width, 4 * width)
    erf = b.node("Erf", [b.node("Div", [y, "sqrt2"], f"{name}/mlp/div")], f"{name}/mlp/erf")
    gate = b.node("Mul", [y, b.node("Add", [erf, "one"], f"{name}/mlp/plus")], f"{name}/mlp/gate")
    y = b.linear(b.node("Mul", [gate, "half"], f"{name}/mlp/gelu"), f"{name}/mlp/fc2", 4 * width, width)
    return b.node("Add", [x, y], f"{name}/add2")


def _parts(b: _Builder, name: str) -> list[tuple[str, str]]:
    return [(part, b.constant(f"{name}.{part}.index", np.int64(i))) for i, part in enumerate("qkv")]


def main(folder: str, *names: str) -> None:
    """Write the models of these names, all of them where none is given."""
    makers = {maker.__name__: maker for maker in (resnet50, mobilenet_v2, vit_small)}
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or makers:
        onnx.save(makers[name](), Path(folder) / f"{name}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
