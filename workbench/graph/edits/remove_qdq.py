"""Take quantization out of a graph again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import qdq_op
from workbench.graph.edits.surgery import add_constant, add_node, fresh_name
from workbench.graph.edits.wide import WideEdit
from workbench.graph.naming import names_in
from workbench.graph.quantization import pair_factor
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
        return _dequantizes(node) and _removable(node)

    def sweep(self, area: Area) -> list[str] | None:
        left = []
        removed = 0
        for prefix, part, node in area:
            if _dequantizes(node):
                done = _removable(node) and _remove(node, part)
                removed += done
                left += [] if done else [f"{prefix}{node.name}"]
        notes = [f"left {len(left)} whose scales or zero points do not allow it: {', '.join(left)}"] if left else []
        return [f"removed {removed} Q/DQ", *notes] if removed else None


def _dequantizes(node: ir.Node) -> bool:
    return qdq_op(node) == "DequantizeLinear" and not node.outputs[0].is_graph_output()


def _quantize(dequantize: ir.Node) -> ir.Node | None:
    """Return the QuantizeLinear of a pair."""
    source = dequantize.inputs[0]
    maker = None if source is None else source.producer()
    return maker if maker is not None and qdq_op(maker) == "QuantizeLinear" else None


def _removable(dequantize: ir.Node) -> bool:
    """Say whether it is one of a pair whose factor is known, or makes a constant of constants.

    What an operator on integers made, as QLinearConv does, was floating point nowhere.
    """
    quantize = _quantize(dequantize)
    if quantize is None:
        inputs = [value for value in dequantize.inputs if value is not None]
        return len(inputs) > 1 and all(constant_in(value) is not None for value in inputs)
    before, factor = quantize.inputs[0], pair_factor(quantize, dequantize)
    return before is not None and factor is not None and _along(factor, dequantize, before) is not None


def _remove(dequantize: ir.Node, part: ir.Graph) -> bool:
    quantize = _quantize(dequantize)
    before: ir.Value | None
    output = dequantize.outputs[0]
    if quantize is not None:
        before = quantize.inputs[0]
        factor = pair_factor(quantize, dequantize)
        columns = None if factor is None or before is None else _along(factor, dequantize, before)
        if columns is None or before is None:
            return False
        before = _scaled(_cast(quantize, dequantize, before, part), columns, dequantize, part)
    else:
        before = _dequantized(dequantize, part)
    if before is None:
        return False
    ir.convenience.replace_all_uses_with(output, before)
    unused = list(dequantize.inputs)
    part.remove(dequantize, safe=True)
    if quantize is not None and not quantize.outputs[0].uses():
        unused += quantize.inputs[1:]
        part.remove(quantize, safe=True)
    for value in unused:
        if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
            part.initializers.pop(str(value.name), None)
    return True


def _cast(quantize: ir.Node, dequantize: ir.Node, value: ir.Value, part: ir.Graph) -> ir.Value:
    """Return what a pair read in the type that it made: the types of its two scales."""
    read, written = (scale.dtype if scale is not None else None for scale in (quantize.inputs[1], dequantize.inputs[1]))
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
    axis = dequantize.attributes["axis"].as_int() if "axis" in dequantize.attributes else 1
    return factor.reshape([-1 if at == axis % len(value.shape) else 1 for at in range(len(value.shape))])


def _scaled(value: ir.Value, factor: Array, dequantize: ir.Node, part: ir.Graph) -> ir.Value:
    scale = dequantize.inputs[1]
    if (factor == 1).all() or scale is None or scale.dtype is None:
        return value
    name = str(dequantize.outputs[0].name)
    by = add_constant(part, f"{name}/factor", factor.astype(scale.dtype.numpy()))
    multiply = add_node(part, "Mul", [value, by], name=f"{name}/scaled", before=dequantize)
    multiply.outputs[0].type = ir.TensorType(scale.dtype)
    return multiply.outputs[0]


def _dequantized(node: ir.Node, part: ir.Graph) -> ir.Value | None:
    """Return the constant that a DequantizeLinear of constants makes, as a weight of the graph."""
    held = [None if value is None else constant_in(value) for value in node.inputs]
    constants = [None if content is None else content.numpy() for content in held]
    if constants[0] is None or constants[1] is None:
        return None
    q, scale = constants[0], constants[1]
    zero_point = constants[2] if len(constants) > 2 and constants[2] is not None else np.zeros((), np.int32)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    block = node.attributes["block_size"].as_int() if "block_size" in node.attributes else 0
    shape = [1] * q.ndim
    if block:
        places = np.arange(q.shape[axis]) // block
        scale, shape = scale.take(places, axis), list(q.shape)
        zero_point = zero_point if zero_point.ndim == 0 else zero_point.take(places, axis)
        zero_point = np.broadcast_to(zero_point, q.shape)
    elif scale.ndim == 1 and scale.size > 1:
        shape[axis] = -1
    # FP8 numbers are no integers; everything of 4 or 8 bits is exact in float32.
    wide = np.int32 if np.issubdtype(q.dtype, np.integer) else np.float32
    zero = zero_point.astype(wide).reshape(shape if zero_point.size > 1 else ())
    value = (q.astype(wide) - zero).astype(scale.dtype) * scale.reshape(shape)
    name = fresh_name(part, str(node.outputs[0].name).removesuffix("/dequantized"))
    tensor = ir.Tensor(value.astype(scale.dtype), name=name)
    constant = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(value.shape))
    part.initializers.add(constant)
    return constant
