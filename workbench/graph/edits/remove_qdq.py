"""Take quantization out of a graph again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import qdq_op
from workbench.graph.edits.surgery import add_constant, add_node, fresh_name
from workbench.graph.edits.wide import WideEdit
from workbench.graph.naming import names_in
from workbench.graph.quantization import dequantized_type, pair_factor
from workbench.graph.weights import constant_in

if TYPE_CHECKING:
    from workbench.graph.edits.wide import Area

__all__ = ["RemoveQDQ"]

Array = np.ndarray[Any, np.dtype[Any]]


class RemoveQDQ(WideEdit):
    """Remove every QuantizeLinear/DequantizeLinear pair; weights stored as integers become float32 again.

    A pair is bypassed: its reader gets the tensor before it, through a Cast where the pair read one type and made
    another, and through a Mul where its two scales differ by a factor. A constant behind a DequantizeLinear alone is
    replaced by its value ``(q - zero_point) * scale``, which is not the value it had before it was quantized.

    A pair stays whose scales are computed, or whose zero points differ.
    """

    do: Literal["remove_qdq"] = "remove_qdq"
    title: ClassVar[str] = "Remove Q/DQ"
    equivalent: ClassVar[bool] = False

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _dequantizes(node) and (_pair(node) is not None or _stored(node) is not None)

    def sweep(self, area: Area) -> list[str] | None:
        left = []
        removed = 0
        for prefix, part, node in area:
            if not _dequantizes(node):
                continue
            if (pair := _pair(node)) is not None:
                _put(_left_of(node, part, *pair), node, part)
            elif (stored := _stored(node)) is not None:
                _put(_dequantized(node, part, *stored), node, part)
            else:
                left.append(f"{prefix}{node.name}")
                continue
            removed += 1
        notes = [f"left {len(left)} whose scales or zero points do not allow it: {', '.join(left)}"] if left else []
        return [f"removed {removed} Q/DQ", *notes] if removed else None


def _dequantizes(node: ir.Node) -> bool:
    return qdq_op(node) == "DequantizeLinear" and not node.outputs[0].is_graph_output()


def _quantize(dequantize: ir.Node) -> ir.Node | None:
    """Return the QuantizeLinear of a pair."""
    source = dequantize.inputs[0]
    maker = None if source is None else source.producer()
    return maker if maker is not None and qdq_op(maker) == "QuantizeLinear" else None


def _pair(dequantize: ir.Node) -> tuple[ir.Node, ir.Value, Array] | None:
    """Return the QuantizeLinear of a pair, what that reads, and what the two multiply it by, where all is known."""
    quantize = _quantize(dequantize)
    before = None if quantize is None else quantize.inputs[0]
    if quantize is None or before is None or (factor := pair_factor(quantize, dequantize)) is None:
        return None
    along = _along(factor, dequantize, before)
    return None if along is None else (quantize, before, along)


def _stored(dequantize: ir.Node) -> list[Array] | None:
    """Return number, scale and perhaps zero point of a DequantizeLinear of constants.

    What an operator on integers made, as QLinearConv does, was floating point nowhere.
    """
    inputs = [value for value in dequantize.inputs if value is not None]
    held = [content.numpy() for value in inputs if (content := constant_in(value)) is not None]
    return held if 1 < len(held) == len(inputs) else None


def _left_of(dequantize: ir.Node, part: ir.Graph, quantize: ir.Node, before: ir.Value, factor: Array) -> ir.Value:
    """Return what is left of a pair: what it reads, of the type that it makes, times its factor."""
    return _scaled(_cast(quantize, dequantize, before, part), factor, dequantize, part)


def _put(new: ir.Value, dequantize: ir.Node, part: ir.Graph) -> None:
    """Let all that reads a DequantizeLinear read something else; remove it, and the other of its pair if unread."""
    quantize = _quantize(dequantize)
    ir.convenience.replace_all_uses_with(dequantize.outputs[0], new)
    unused = list(dequantize.inputs)
    part.remove(dequantize, safe=True)
    if quantize is not None and not quantize.outputs[0].uses():
        unused += quantize.inputs[1:]
        part.remove(quantize, safe=True)
    for value in unused:
        if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
            part.initializers.pop(str(value.name), None)


def _cast(quantize: ir.Node, dequantize: ir.Node, value: ir.Value, part: ir.Graph) -> ir.Value:
    """Return what a pair read in the type that it made."""
    scale = quantize.inputs[1]
    read, written = value.dtype or (None if scale is None else scale.dtype), dequantized_type(dequantize)
    if read == written or written is None:
        return value
    name = str(dequantize.outputs[0].name)
    cast = ir.node("Cast", [value], {"to": written}, name=names_in(part).node(f"{name}/Cast"))
    cast.outputs[0].name, cast.outputs[0].type = fresh_name(part, f"{name}/cast"), ir.TensorType(written)
    part.insert_before(dequantize, cast)
    return cast.outputs[0]


def _along(factor: Array, dequantize: ir.Node, value: ir.Value) -> Array | None:
    """Return factors in the shape in which they multiply a tensor; ``None`` where its rank is not known."""
    if factor.size == 1 or (factor == factor.flat[0]).all():
        return np.asarray(factor.flat[0])
    if value.shape is None:
        return None
    axis = dequantize.attributes.get_int("axis", 1)
    return factor.reshape([-1 if at == axis % len(value.shape) else 1 for at in range(len(value.shape))])


def _scaled(value: ir.Value, factor: Array, dequantize: ir.Node, part: ir.Graph) -> ir.Value:
    kind = dequantized_type(dequantize)
    if (factor == 1).all() or kind is None:
        return value
    name = str(dequantize.outputs[0].name)
    by = add_constant(part, f"{name}/factor", factor.astype(kind.numpy()))
    multiply = add_node(part, "Mul", [value, by], name=f"{name}/scaled", before=dequantize)
    multiply.outputs[0].type = ir.TensorType(kind)
    return multiply.outputs[0]


def _dequantized(node: ir.Node, part: ir.Graph, q: Array, scale: Array, zero_point: Array | None = None) -> ir.Value:
    """Return the constant that a DequantizeLinear of constants makes, as a weight of the graph."""
    zero_point = np.zeros((), np.int32) if zero_point is None else zero_point
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    shape = [1] * q.ndim
    if block:
        places = np.arange(q.shape[axis]) // block
        scale, shape = scale.take(places, axis), list(q.shape)
        zero_point = zero_point if zero_point.ndim == 0 else zero_point.take(places, axis)
        zero_point = np.broadcast_to(zero_point, q.shape)
    elif scale.ndim == 1 and scale.size > 1:
        shape[axis] = -1
    # All of it is exact in float64, FP8 numbers too; what is stored is rounded once.
    value = (q.astype(np.float64) - zero_point.astype(np.float64).reshape(shape)) * scale.astype(np.float64).reshape(
        shape
    )
    kind = dequantized_type(node) or ir.DataType.FLOAT
    own = str(node.outputs[0].name)
    base = own.removesuffix("/dequantized")
    name = own if base == own else fresh_name(part, base)  # its own is free once it is gone
    tensor = ir.Tensor(value.astype(kind.numpy()), name=name)
    constant = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(value.shape))
    part.initializers.add(constant)
    return constant
