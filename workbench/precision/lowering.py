"""The only writer of precision: a model and a resolved plan in, a model with Q/DQ pairs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from workbench.errors import PrecisionError
from workbench.graph.edits.convert_opset import ConvertOpset
from workbench.graph.model import content_of
from workbench.graph.naming import repair_names
from workbench.precision.placement import activations, weight_axis, weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph.model import Model
    from workbench.precision.plan import Resolution

__all__ = ["OPSET_FOR_QDQ", "Lowered", "activation_tensors", "lower", "quantize_weight", "scale_of"]

OPSET_FOR_QDQ = 13
"""The first operator set whose QuantizeLinear has an axis, which per-channel weights need."""

QMAX = 127
"""Symmetric INT8 uses -127 to 127: TensorRT wants zero point 0, and -128 would have no mirror image."""

WeightStorage = Literal["int8", "float"]


@dataclass(frozen=True)
class Lowered:
    """A lowered model and what was written into it.

    Parameters
    ----------
    model
        The model with Q/DQ pairs.
    activations
        Names of the tensors that got a Q/DQ pair, in graph order.
    weights
        Names of the weights that were quantized, in graph order.
    """

    model: Model
    activations: tuple[str, ...]
    weights: tuple[str, ...]


def activation_tensors(model: Model, resolution: Resolution) -> list[str]:
    """Return the tensors whose ranges a lowering needs: what calibration has to observe, in graph order."""
    return list(dict.fromkeys(edge.tensor for edge in activations(model, resolution.nodes("int8"))))


def lower(
    model: Model, resolution: Resolution, ranges: Mapping[str, float], *, weight_storage: WeightStorage = "int8"
) -> Lowered:
    """Write a resolved plan into the graph as QuantizeLinear/DequantizeLinear pairs.

    Activations: symmetric INT8, one scale a tensor, one pair shared by all INT8 consumers of the tensor. Weights:
    symmetric INT8, one scale an output channel. Biases and everything else stay as they are.

    Parameters
    ----------
    model
        The model after its edits, of operator set 13 or newer where anything is to be INT8.
    resolution
        The plan, resolved on this very model.
    ranges
        Tensor name to the largest magnitude that INT8 has to represent (``amax``, the clipping threshold).
    weight_storage
        ``int8``: weights are stored as INT8 behind a DequantizeLinear, a quarter of the bytes. ``float``: as they were,
        behind a Q/DQ pair; the same numbers.

    Returns
    -------
    Lowered

    Raises
    ------
    PrecisionError
        A tensor without a range, a range that is no positive number, or an operator set that is too old.
    """
    addresses = resolution.nodes("int8")
    if not addresses:
        return Lowered(model, (), ())
    if model.opset < OPSET_FOR_QDQ:
        raise PrecisionError(
            f"operator set {model.opset} has no per-channel QuantizeLinear",
            where=model.name,
            fix=f"Convert it first: wb.edit('convert_opset', version={OPSET_FOR_QDQ}).",
        )
    graph = model.thaw()
    writer = _Writer(graph)
    for edge in activations(model, addresses):
        writer.quantize_activation(edge.node, edge.position, _amax(ranges, edge.tensor))
    for edge in weights(model, addresses):
        writer.quantize_weight(edge.node, edge.position, weight_storage)
    repair_names(graph)
    return Lowered(model.replaced(graph), tuple(writer.activations), tuple(writer.weights))


def needed_opset(model: Model, resolution: Resolution) -> ConvertOpset | None:
    """Return the conversion that a model needs before it can be lowered, ``None`` where it needs none."""
    if resolution.nodes("int8") and model.opset < OPSET_FOR_QDQ:
        return ConvertOpset(version=OPSET_FOR_QDQ)
    return None


def scale_of(amax: npt.NDArray[Any] | float) -> npt.NDArray[np.float32]:
    """Return the INT8 scale of a clipping threshold: ``amax / 127``, float32.

    Nothing (0) gets scale 1, which represents it exactly; a threshold so small that its scale would be subnormal gets
    the smallest normal one, because GPUs flush subnormal numbers to zero and would divide by it.
    """
    values = np.asarray(amax, dtype=np.float32)
    scale = np.maximum(values / np.float32(QMAX), np.finfo(np.float32).tiny)
    return np.asarray(np.where(values > 0, scale, np.float32(1)), dtype=np.float32)


def quantize_weight(
    weight: npt.NDArray[np.floating[Any]], axis: int | None
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a weight: ``q = clip(round_half_even(w / scale), -127, 127)``.

    Parameters
    ----------
    weight
        Floating point, any shape.
    axis
        The axis that counts output channels; ``None`` for one scale.

    Returns
    -------
    tuple of ndarray
        INT8 values of the same shape, and the float32 scale: one a channel, or a scalar.
    """
    values = np.asarray(weight, dtype=np.float32)
    others = None if axis is None else tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    scale = scale_of(np.abs(values).max(axis=others, initial=0.0))
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    q = np.clip(np.rint(values / scale.reshape(shape)), -QMAX, QMAX)
    return q.astype(np.int8), scale


def _amax(ranges: Mapping[str, float], tensor: str) -> float:
    amax = ranges.get(tensor)
    if amax is None:
        raise PrecisionError(
            "no range is known", where=f"tensor {tensor!r}", fix="Calibrate again: its consumer is to be INT8."
        )
    if not np.isfinite(amax) or amax < 0:
        raise PrecisionError(f"range {amax} is no threshold", where=f"tensor {tensor!r}", fix="Give a positive number.")
    return amax


class _Writer:
    """Adds Q/DQ pairs to a graph that it may change."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._nodes = {node.name: node for node in model.graph}
        self._pairs: dict[str, ir.Value] = {}
        self._weights: dict[tuple[str, int | None], ir.Value] = {}
        self.activations: list[str] = []
        self.weights: list[str] = []

    def quantize_activation(self, address: str, position: int, amax: float) -> None:
        """Let one input of a node read its tensor through a Q/DQ pair, made at its first use."""
        node = self._nodes[address]
        value = _value(node, position)
        name = str(value.name)
        if name not in self._pairs:
            scale = self._constant(f"{name}/scale", scale_of(amax))
            zero_point = self._constant(f"{name}/zero_point", np.zeros((), np.int8))
            quantize = _node("QuantizeLinear", name, value, scale, zero_point, axis=None)
            dequantize = _node("DequantizeLinear", name, quantize.outputs[0], scale, zero_point, axis=None)
            producer = value.producer()
            if producer is None:
                self._graph.insert_before(self._graph[0], [quantize, dequantize])
            else:
                self._graph.insert_after(producer, [quantize, dequantize])
            self._pairs[name] = dequantize.outputs[0]
            self.activations.append(name)
        node.replace_input_with(position, self._pairs[name])

    def quantize_weight(self, address: str, position: int, storage: WeightStorage) -> None:
        """Let one input of a node read its weight quantized."""
        node = self._nodes[address]
        value = _value(node, position)
        name, axis = str(value.name), weight_axis(node, position)
        if (name, axis) not in self._weights:
            self._weights[name, axis] = self._quantized_weight(node, value, axis, storage)
            self.weights.append(name)
        node.replace_input_with(position, self._weights[name, axis])
        if not value.uses() and not value.is_graph_output():
            self._graph.initializers.pop(name, None)
            if value.is_graph_input():
                self._graph.inputs.remove(value)

    def _quantized_weight(self, node: ir.Node, value: ir.Value, axis: int | None, storage: WeightStorage) -> ir.Value:
        # A weight that two kinds of node read along different axes is quantized once an axis.
        stem = str(value.name) if not any(name == value.name for name, _ in self._weights) else f"{value.name}/{axis}"
        q, scale = quantize_weight(content_of(value).numpy(), axis)
        scales = self._constant(f"{stem}/scale", scale)
        zero_points = self._constant(f"{stem}/zero_point", np.zeros(scale.shape, np.int8))
        if storage == "int8":
            quantized = self._constant(f"{stem}/quantized", q)
        else:
            quantize = _node("QuantizeLinear", stem, value, scales, zero_points, axis=axis)
            self._graph.insert_before(node, quantize)
            quantized = quantize.outputs[0]
        dequantize = _node("DequantizeLinear", stem, quantized, scales, zero_points, axis=axis)
        self._graph.insert_before(node, dequantize)
        return dequantize.outputs[0]

    def _constant(self, name: str, array: npt.NDArray[Any]) -> ir.Value:
        tensor = ir.Tensor(np.asarray(array), name=name)
        value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
        self._graph.initializers.add(value)
        return value


def _value(node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    if value is None:
        raise PrecisionError(f"input {position} is missing", where=node.name)
    return value


def _node(
    op_type: Literal["QuantizeLinear", "DequantizeLinear"],
    stem: str,
    source: ir.Value,
    scale: ir.Value,
    zero_point: ir.Value,
    *,
    axis: int | None,
) -> ir.Node:
    attributes = {} if axis is None else {"axis": axis}
    node = ir.node(op_type, [source, scale, zero_point], attributes, name=f"{stem}/{op_type}")
    node.outputs[0].name = f"{stem}/{'quantized' if op_type == 'QuantizeLinear' else 'dequantized'}"
    return node
