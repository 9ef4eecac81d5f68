"""Small generated networks for the tests of precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import from_proto

if TYPE_CHECKING:
    from workbench.graph.model import Model

SIZE = 8
BLOCKS = (
    "conv",
    "conv_bn_relu",
    "depthwise",
    "shared_weight",
    "two_readers",
    "residual",
    "residual_projection",
    "upsample",
    "pool",
    "sigmoid",
)
HEADS = ("none", "gemm", "matmul", "attention")


class Net:
    """A network in the making; every method adds nodes and returns the name of a result."""

    def __init__(self, *, opset: int = 17, seed: int = 0, channels: int = 4) -> None:
        self.opset = opset
        self.channels = channels
        self.nodes = []
        self.weights = []
        self._rng = np.random.default_rng(seed)

    def weight(self, *shape: int, scale: float = 0.3) -> str:
        return self.constant(self._rng.normal(size=shape, scale=scale).astype(np.float32))

    def constant(self, array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op_type: str, *inputs: str, **attributes) -> str:
        position = len(self.nodes)
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [f"t{position}"], name=f"{op_type}_{position}", **attributes)
        )
        return f"t{position}"

    def conv(self, x: str, *, weight: str | None = None, kernel: int = 3, group: int = 1) -> str:
        c = self.channels
        weight = weight or self.weight(c, c // group, kernel, kernel)
        return self.op("Conv", x, weight, self.weight(c), pads=[kernel // 2] * 4, group=group)

    def norm(self, x: str) -> str:
        c = self.channels
        positive = [self.constant(self._rng.uniform(0.5, 1.5, c).astype(np.float32)) for _ in range(2)]
        return self.op("BatchNormalization", x, positive[0], self.weight(c), self.weight(c), positive[1])

    def layer_norm(self, x: str, width: int) -> str:
        """LayerNormalization as exporters write it out before operator set 17."""
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Pow", centred, self.constant(np.float32(2))), axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(np.float32(1e-12))))
        return self.op(
            "Add", self.op("Mul", self.op("Div", centred, deviation), self.weight(width)), self.weight(width)
        )

    def attention(self, x: str, width: int) -> str:
        """Single-headed self-attention on [N, tokens, width]."""
        q, k, v = (self.op("MatMul", x, self.weight(width, width)) for _ in range(3))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 2, 1]))
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), v)

    def block(self, kind: str, x: str) -> str:
        if kind == "conv":
            return self.conv(x)
        if kind == "conv_bn_relu":
            return self.op("Relu", self.norm(self.conv(x)))
        if kind == "depthwise":
            return self.op("Relu", self.conv(x, group=self.channels))
        if kind == "shared_weight":
            weight = self.weight(self.channels, self.channels, 3, 3)
            return self.conv(self.op("Relu", self.conv(x, weight=weight)), weight=weight)
        if kind == "two_readers":
            return self.op("Mul", self.conv(x), self.conv(x, kernel=1))
        if kind == "residual":
            return self.op("Relu", self.op("Add", self.norm(self.conv(self.op("Relu", self.conv(x)))), x))
        if kind == "residual_projection":
            return self.op("Relu", self.op("Add", self.conv(self.op("Relu", self.conv(x))), self.conv(x, kernel=1)))
        if kind == "upsample":
            c = self.channels
            up = self.op("ConvTranspose", x, self.weight(c, c, 2, 2), self.weight(c), strides=[2, 2])
            return self.op("MaxPool", up, kernel_shape=[2, 2], strides=[2, 2])
        if kind == "pool":
            return self.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return self.op("Sigmoid", x)

    def head(self, kind: str, x: str) -> str:
        if kind == "none":
            return x
        c, n = self.channels, SIZE * SIZE
        if kind == "gemm":
            flat = self.op("Flatten", self.op("GlobalAveragePool", x))
            return self.op("Gemm", flat, self.weight(3, c), self.weight(3), transB=1)
        tokens = self.op("Transpose", self.op("Reshape", x, self.constant(np.array([1, c, n]))), perm=[0, 2, 1])
        if kind == "matmul":
            return self.op("Add", self.op("MatMul", tokens, self.weight(c, 6)), self.weight(6))
        return self.attention(self.layer_norm(tokens, c), c)

    def model(self, output: str, *, shape=None) -> Model:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, self.channels, SIZE, SIZE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        proto.ir_version = 10
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.output[0]
        proto.graph.output[0].CopyFrom(inferred)
        return from_proto(proto)


def network(*blocks: str, head: str = "none", opset: int = 17, seed: int = 0) -> Model:
    """Blocks one after the other on x [1, 4, 8, 8]."""
    net = Net(opset=opset, seed=seed)
    x = "x"
    for kind in blocks:
        x = net.block(kind, x)
    return net.model(net.head(head, x))


@st.composite
def networks(draw, *, opset: int = 17) -> Model:
    """Any network of up to five blocks and a head."""
    blocks = draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5))
    return network(*blocks, head=draw(st.sampled_from(HEADS)), opset=opset, seed=draw(st.integers(0, 3)))


def feed(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    """One seeded input."""
    rng = np.random.default_rng(seed)
    return {t.name: rng.normal(size=t.static_shape).astype(np.float32) for t in model.inputs}


def ranges_of(model: Model, tensors, seed: int = 0) -> dict[str, float]:
    """The real largest magnitudes on one seeded input."""
    from workbench.runtime.session import Session

    if not tensors:
        return {}
    results = Session(model, outputs=list(tensors)).run(feed(model, seed))
    return {name: float(np.abs(array).max()) for name, array in results.items()}
