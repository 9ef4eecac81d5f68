"""Write down what a convolution's weights say anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx_ir as ir

from workbench.graph.edits.wide import WideEdit
from workbench.graph.weights import constant_of

if TYPE_CHECKING:
    from workbench.graph.edits.wide import Area

__all__ = ["StateKernelShape"]


class StateKernelShape(WideEdit):
    """State the kernel shape of every Conv and ConvTranspose that leaves it to its weights.

    ONNX lets it be inferred. TensorRT 8.6's parser infers it from constant weights only: once they come from a
    DequantizeLinear it refuses the node ("input tensor shape misaligns with the input kernel shape").
    """

    do: Literal["state_kernel_shape"] = "state_kernel_shape"
    title: ClassVar[str] = "State kernel shapes"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _kernel(node) is not None

    def sweep(self, area: Area) -> list[str] | None:
        stated = 0
        for _, _, node in area:
            if (kernel := _kernel(node)) is not None:
                node.attributes.add(ir.AttrInt64s("kernel_shape", kernel))
                stated += 1
        return [f"stated the kernel shape of {stated} convolutions"] if stated else None


def _kernel(node: ir.Node) -> list[int] | None:
    """Return the kernel shape that a convolution does not state and its weights say."""
    if node.op_type not in ("Conv", "ConvTranspose") or node.domain or "kernel_shape" in node.attributes:
        return None
    weight = None if node.inputs[1] is None else constant_of(node.inputs[1])
    return None if weight is None else list(weight.shape.numpy()[2:])
