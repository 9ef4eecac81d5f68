"""Make asymmetric or unsigned Q/DQ symmetric INT8: the only 8-bit integer quantization TensorRT has on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import qdq_op
from workbench.graph.edits.surgery import add_constant, drop_unused
from workbench.graph.edits.wide import WideEdit
from workbench.graph.quantization import pair_factor, quantized_type
from workbench.graph.weights import constant_in

if TYPE_CHECKING:
    from workbench.graph.edits.wide import Area

__all__ = ["SymmetricQDQ"]

Array = np.ndarray[Any, np.dtype[Any]]
EIGHT_BIT = (ir.DataType.INT8, ir.DataType.UINT8)
INT8_MAX = 127


class SymmetricQDQ(WideEdit):
    """Rewrite 8-bit Q/DQ pairs with a zero point or an unsigned type as symmetric INT8.

    An activation quantized with scale s and zero point z covers [(q_min - z) s, (q_max - z) s]. Its new scale is the
    larger side of that range over 127, so nothing is clipped that was not before, at up to twice the step; a factor
    between the pair's two scales stays. A stored
    weight is dequantized and quantized again with its own largest magnitude over 127 (per channel where it was).

    A quantized tensor that something other than DequantizeLinear reads (integer operators) is left as it is.
    """

    do: Literal["symmetric_qdq"] = "symmetric_qdq"
    title: ClassVar[str] = "Make Q/DQ symmetric INT8"
    equivalent: ClassVar[bool] = False

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        if not qdq_op(node) or not _needs(node):
            return False
        return (_pair(node) if node.op_type == "QuantizeLinear" else _stored(node)) is not None

    def sweep(self, area: Area) -> list[str] | None:
        activations = weights = 0
        left: list[str] = []
        # Activations first: that settles the DequantizeLinear behind them, so only stored weights remain.
        for prefix, part, node in sorted(area, key=lambda entry: qdq_op(entry[2]) != "QuantizeLinear"):
            if not qdq_op(node) or not _needs(node):
                continue
            if node.op_type == "QuantizeLinear" and (pair := _pair(node)) is not None:
                _activation(node, part, *pair)
                activations += 1
            elif node.op_type == "DequantizeLinear" and (stored := _stored(node)) is not None:
                _weight(node, part, *stored)
                weights += 1
            else:
                left.append(f"{prefix}{node.name}")
        if not activations and not weights:
            return None
        notes = [f"made {activations} activations and {weights} weights symmetric INT8"]
        if left:
            notes.append(f"left {len(left)} whose scale or use does not allow it: {', '.join(left)}")
        return notes


def _needs(node: ir.Node) -> bool:
    kind = quantized_type(node)
    if kind not in EIGHT_BIT:
        return False
    zero_point = _constant(node, 2)
    return kind == ir.DataType.UINT8 or (zero_point is not None and bool(np.any(zero_point)))


def _constant(node: ir.Node, position: int) -> Array | None:
    value = node.inputs[position] if position < len(node.inputs) else None
    tensor = None if value is None else constant_in(value)
    return None if tensor is None else tensor.numpy()


def _only_dequantized(value: ir.Value) -> bool:
    return not value.is_graph_output() and all(
        qdq_op(use.node) == "DequantizeLinear" and use.idx == 0 for use in value.uses()
    )


def _pair(node: ir.Node) -> tuple[Array, list[tuple[ir.Node, Array, Array]]] | None:
    """Return the scale of a QuantizeLinear, and who reads it, with the factor and the scale of each.

    ``None`` where a scale is not known, or something other than DequantizeLinear reads it.
    """
    scale, result = _constant(node, 1), node.outputs[0]
    if scale is None or not _only_dequantized(result):
        return None
    # What a pair multiplies by beside rounding, where its two scales differ, it goes on multiplying by.
    uses = [(use.node, pair_factor(node, use.node), _constant(use.node, 1)) for use in result.uses()]
    readers = [(reader, by, old) for reader, by, old in uses if by is not None and old is not None]
    return (scale, readers) if len(readers) == len(uses) else None


def _stored(node: ir.Node) -> tuple[Array, Array] | None:
    """Return the constant that a DequantizeLinear reads and its scale, where that is one or one a channel."""
    constant, scale, block = _constant(node, 0), _constant(node, 1), node.attributes.get_int("block_size", 0)
    if constant is None or scale is None or block:
        return None
    return constant, scale


def _activation(node: ir.Node, part: ir.Graph, scale: Array, readers: list[tuple[ir.Node, Array, Array]]) -> None:
    low, high = (0, 255) if quantized_type(node) == ir.DataType.UINT8 else (-128, 127)
    zero = _zero_point(node, scale)
    reach = np.maximum(np.abs(low - zero), np.abs(high - zero)) * scale.astype(np.float64)
    new_scale = (reach / INT8_MAX).astype(scale.dtype)
    _set_parameters(node, part, new_scale)
    for reader, factor, old in readers:
        _set_parameters(reader, part, np.asarray(new_scale.astype(np.float64) * factor).astype(old.dtype))
    node.attributes.pop("output_dtype", None)
    node.outputs[0].type = ir.TensorType(ir.DataType.INT8)


def _weight(node: ir.Node, part: ir.Graph, stored: Array, scale: Array) -> None:
    axis, zero = node.attributes.get_int("axis", 1), _zero_point(node, scale)
    real = (stored.astype(np.float64) - _along(zero, stored, axis)) * _along(scale.astype(np.float64), stored, axis)
    axes = None if scale.size == 1 else tuple(i for i in range(stored.ndim) if i != axis % stored.ndim)
    largest = np.abs(real).max(axis=axes).reshape(scale.shape)
    # A channel of zeros keeps its old scale: any scale represents it.
    new_scale = np.where(largest > 0, largest / INT8_MAX, scale).astype(scale.dtype)
    steps = np.rint(real / _along(new_scale.astype(np.float64), stored, axis))
    integers = np.clip(steps, -INT8_MAX, INT8_MAX).astype(np.int8)
    old = node.inputs[0]
    name = f"{old.name if old is not None else node.name}_symmetric"
    node.replace_input_with(0, add_constant(part, name, integers))
    drop_unused(part, [old])
    _set_parameters(node, part, new_scale)


def _zero_point(node: ir.Node, scale: Array) -> Array:
    zero_point = _constant(node, 2)
    return np.zeros(scale.shape) if zero_point is None else zero_point.astype(np.float64)


def _along(parameter: Array, data: Array, axis: int) -> Array:
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * data.ndim
    shape[axis % data.ndim] = -1
    return parameter.reshape(shape)


def _set_parameters(node: ir.Node, part: ir.Graph, scale: Array) -> None:
    old = list(node.inputs[1:3])
    node.resize_inputs(3)
    stem = f"{node.outputs[0].name}"
    node.replace_input_with(1, add_constant(part, f"{stem}_scale_symmetric", scale))
    node.replace_input_with(2, add_constant(part, f"{stem}_zero_symmetric", np.zeros(scale.shape, np.int8)))
    drop_unused(part, old)
