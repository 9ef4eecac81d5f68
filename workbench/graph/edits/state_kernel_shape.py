"""Write down what a convolution's weights say anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir

from workbench.graph.edits.base import Edit
from workbench.graph.model import graphs_of

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["StateKernelShape"]


class StateKernelShape(Edit):
    """State the kernel shape of every Conv and ConvTranspose that leaves it to its weights.

    ONNX lets it be inferred. TensorRT 8.6's parser infers it from constant weights only: once they come from a
    DequantizeLinear it refuses the node ("input tensor shape misaligns with the input kernel shape").
    """

    do: Literal["state_kernel_shape"] = "state_kernel_shape"
    title: ClassVar[str] = "State kernel shapes"

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        stated = sum(_state(node) for _, part in graphs_of(graph) for node in part)
        return [f"stated the kernel shape of {stated} convolutions"] if stated else None


def _state(node: ir.Node) -> bool:
    if node.op_type not in ("Conv", "ConvTranspose") or node.domain or "kernel_shape" in node.attributes:
        return False
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return False
    node.attributes.add(ir.AttrInt64s("kernel_shape", list(weight.const_value.numpy().shape[2:])))
    return True
