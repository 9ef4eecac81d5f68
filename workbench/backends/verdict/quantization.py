"""Causes about Q/DQ pairs: what TensorRT does not quantize, or quantizes otherwise than the graph says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.backends.verdict.cause import Cause, CauseSite, Fix
from workbench.graph import QDQ, WEIGHTED, quantized_type

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUANTIZATION", "zero_point_of"]

MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
EIGHT_BITS = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
OTHER_WIDTHS = (ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2)


def int32_bias(site: CauseSite) -> Cause | None:
    """Name an INT32 DequantizeLinear: ONNX Runtime's quantizer writes one for each bias."""
    node = site.node
    if node.op_type != "DequantizeLinear" or site.dtype(node.inputs[0]) != ir.DataType.INT32:
        return None
    return Cause(
        "int32-bias",
        "DequantizeLinear of INT32: TensorRT dequantizes only 8-bit and 4-bit types",
        Fix("Store the bias as FP32 (INT32 value x scale); TensorRT quantizes it itself.", "dequantize_constants"),
    )


def width(site: CauseSite) -> Cause | None:
    """Name quantization to a width that TensorRT does not have."""
    if site.node.op_type not in QDQ or (kind := quantized_type(site.node)) not in OTHER_WIDTHS:
        return None
    wide = kind in (ir.DataType.INT16, ir.DataType.UINT16)
    return Cause(
        "width",
        f"{kind.name} quantization: TensorRT has INT8, FP8, and for weights INT4 and FP4",
        Fix("Quantize to INT8, or leave this in floating point." if wide else "Quantize to INT4, symmetric around 0."),
        unnamed=True,
    )


def asymmetric(site: CauseSite) -> Cause | None:
    """Name Q/DQ with a non-zero zero point."""
    zero_point = zero_point_of(site.node)
    if zero_point is None or not np.any(zero_point):
        return None
    return Cause(
        "asymmetric",
        "a zero point that is not 0: TensorRT on a GPU quantizes symmetrically",
        Fix("Make the quantization symmetric INT8; the range keeps its larger side.", "symmetric_qdq"),
    )


def operand_constant(site: CauseSite) -> Cause | None:
    """Name a quantized constant that only elementwise operators read."""
    if site.node.op_type != "DequantizeLinear":
        return None
    from workbench.graph.edits import is_operand_constant  # loads what all edits are made of

    if not is_operand_constant(site.node):
        return None
    return Cause(
        "operand-constant",
        "a quantized constant that no convolution or matrix product reads",
        Fix("Store the constant as floating point.", "dequantize_constants"),
    )


def uint8(site: CauseSite) -> Cause | None:
    """Name UINT8 Q/DQ, which the parser reads as INT8: everything above 127 x scale is clipped."""
    if site.node.op_type not in QDQ or quantized_type(site.node) != ir.DataType.UINT8:
        return None
    fix = Fix("Make the quantization symmetric INT8 with a scale that covers the range.", "symmetric_qdq")
    if site.message:
        return Cause("uint8", "UINT8 quantization; TensorRT on a GPU has INT8", fix)
    reason = "UINT8 is read as INT8 without a change of scale: values above 127 x scale are clipped"
    return Cause("uint8", reason, fix, quiet=True)


def two_kinds(site: CauseSite) -> Cause | None:
    """Name a product of an INT8 with an FP8 operand: TensorRT has kernels for two of a kind."""
    if site.node.op_type not in WEIGHTED:
        return None
    kinds = {_dequantized_from(value) for value in site.node.inputs[:2]}
    if not kinds.issuperset(EIGHT_BITS):
        return None
    return Cause(
        "two-kinds",
        "one operand is quantized to INT8 and the other to FP8",
        Fix("Quantize both to one of them: in the plan, give the node int8 or fp8."),
        unnamed=True,
    )


def _dequantized_from(value: ir.Value | None) -> ir.DataType | None:
    """Return the type that a tensor had before its dequantization, through what only moves numbers."""
    while value is not None and (maker := value.producer()) is not None:
        if maker.op_type == "DequantizeLinear":
            return quantized_type(maker)
        if maker.op_type not in MOVES:
            return None
        value = maker.inputs[0]
    return None


def zero_point_of(node: ir.Node) -> np.ndarray[Any, Any] | None:
    """Return the constant zero point of a QuantizeLinear or DequantizeLinear, or None where it has none."""
    if node.op_type not in QDQ or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    constant = node.inputs[2].const_value
    return None if constant is None else constant.numpy()


QUANTIZATION: tuple[Callable[[CauseSite], Cause | None], ...] = (
    int32_bias,
    width,
    asymmetric,
    uint8,
    operand_constant,
    two_kinds,
)
"""In the order in which they are tried."""
