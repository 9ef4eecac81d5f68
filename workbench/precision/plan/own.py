"""What is quantized in a model already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.graph import WEIGHTED, onnx_op, qdq_op, quantized_source, quantized_type

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.names import Precision

__all__ = ["computes_on_integers", "own_precision", "quantizes"]

INTEGER_OPERATORS = re.compile(r"QLinear\w+|QGemm|ConvInteger|MatMulInteger\w*")

OF_ELEMENT_TYPE: dict[str, Precision] = {
    "INT8": "int8",
    "UINT8": "int8",
    "FLOAT8E4M3FN": "fp8",
}


def computes_on_integers(op_type: str) -> bool:
    """Say whether an operator computes on integers by its definition: ONNX's own and ONNX Runtime's."""
    return INTEGER_OPERATORS.fullmatch(op_type) is not None


def quantizes(op_type: str) -> bool:
    """Say whether an operator is what makes a node's precision its own: without one in a model no node has any."""
    return op_type == "DequantizeLinear" or computes_on_integers(op_type)


def own_precision(node: ir.Node) -> Precision | None:
    """Return the quantized precision that a node has in the model itself, ``None`` where it has none.

    A node that multiplies is quantized where both its operands come out of a DequantizeLinear; a sum where one of them
    does (a shortcut); any other where everything does that is computed.
    """
    if computes_on_integers(node.op_type):
        return "int8"
    if onnx_op(node) == "DynamicQuantizeLinear" or qdq_op(node):
        return None
    if onnx_op(node) in WEIGHTED:
        both = [_dequantized(value, moved=True) for value in node.inputs[:2]]
        return both[0] if all(both) else None
    operands = [value for value in node.inputs if value is not None and not value.is_initializer()]
    precisions = [_dequantized(value) for value in operands]
    if not any(precisions):
        return None
    if onnx_op(node) == "Add":
        return next(precision for precision in precisions if precision)
    return precisions[0] if all(precisions) else None


def _dequantized(value: ir.Value | None, *, moved: bool = False) -> Precision | None:
    """Return what a tensor was quantized to, if it comes out of a DequantizeLinear (`moved`: through moves of it)."""
    if value is None:
        return None
    maker = quantized_source(value) if moved else value.producer()
    if maker is None or qdq_op(maker) != "DequantizeLinear":
        return None
    kind = quantized_type(maker)
    return None if kind is None else OF_ELEMENT_TYPE.get(kind.name)
