"""Store as floating point what TensorRT cannot dequantize: INT32 biases, operands of elementwise operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import onnx_ir as ir

from workbench.graph.edits.surgery import drop_unused
from workbench.graph.edits.wide import WideEdit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.edits.wide import Area

__all__ = ["DequantizeConstants", "is_operand_constant"]

MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


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
        return _is_bias(node) or is_operand_constant(node)

    def sweep(self, area: Area) -> list[str] | None:
        biases = operands = 0
        left: list[str] = []
        for prefix, part, node in area:
            bias = _is_bias(node)
            if not self.fits(node):
                continue
            if not _replace(node, part):
                left.append(f"{prefix}{node.name}")
            elif bias:
                biases += 1
            else:
                operands += 1
        if not biases and not operands:
            return None
        notes = [f"stored {biases} INT32 constants and {operands} elementwise operands as floating point"]
        if left:
            notes.append(f"left {len(left)} DequantizeLinear whose inputs are no constants: {', '.join(left)}")
        return notes


def _is_bias(node: ir.Node) -> bool:
    return node.op_type == "DequantizeLinear" and _dtype(node.inputs[0]) == ir.DataType.INT32


def is_operand_constant(node: ir.Node) -> bool:
    """Say whether a node dequantizes a constant that no convolution or matrix product reads."""
    if node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    if ir.convenience.get_const_tensor(node.inputs[0]) is None:
        return False
    users = set(_users(node.outputs[0]))
    # What another dequantization reads are scales of blocks.
    return bool(users) and users.isdisjoint((*WEIGHTED, "QuantizeLinear", "DequantizeLinear"))


def _users(value: ir.Value) -> Iterator[str]:
    """Yield the operators that compute with a tensor, behind those that only move it."""
    for use in value.uses():
        if use.node.op_type in MOVES:
            yield from _users(use.node.outputs[0])
        else:
            yield use.node.op_type


def _replace(node: ir.Node, part: ir.Graph) -> bool:
    constants = [None if value is None else ir.convenience.get_const_tensor(value) for value in node.inputs]
    result = node.outputs[0]
    if any(c is None and v is not None for c, v in zip(constants, node.inputs, strict=True)):
        return False
    if result.is_graph_output() or ("block_size" in node.attributes and node.attributes["block_size"].as_int()):
        return False
    value, scale, zero_point = (None if c is None else c.numpy() for c in (*constants, None)[:3])
    if value is None or scale is None:
        return False
    array = _dequantize(value, scale, zero_point, node.attributes["axis"].as_int() if "axis" in node.attributes else 1)
    tensor = ir.Tensor(np.asarray(array.astype(scale.dtype), order="C"), name=result.name)
    sources = list(node.inputs)
    name, new = str(result.name), ir.Value(const_value=tensor, type=ir.TensorType(tensor.dtype), shape=tensor.shape)
    ir.convenience.replace_all_uses_with(result, new)
    part.remove(node, safe=True)
    # The result keeps the name that the rest of the graph knows.
    result.name, new.name = None, name
    part.initializers.add(new)
    drop_unused(part, sources)
    return True


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
    return value.const_value.dtype if value.const_value is not None else value.dtype
