"""Store as floating point what TensorRT cannot dequantize: INT32 biases, operands of elementwise operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import QDQ, WEIGHTED, onnx_op, qdq_op
from workbench.graph.edits.surgery import drop_unused
from workbench.graph.edits.wide import WideEdit
from workbench.graph.quantization import dequantized_type
from workbench.graph.weights import constant_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.edits.wide import Area

__all__ = ["DequantizeConstants", "is_operand_constant"]

MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


class DequantizeConstants(WideEdit):
    """Replace DequantizeLinear of a constant by its floating-point result, where TensorRT refuses or gains nothing.

    That is: INT32 constants (ONNX Runtime's quantizer writes one for each bias; TensorRT dequantizes only 8-bit and
    4-bit types and quantizes the bias of an INT8 convolution itself), and 8-bit constants that no convolution or matrix
    product reads (TensorRT's builder wants a quantized constant beside a weight, not in a Mul or Add).

    ``result = (value - zero_point) * scale`` (ONNX operator DequantizeLinear), in float64 and rounded once.
    """

    do: Literal["dequantize_constants"] = "dequantize_constants"
    title: ClassVar[str] = "Store INT32 biases and elementwise constants as floating point"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return (_is_bias(node) or is_operand_constant(node)) and _parts(node) is not None

    def sweep(self, area: Area) -> list[str] | None:
        biases = operands = 0
        left: list[str] = []
        for prefix, part, node in area:
            bias = _is_bias(node)
            if not bias and not is_operand_constant(node):
                continue
            parts = _parts(node)
            if parts is None:
                left.append(f"{prefix}{node.name}")
                continue
            _replace(node, part, *parts)
            biases, operands = biases + bias, operands + (not bias)
        if not biases and not operands:
            return None
        notes = [f"stored {biases} INT32 constants and {operands} elementwise operands as floating point"]
        if left:
            notes.append(f"left {len(left)} DequantizeLinear whose inputs are no constants: {', '.join(left)}")
        return notes


def _is_bias(node: ir.Node) -> bool:
    return qdq_op(node) == "DequantizeLinear" and _dtype(node.inputs[0]) == ir.DataType.INT32


def is_operand_constant(node: ir.Node) -> bool:
    """Say whether a node dequantizes a constant that no convolution or matrix product reads."""
    if qdq_op(node) != "DequantizeLinear" or node.inputs[0] is None:
        return False
    if constant_in(node.inputs[0]) is None:
        return False
    users = set(_users(node.outputs[0]))
    # What another dequantization reads are scales of blocks.
    return bool(users) and users.isdisjoint((*WEIGHTED, *QDQ))


def _users(value: ir.Value) -> Iterator[str]:
    """Yield the operators that compute with a tensor, behind those that only move it."""
    for use in value.uses():
        if onnx_op(use.node) in MOVES:
            yield from _users(use.node.outputs[0])
        else:
            yield qdq_op(use.node) or onnx_op(use.node)


def _parts(node: ir.Node) -> list[ir.TensorProtocol] | None:
    """Return value, scale and perhaps zero point of a DequantizeLinear, where its result can be stored."""
    block = node.attributes.get_int("block_size", 0)
    if block or node.outputs[0].is_graph_output():
        return None
    inputs = [value for value in node.inputs if value is not None]
    parts = [content for value in inputs if (content := constant_in(value)) is not None]
    return parts if 1 < len(parts) == len(inputs) else None


def _replace(
    node: ir.Node,
    part: ir.Graph,
    value: ir.TensorProtocol,
    scale: ir.TensorProtocol,
    zero_point: ir.TensorProtocol | None = None,
) -> None:
    result = node.outputs[0]
    zero = None if zero_point is None else zero_point.numpy()
    array = _dequantize(value.numpy(), scale.numpy(), zero, node.attributes.get_int("axis", 1))
    kind = dequantized_type(node) or scale.dtype
    tensor = ir.Tensor(np.asarray(array.astype(kind.numpy()), order="C"), name=result.name)
    sources = list(node.inputs)
    name, new = str(result.name), ir.Value(const_value=tensor, type=ir.TensorType(tensor.dtype), shape=tensor.shape)
    ir.convenience.replace_all_uses_with(result, new)
    part.remove(node, safe=True)
    # The result keeps the name that the rest of the graph knows.
    result.name, new.name = None, name
    part.initializers.add(new)
    drop_unused(part, sources)


def _dequantize(
    value: np.ndarray[Any, Any], scale: np.ndarray[Any, Any], zero_point: np.ndarray[Any, Any] | None, axis: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    def along(array: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        wide = array.astype(np.float64)
        if array.size == 1:
            return wide.reshape(())
        shape = [1] * value.ndim
        shape[axis % value.ndim] = -1
        return wide.reshape(shape)

    centered = value.astype(np.float64) - (0.0 if zero_point is None else along(zero_point))
    product: np.ndarray[Any, np.dtype[np.float64]] = centered * along(scale)
    return product


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    content = constant_in(value)
    return value.dtype if content is None else content.dtype
