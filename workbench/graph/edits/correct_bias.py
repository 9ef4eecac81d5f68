"""Take out of biases what quantization adds to the mean of each channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.domains import onnx_op
from workbench.graph.edits.base import Edit
from workbench.graph.edits.surgery import drop_unused, fresh_name

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["CorrectBias", "uncorrectable"]


class CorrectBias(Edit):
    """Add to the biases of Conv, ConvTranspose and Gemm nodes.

    After M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section
    4.2: rounding shifts the mean of a channel, and a bias takes the shift back for nothing. The floating-point model is
    not the same afterwards; it is what the quantized one needs. Shifts are measured by
    `workbench.precision.measured_edits.correction.bias_shifts`, in the main graph alone, for no other is quantized.

    Parameters
    ----------
    shifts
        Node to what is added to each output channel.
    """

    do: Literal["correct_bias"] = "correct_bias"
    title: ClassVar[str] = "Correct biases"
    equivalent: ClassVar[bool] = False
    shifts: dict[str, tuple[float, ...]]

    def requires(self, model: Model) -> None:
        for name, shift in self.shifts.items():
            node = model.top_nodes.get(name)
            reason = "no Conv, ConvTranspose or Gemm of this name" if node is None else uncorrectable(node)
            bias = None if node is None else _bias(node)
            held = None if bias is None else bias.const_value
            if reason is None and held is not None and held.size not in (1, len(shift)):
                reason = f"no constant bias of {len(shift)} channels"
            if reason is not None:
                raise EditError(reason, where=name, fix="Leave it out.")

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        nodes = {node.name: node for node in graph.graph}
        changed = {name: shift for name, shift in self.shifts.items() if any(shift)}
        for name, shift in changed.items():
            dtype = model.tensor(str(nodes[name].outputs[0].name)).dtype
            _shift(graph.graph, nodes[name], np.array(shift, np.float16 if dtype == "FLOAT16" else np.float32))
        return [f"corrected the biases of {len(changed)} nodes"] if changed else None


def uncorrectable(node: ir.Node) -> str | None:
    """Say why no number a channel can be added to a node's bias, ``None`` where it can."""
    if onnx_op(node) not in ("Conv", "ConvTranspose", "Gemm"):
        return "no Conv, ConvTranspose or Gemm of this name"
    bias = _bias(node)
    held = None if bias is None else bias.const_value
    if bias is not None and held is None:
        return "its bias is no constant"
    if node.op_type != "Gemm":
        return None
    if "beta" in node.attributes and node.attributes["beta"].as_float() != 1.0:
        return "its bias is multiplied by beta"
    if node.inputs[1] is None or not node.inputs[1].is_initializer():
        return "its columns are no channels, for they are computed"
    # A Gemm's may have a number a row, [M, 1], or one an element.
    shape = () if held is None else tuple(held.shape.numpy())
    return "its bias is not one number a column" if math.prod(shape[:-1]) != 1 else None


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _shift(graph: ir.Graph, node: ir.Node, shift: np.ndarray[tuple[int, ...], np.dtype[np.floating[Any]]]) -> None:
    old = _bias(node)
    before = 0.0 if old is None or old.const_value is None else old.const_value.numpy().reshape(-1)
    node.resize_inputs(3)
    node.replace_input_with(2, None)
    drop_unused(graph, [old])
    name = f"{node.name}/corrected_bias"
    if old is None or old.name != name or name in graph.initializers:  # else it was corrected before
        name = fresh_name(graph, name)
    tensor = ir.Tensor((before + shift).astype(shift.dtype), name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape))
    graph.initializers.add(value)
    node.replace_input_with(2, value)
