"""Write a trained torch module as ONNX node by node, so that nothing is fused and every name tells where it belongs.

Names follow the module tree: the weights of the module ``layer1.0.conv1`` are ``layer1.0.conv1.weight``, its node is
``/layer1.0/conv1/Conv`` and that node's output ``/layer1.0/conv1/Conv_output_0``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["OPSET", "OnnxWriter"]

OPSET = 17


class OnnxWriter:
    """Collects nodes and weights; each method adds the nodes of one layer and returns the name of its output.

    Parameters
    ----------
    name
        Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Tensor | NDArray[Any]) -> str:
        """Add an initializer, once, and return its name."""
        if name not in self._weights:
            array = value if isinstance(value, np.ndarray) else value.detach().numpy()
            self._weights[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def node(self, op: str, inputs: Sequence[str], scope: str, *, outputs: int = 1, **attributes: Any) -> str:
        """Add a node ``/scope/op`` and return the name of its first output."""
        name = f"/{scope}/{op}" if scope else f"/{op}"
        outs = [f"{name}_output_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), outs, name=name, **attributes))
        return outs[0]

    def conv(self, layer: nn.Conv2d, x: str, path: str) -> str:
        """Add a Conv."""
        inputs = [x, self.constant(f"{path}.weight", layer.weight)]
        if layer.bias is not None:
            inputs.append(self.constant(f"{path}.bias", layer.bias))
        pads = [int(p) for p in layer.padding] * 2
        return self.node(
            "Conv",
            inputs,
            _scope(path),
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=pads,
            group=layer.groups,
        )

    def batch_norm(self, layer: nn.BatchNorm2d, x: str, path: str) -> str:
        """Add a BatchNormalization with its running statistics."""
        assert layer.running_mean is not None  # noqa: S101 - narrows for the type checker
        assert layer.running_var is not None  # noqa: S101 - narrows for the type checker
        inputs = [
            x,
            self.constant(f"{path}.weight", layer.weight),
            self.constant(f"{path}.bias", layer.bias),
            self.constant(f"{path}.running_mean", layer.running_mean),
            self.constant(f"{path}.running_var", layer.running_var),
        ]
        return self.node("BatchNormalization", inputs, _scope(path), epsilon=layer.eps)

    def gemm(self, layer: nn.Linear, x: str, path: str) -> str:
        """Add a Gemm for a linear layer on a matrix."""
        inputs = [x, self.constant(f"{path}.weight", layer.weight), self.constant(f"{path}.bias", layer.bias)]
        return self.node("Gemm", inputs, _scope(path), transB=1)

    def matmul(self, layer: nn.Linear, x: str, path: str) -> str:
        """Add MatMul and Add for a linear layer on anything of more axes than a matrix."""
        product = self.node("MatMul", [x, self.constant(f"{path}.weight", layer.weight.T)], _scope(path))
        return self.node("Add", [product, self.constant(f"{path}.bias", layer.bias)], _scope(path))

    def layer_norm(self, layer: nn.LayerNorm, x: str, path: str) -> str:
        """Add a LayerNormalization over the last axis."""
        inputs = [x, self.constant(f"{path}.weight", layer.weight), self.constant(f"{path}.bias", layer.bias)]
        return self.node("LayerNormalization", inputs, _scope(path), axis=-1, epsilon=layer.eps)

    def gelu(self, x: str, scope: str) -> str:
        """Add GELU spelled out: x * (1 + erf(x / sqrt 2)) * 0.5, as exporters of opset 17 write it."""
        root = self.constant(f"{scope}.sqrt_two", np.array(math.sqrt(2.0), dtype=np.float32))
        one = self.constant(f"{scope}.one", np.array(1.0, dtype=np.float32))
        half = self.constant(f"{scope}.half", np.array(0.5, dtype=np.float32))
        scope = _scope(scope)
        erf = self.node("Erf", [self.node("Div", [x, root], scope)], scope)
        gated = self.node("Mul", [x, self.node("Add", [erf, one], scope)], scope)
        return self.node("Mul", [gated, half], f"{scope}/scaled")

    def finish(self, output: str, *, inputs: dict[str, list[str | int]], shape: list[str | int]) -> onnx.ModelProto:
        """Name the model's output ``logits`` and return the checked model."""
        for node in self._nodes:
            node.output[:] = ["logits" if name == output else name for name in node.output]
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in inputs.items()],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
            list(self._weights.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=8,
            producer_name="sample_models",
            doc_string="Apache-2.0; trained on generated glyphs",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _scope(path: str) -> str:
    """``layer1.0.conv1`` as a scope: an index stays with the list it belongs to, ``layer1.0/conv1``."""
    parts: list[str] = []
    for part in path.split("."):
        if part.isdigit() and parts:
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return "/".join(parts)
