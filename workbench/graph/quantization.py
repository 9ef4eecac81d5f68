"""Quantization that stands in a graph: which Q/DQ node a tensor comes out of, and of which type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.graph.domains import onnx_op, qdq_op
from workbench.graph.weights import constant_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MOVES", "dequantized_type", "pair_factor", "quantized_source", "quantized_type"]

MOVES = frozenset(
    """
    Cast DepthToSpace Expand Flatten Identity Reshape Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
    """.split()
)
"""Operators whose result holds numbers of their first input and no others: what was quantized before them still is."""


def quantized_source(value: ir.Value | None) -> ir.Node | None:
    """Return the Q/DQ node that a tensor comes out of, straight or through moves of numbers; ``None`` where none."""
    while value is not None and (maker := value.producer()) is not None:
        if qdq_op(maker):
            return maker
        if onnx_op(maker) not in MOVES or not maker.inputs:
            return None
        value = maker.inputs[0]
    return None


def quantized_type(node: ir.Node) -> ir.DataType | None:
    """Return the type on the quantized side of a Q/DQ node: zero point, else attribute, else what ONNX defines."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return _dtype(node.inputs[2])
    if node.op_type == "DequantizeLinear":
        source = node.inputs[0]
        stated = _dtype(source)
        maker = None if source is None else source.producer()
        # A file need not state the types of what is between the two.
        return (
            quantized_type(maker)
            if stated is None and maker is not None and qdq_op(maker) == "QuantizeLinear"
            else stated
        )
    return _stated(node) or ir.DataType.UINT8


def dequantized_type(node: ir.Node) -> ir.DataType | None:
    """Return the type that a DequantizeLinear makes: its attribute's (operator set 23), else its scale's."""
    return _stated(node) or _dtype(node.inputs[1])


def _stated(node: ir.Node) -> ir.DataType | None:
    kind = node.attributes.get_int("output_dtype", 0)
    return ir.DataType(kind) if kind else None


def pair_factor(quantize: ir.Node, dequantize: ir.Node) -> npt.NDArray[np.float64] | None:
    """Return what a pair multiplies by, besides rounding: the scale it makes over the scale it divides by.

    The two are one constant most often, or one number in two types, and the factor is 1; some exporters fold a factor
    of the graph into one of them.

    Returns
    -------
    ndarray or None
        float64, one factor or one for each channel; ``None`` where it is not known, or the zero points differ.
    """
    scales = [constant_of(node.inputs[1]) if node.inputs[1] is not None else None for node in (quantize, dequantize)]
    if scales[0] is None or scales[1] is None:
        return np.ones(()) if quantize.inputs[1] is dequantize.inputs[1] else None
    first, second = scales[0].numpy(), scales[1].numpy()
    if first.shape != second.shape or not np.array_equal(_zero_point(quantize), _zero_point(dequantize)):
        return None
    if np.array_equal(first.astype(second.dtype), second) or np.array_equal(second.astype(first.dtype), first):
        return np.ones_like(first, dtype=np.float64)
    return np.asarray(second.astype(np.float64) / first.astype(np.float64))


def _zero_point(node: ir.Node) -> npt.NDArray[np.float64]:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    content = None if value is None else constant_of(value)
    return np.zeros(1) if content is None else content.numpy().astype(np.float64).reshape(-1)


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    content = constant_of(value)
    return value.dtype if content is None else content.dtype
