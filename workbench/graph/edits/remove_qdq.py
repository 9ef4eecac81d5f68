"""Take quantization out of a graph again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.edits.surgery import fresh_name
from workbench.graph.edits.wide import WideEdit
from workbench.graph.naming import names_in

if TYPE_CHECKING:
    from workbench.graph.edits.wide import Area

__all__ = ["RemoveQDQ"]


class RemoveQDQ(WideEdit):
    """Remove every QuantizeLinear/DequantizeLinear pair; weights stored as integers become float32 again.

    A pair is bypassed: its reader gets the tensor before it, through a Cast where the pair read one type and made
    another. A constant behind a DequantizeLinear alone is replaced by
    its value ``(q - zero_point) * scale``, which is not the value it had before it was quantized.
    """

    do: Literal["remove_qdq"] = "remove_qdq"
    title: ClassVar[str] = "Remove Q/DQ"
    equivalent: ClassVar[bool] = False

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return node.op_type == "DequantizeLinear" and not node.outputs[0].is_graph_output()

    def sweep(self, area: Area) -> list[str] | None:
        removed = sum(_remove(node, part) for _, part, node in area if self.fits(node))
        return [f"removed {removed} Q/DQ"] if removed else None


def _remove(dequantize: ir.Node, part: ir.Graph) -> bool:
    source = dequantize.inputs[0]
    quantize = None if source is None else source.producer()
    before: ir.Value | None
    if quantize is not None and quantize.op_type == "QuantizeLinear":
        before = quantize.inputs[0]
    else:
        before = _dequantized(dequantize, part)
    if before is None:
        return False
    output = dequantize.outputs[0]
    if output.is_graph_output():
        return False
    if quantize is not None and quantize.op_type == "QuantizeLinear":
        before = _cast(quantize, dequantize, before, part)
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
    read, made = (scale.dtype if scale is not None else None for scale in (quantize.inputs[1], dequantize.inputs[1]))
    if read == made or made is None:
        return value
    name = str(dequantize.outputs[0].name)
    cast = ir.node("Cast", [value], {"to": made}, name=names_in(part).node(f"{name}/Cast"))
    cast.outputs[0].name, cast.outputs[0].type = fresh_name(part, f"{name}/cast"), ir.TensorType(made)
    part.insert_before(dequantize, cast)
    return cast.outputs[0]


def _dequantized(node: ir.Node, part: ir.Graph) -> ir.Value | None:
    """Return the constant that a DequantizeLinear of constants makes, as a weight of the graph."""
    constants = [None if v is None or v.const_value is None else v.const_value.numpy() for v in node.inputs]
    if constants[0] is None or constants[1] is None:
        return None
    q, scale = constants[0], constants[1]
    zero_point = constants[2] if len(constants) > 2 and constants[2] is not None else np.zeros((), np.int32)
    shape = [1] * q.ndim
    if scale.ndim == 1 and scale.size > 1:
        shape[node.attributes["axis"].as_int() if "axis" in node.attributes else 1] = -1
    # FP8 numbers are no integers; everything of 4 or 8 bits is exact in float32.
    wide = np.int32 if np.issubdtype(q.dtype, np.integer) else np.float32
    value = (q.astype(wide) - zero_point.astype(wide).reshape(shape)).astype(scale.dtype) * scale.reshape(shape)
    name = fresh_name(part, str(node.outputs[0].name).removesuffix("/dequantized"))
    tensor = ir.Tensor(value.astype(scale.dtype), name=name)
    constant = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(value.shape))
    part.initializers.add(constant)
    return constant
