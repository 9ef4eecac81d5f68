"""Quantization that stands in a graph: which Q/DQ node a tensor comes out of, and of which type."""

from __future__ import annotations

import onnx_ir as ir

from workbench.graph.weights import constant_of

__all__ = ["MOVES", "QDQ", "quantized_source", "quantized_type"]

QDQ = ("QuantizeLinear", "DequantizeLinear")

MOVES = frozenset(
    """
    Cast DepthToSpace Expand Flatten Identity Reshape Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
    """.split()
)
"""Operators whose result holds numbers of their first input and no others: what was quantized before them still is."""


def quantized_source(value: ir.Value | None) -> ir.Node | None:
    """Return the Q/DQ node that a tensor comes out of, straight or through moves of numbers; ``None`` where none."""
    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type in QDQ:
            return maker
        if maker.op_type not in MOVES or not maker.inputs:
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
        return quantized_type(maker) if stated is None and maker is not None and maker.op_type == QDQ[0] else stated
    if "output_dtype" in node.attributes and node.attributes["output_dtype"].as_int():
        return ir.DataType(node.attributes["output_dtype"].as_int())
    return ir.DataType.UINT8


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    content = constant_of(value)
    return value.dtype if content is None else content.dtype
