"""Fold BatchNormalization into the convolution before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import onnx_op
from workbench.graph.edits.surgery import add_constant, constant_array, drop_unused
from workbench.graph.edits.wide import WideEdit

if TYPE_CHECKING:
    from workbench.graph.edits.wide import Area

__all__ = ["FoldBatchNorm"]

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class FoldBatchNorm(WideEdit):
    """Fold BatchNormalization into the Conv, ConvTranspose or Gemm before it.

    With ``k = scale / sqrt(var + epsilon)`` a channel: ``W' = k W`` and ``B' = k (B - mean) + bias``
    (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    section 3.2).
    Computed in float64 and rounded once, so the bytes are the same on every machine.

    A pair is folded where the convolution's result goes nowhere else and all weights are constants.
    """

    do: Literal["fold_batch_norm"] = "fold_batch_norm"
    title: ClassVar[str] = "Fold BatchNormalization"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _layer_before(node) is not None

    def sweep(self, area: Area) -> list[str] | None:
        folded = 0
        for _, part, node in area:
            if (layer := _layer_before(node)) is not None:
                folded += _fold(node, layer, part)
        return [f"folded {folded} BatchNormalization nodes into the layer before them"] if folded else None


def _fold(norm: ir.Node, layer: ir.Node, part: ir.Graph) -> bool:
    source = layer.outputs[0]
    weight = layer.inputs[1]
    old_bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    stored = constant_array(weight)
    b = np.zeros(1) if old_bias is None else _array(old_bias)
    constants = [_array(value) for value in norm.inputs[1:5]]
    if weight is None or stored is None or b is None or any(c is None for c in constants):
        return False
    scale, shift, mean, var = (c for c in constants if c is not None)
    if layer.op_type == "Gemm" and not _plain_gemm(layer):
        return False
    w = stored.astype(np.float64)
    epsilon = norm.attributes["epsilon"].as_float() if "epsilon" in norm.attributes else 1e-5
    k = scale / np.sqrt(var + np.float64(np.float32(epsilon)))
    axis = _output_axis(layer)
    group = layer.attributes["group"].as_int() if "group" in layer.attributes else 1
    new_w = _scale_channels(w, k, axis, group)
    if new_w is None:
        return False
    dtype = stored.dtype
    name = norm.outputs[0].name
    folded_w = add_constant(part, f"{weight.name}_folded_{norm.name}", new_w.astype(dtype))
    folded_b = add_constant(part, f"{norm.name}_bias", (k * (b - mean) + shift).astype(dtype))
    layer.resize_inputs(3)
    layer.replace_input_with(1, folded_w)
    layer.replace_input_with(2, folded_b)
    # The result keeps the name that the rest of the graph, and whoever reads it, knows.
    ir.convenience.replace_all_uses_with(norm.outputs[0], source, replace_graph_outputs=True)
    read = (weight, old_bias, *norm.inputs[1:5])
    part.remove(norm, safe=True)
    source.name = name
    source.type, source.shape = norm.outputs[0].type, norm.outputs[0].shape
    drop_unused(part, read)
    return True


def _layer_before(norm: ir.Node) -> ir.Node | None:
    """Return the layer a BatchNormalization can go into, as far as the graph's shape tells; ``None`` for any other."""
    if onnx_op(norm) != "BatchNormalization" or (source := norm.inputs[0]) is None:
        return None
    layer = source.producer()
    if layer is None or onnx_op(layer) not in ("Conv", "ConvTranspose", "Gemm"):
        return None
    if len(source.uses()) != 1 or source.is_graph_output() or layer.graph is not norm.graph or len(layer.inputs) < 2:
        return None
    training = "training_mode" in norm.attributes and norm.attributes["training_mode"].as_int()
    if training or any(output.uses() or output.is_graph_output() for output in norm.outputs[1:]):
        return None  # it normalizes with the batch's own statistics
    return layer


def _array(value: ir.Value | None) -> Array | None:
    array = constant_array(value)
    return None if array is None else array.astype(np.float64)


def _plain_gemm(node: ir.Node) -> bool:
    """Only alpha = beta = 1 keeps weight and bias independent."""
    return all(node.attributes[name].as_float() == 1.0 for name in ("alpha", "beta") if name in node.attributes)


def _output_axis(node: ir.Node) -> int:
    """Return the axis of the weight that counts output channels (within a group for ConvTranspose)."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if "transB" in node.attributes and node.attributes["transB"].as_int() else 1


def _scale_channels(w: Array, k: Array, axis: int, group: int) -> Array | None:
    shape = [1] * w.ndim
    shape[axis] = -1
    if axis == 1 and group > 1:
        # ConvTranspose weights are [C_in, C_out / group, ...]: rows of one group share that group's output channels.
        if w.shape[1] * group != k.size:
            return None
        rows = w.shape[0] // group
        parts = [w[g * rows : (g + 1) * rows] * part.reshape(shape) for g, part in enumerate(np.split(k, group))]
        return np.concatenate(parts)
    if w.shape[axis] != k.size:
        return None
    return w * k.reshape(shape)
