"""Causes about types: of tensors that TensorRT, or the target, does not have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.backends.verdict.cause import Cause, CauseSite, Fix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OPERAND_TYPES", "PARSER_TYPES", "TYPES", "behind_range", "double", "range_length"]

STORE_RANGE = "Store its values as a constant, or make it of whole numbers and multiply it by the step."

PARSER_TYPES = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.INT4,
        ir.DataType.FLOAT4E2M1,
        ir.DataType.BOOL,
    }
)

# Sources: TensorRT's support matrix (precisions a compute capability), and what TensorRT-RTX 1.7.1 says of each type
# on sm75 to sm121. FP4 is on Blackwell: sm100 in a data center, sm120 elsewhere.
SINCE: Mapping[ir.DataType, tuple[str, int, str]] = {
    ir.DataType.FLOAT4E2M1: ("FP4", 100, "Quantize these weights to INT4 or INT8 for this target, or check against"),
    ir.DataType.FLOAT8E4M3FN: ("FP8", 89, "Use INT8 for this target, or check against"),
    ir.DataType.INT4: ("INT4", 80, "Use INT8 for this target, or check against"),
    ir.DataType.BFLOAT16: ("BF16", 80, "Use FP16 for this target, or check against"),
}

INSTEAD: Mapping[ir.DataType, str] = {
    ir.DataType.STRING: "Cut the part with the text off (wb.edit('extract', ...)) and run it outside of the engine.",
    ir.DataType.COMPLEX64: "Keep real and imaginary parts in two tensors.",
    ir.DataType.COMPLEX128: "Keep real and imaginary parts in two tensors.",
    ir.DataType.FLOAT8E8M0: "Store the block scales of MXFP4 or MXFP8 as FP32, which holds them exactly.",
}


def fp8_kind(site: CauseSite) -> Cause | None:
    """Name FP8 types other than E4M3FN."""
    kinds = (ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ, ir.DataType.FLOAT8E4M3FNUZ)
    kind = next((t for t in site.types() if t in kinds), None)
    if kind is None:
        return None
    return Cause(
        "fp8-kind", f"{kind.name}: TensorRT knows FP8 only as E4M3FN", Fix("Quantize to FLOAT8E4M3FN."), unnamed=True
    )


def target(site: CauseSite) -> Cause | None:
    """Name a type that the GPU does not have in hardware."""
    types = set(site.types())
    for kind, (name, since, instead) in SINCE.items():
        if kind in types and site.target < since:
            # The targets that can be checked have no sm100.
            near = "sm120" if kind is ir.DataType.FLOAT4E2M1 else f"sm{since}"
            also = " (Blackwell: sm100, sm120)" if kind is ir.DataType.FLOAT4E2M1 else ""
            return Cause(
                f"{name.lower()}-target",
                f"{name} needs sm{since} or newer{also}; the target is sm{site.target}",
                Fix(f"{instead} {near}."),
                unnamed=True,
            )
    return None


def data_type(site: CauseSite) -> Cause | None:
    """Name a tensor type that TensorRT has no counterpart for."""
    kind = next((t for t in site.types() if t not in PARSER_TYPES and t != ir.DataType.UNDEFINED), None)
    if kind is None:
        return None
    scales = kind is ir.DataType.FLOAT8E8M0
    reason = (
        f"{kind.name}: the parser reads no such tensors" if scales else f"{kind.name} tensors do not exist in TensorRT"
    )
    return Cause("data-type", reason, Fix(INSTEAD.get(kind, "Cast to a type that does.")), unnamed=True)


def double(site: CauseSite) -> Cause | None:
    """Name DOUBLE, which becomes FP32 without a word."""
    if site.message or ir.DataType.DOUBLE not in site.types():
        return None
    return Cause(
        "double",
        "DOUBLE is computed as FP32",
        Fix("Cast to FLOAT in the model, so that the numbers are the same everywhere."),
        quiet=True,
    )


def uint8_inside(site: CauseSite) -> Cause | None:
    """Name UINT8 between nodes: TensorRT has it for what is fed and what comes out."""
    if "UINT8 types for intermediate tensors" not in site.message:
        return None
    return Cause(
        "uint8-inside",
        "UINT8 between nodes; TensorRT has it for inputs and outputs alone",
        Fix("Cast to INT32 or a floating-point type instead; of a quantization, make it symmetric INT8."),
    )


def mixed_types(site: CauseSite) -> Cause | None:
    """Name operands of different types, which strong typing never converts."""
    match = re.search(r"must have same input types\. But they are of types (\w+) and (\w+)", site.message)
    if match is None:
        return None
    return Cause(
        "mixed-types",
        f"its inputs are {match[1]} and {match[2]}; a strongly typed network converts nothing by itself",
        Fix("Cast its operands to one type.", "cast_operands", {"node": site.address}),
    )


def operand_type(site: CauseSite) -> Cause | None:
    """Name an operator on a type that TensorRT computes it in on no GPU."""
    match = re.search(r"unsupported input type of (\w+)|But type is (\w+)\.", site.message)
    if match is None:
        return None
    return Cause(
        "operand-type",
        f"{site.node.op_type} on {match[1] or match[2]} is not supported",
        Fix("Cast its inputs to a floating-point type and the result back."),
    )


TYPES: tuple[Callable[[CauseSite], Cause | None], ...] = (fp8_kind, target, data_type)
"""Types of tensors, in the order in which they are tried."""

OPERAND_TYPES: tuple[Callable[[CauseSite], Cause | None], ...] = (uint8_inside, mixed_types, operand_type)
"""Types that an operator does not take."""


def range_length(site: CauseSite) -> Cause | None:
    """Name a Range of FP32 constants that has another length in TensorRT."""
    counts = None if site.message else _range_counts(site.node)
    if counts is None:
        return None
    rounded, exact = counts
    return Cause(
        "range-length",
        f"TensorRT counts its elements in FP32: {rounded}, where ONNX has {exact}",
        Fix(STORE_RANGE),
        quiet=True,
    )


def behind_range(site: CauseSite) -> Cause | None:
    """Name a node whose shapes do not fit since a Range before it has another length in TensorRT."""
    if site.model is None or not re.search(r"conformable|broadcast|Shape Error|dimensions", site.message):
        return None
    before = site.model.index.upstream([site.address])
    for address in filter(before.__contains__, site.model.nodes):
        if counts := _range_counts(site.model.nodes[address]):
            rounded, exact = counts
            return Cause(
                "behind-range",
                f"the Range {address} before it has {rounded} elements in TensorRT, which counts them in FP32, "
                f"and {exact} in ONNX: shapes do not fit",
                Fix(f"{address}: {STORE_RANGE}"),
            )
    return None


def _range_counts(node: ir.Node) -> tuple[int, int] | None:
    """Return how many elements TensorRT and ONNX give a Range of FP32 constants, where they differ.

    ONNX's number of elements is ceil((limit - start) / delta). ONNX Runtime and ONNX's reference evaluate it in FP64;
    TensorRT-RTX 1.7.1 does so in FP32, seen of 106 Ranges, of which 21 are one element shorter there.
    """
    if node.op_type != "Range":
        return None
    ends = [None if value is None else ir.convenience.get_const_tensor(value) for value in node.inputs]
    if any(end is None or end.dtype != ir.DataType.FLOAT for end in ends):
        return None
    start, limit, delta = (np.float32(end.numpy().item()) for end in ends if end is not None)
    with np.errstate(all="ignore"):
        exact, rounded = (np.float64(limit) - start) / delta, (limit - start) / delta
    if not np.isfinite(exact) or max(np.ceil(exact), 0) == max(np.ceil(rounded), 0):
        return None
    return int(np.ceil(rounded)), int(np.ceil(exact))
