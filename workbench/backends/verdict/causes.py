"""Why TensorRT refuses a node, or quietly changes it, and what helps: one small function a cause.

Each function looks at one node, and at what the compiler said of it, and names the cause or says None. They are tried
in order; the first answer counts. A cause marked `quiet` is no refusal: TensorRT takes the node and makes something
else of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from workbench.graph import quantized_type
from workbench.graph.edits import is_operand_constant
from workbench.graph.select import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CAUSES", "CONVERT", "PARSER_TYPES", "Cause", "Fix", "Site", "find_cause", "zero_point_of"]

STANDARD_DOMAINS = ("", "ai.onnx")
QUANTIZE_OPS = ("QuantizeLinear", "DequantizeLinear")
OLDEST_OPSET = 7
FP8_SINCE = 89
BF16_SINCE = 80
PARSER_TYPES = {
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
    ir.DataType.FLOAT8E8M0,
    ir.DataType.BOOL,
}


@dataclass(frozen=True)
class Fix:
    """What to do: a sentence, and where the workbench can do it, the edit and its arguments."""

    text: str
    edit: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


CONVERT = Fix("Convert the operator set to 13, or export with it.", "convert_opset", {"version": 13})


@dataclass(frozen=True)
class Cause:
    """Why, in one sentence, and what helps.

    Attributes
    ----------
    name
        A stable word for programs.
    quiet
        TensorRT accepts the node but computes something else than the graph says.
    unnamed
        The compiler refuses this without naming the node.
    undecided
        The answer needs a GPU.
    """

    name: str
    reason: str
    fix: Fix
    quiet: bool = False
    unnamed: bool = False
    undecided: bool = False


@dataclass(frozen=True)
class Site:
    """What a cause is judged by.

    The node, the opset it is read in, the target (86 for sm86), the compiler's words, whether the model has dynamic
    inputs, whose shapes came from an optimization profile, and the node's address in the model.
    """

    node: ir.Node
    opset: int
    target: int
    message: str = ""
    dynamic: bool = False
    address: str = ""


def find_cause(site: Site) -> Cause | None:
    """Return the first known cause that explains this node, or None."""
    return next((cause for function in CAUSES if (cause := function(site)) is not None), None)


def int32_bias(site: Site) -> Cause | None:
    """Name an INT32 DequantizeLinear: ONNX Runtime's quantizer writes one for each bias."""
    node = site.node
    if node.op_type != "DequantizeLinear" or _dtype(node.inputs[0]) != ir.DataType.INT32:
        return None
    return Cause(
        "int32-bias",
        "DequantizeLinear of INT32: TensorRT dequantizes only 8-bit and 4-bit types",
        Fix("Store the bias as FP32 (INT32 value x scale); TensorRT quantizes it itself.", "dequantize_constants"),
    )


def asymmetric(site: Site) -> Cause | None:
    """Name Q/DQ with a non-zero zero point."""
    zero_point = zero_point_of(site.node)
    if zero_point is None or not np.any(zero_point):
        return None
    return Cause(
        "asymmetric",
        "a zero point that is not 0: TensorRT on a GPU quantizes symmetrically",
        Fix("Make the quantization symmetric INT8; the range keeps its larger side.", "symmetric_qdq"),
    )


def operand_constant(site: Site) -> Cause | None:
    """Name a quantized constant that only elementwise operators read."""
    if not is_operand_constant(site.node):
        return None
    return Cause(
        "operand-constant",
        "a quantized constant that no convolution or matrix product reads",
        Fix("Store the constant as floating point.", "dequantize_constants"),
    )


def uint8(site: Site) -> Cause | None:
    """Name UINT8 Q/DQ, which the parser reads as INT8: everything above 127 x scale is clipped."""
    if site.node.op_type not in QUANTIZE_OPS or quantized_type(site.node) != ir.DataType.UINT8:
        return None
    return Cause(
        "uint8",
        "UINT8 is read as INT8 without a change of scale: values above 127 x scale are clipped",
        Fix("Make the quantization symmetric INT8 with a scale that covers the range.", "symmetric_qdq"),
        quiet=True,
    )


def fp8_kind(site: Site) -> Cause | None:
    """Name FP8 types other than E4M3FN."""
    kinds = (ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ, ir.DataType.FLOAT8E4M3FNUZ)
    kind = next((t for t in _types(site.node) if t in kinds), None)
    if kind is None:
        return None
    return Cause(
        "fp8-kind", f"{kind.name}: TensorRT knows FP8 only as E4M3FN", Fix("Quantize to FLOAT8E4M3FN."), unnamed=True
    )


def fp8_target(site: Site) -> Cause | None:
    """Name FP8 on a GPU without FP8 tensor cores."""
    if site.target >= FP8_SINCE or ir.DataType.FLOAT8E4M3FN not in _types(site.node):
        return None
    return Cause(
        "fp8-target",
        f"FP8 needs sm{FP8_SINCE} or newer; the target is sm{site.target}",
        Fix(f"Use INT8 for this target, or check against sm{FP8_SINCE}."),
        unnamed=True,
    )


def bf16_target(site: Site) -> Cause | None:
    """Name BF16 on a GPU without it."""
    if site.target >= BF16_SINCE or ir.DataType.BFLOAT16 not in _types(site.node):
        return None
    return Cause(
        "bf16-target",
        f"BF16 needs sm{BF16_SINCE} or newer; the target is sm{site.target}",
        Fix(f"Use FP16 for this target, or check against sm{BF16_SINCE}."),
        unnamed=True,
    )


def turing_matrix_product(site: Site) -> Cause | None:
    """Name an FP32 matrix product on Turing, for which TensorRT-RTX has no kernel (convolutions it has)."""
    if "FP32 GEMM is not supported" not in site.message:
        return None
    return Cause(
        "turing-matrix-product",
        f"TensorRT-RTX has no FP32 matrix product for sm{site.target}; after this one, others may follow",
        Fix("Give the matrix products FP16 or INT8 in the plan for this target."),
    )


def data_type(site: Site) -> Cause | None:
    """Name a tensor type that TensorRT has no counterpart for."""
    kind = next((t for t in _types(site.node) if t not in PARSER_TYPES and t != ir.DataType.UNDEFINED), None)
    if kind is None:
        return None
    return Cause(
        "data-type", f"{kind.name} tensors do not exist in TensorRT", Fix("Cast to a type that does."), unnamed=True
    )


def double(site: Site) -> Cause | None:
    """Name DOUBLE, which becomes FP32 without a word."""
    if ir.DataType.DOUBLE not in _types(site.node):
        return None
    return Cause(
        "double",
        "DOUBLE is computed as FP32",
        Fix("Cast to FLOAT in the model, so that the numbers are the same everywhere."),
        quiet=True,
    )


def needs_gpu(site: Site) -> Cause | None:
    """Name an operator whose plugin cannot be made without a GPU: no verdict, rather than a false one."""
    if "plugin" not in site.message or "CUDA driver version is insufficient" not in site.message:
        return None
    return Cause(
        "needs-gpu",
        f"the plugin for {site.node.op_type} can only be made where there is a GPU",
        Fix("Check this model on a machine with a GPU."),
        undecided=True,
    )


def old_opset(site: Site) -> Cause | None:
    """Name an operator set older than the parser reads."""
    if site.node.domain not in STANDARD_DOMAINS or site.opset >= OLDEST_OPSET or not site.message:
        return None
    return Cause(
        "old-opset",
        f"opset {site.opset}: the parser reads {OLDEST_OPSET} and newer",
        CONVERT,
    )


def custom_domain(site: Site) -> Cause | None:
    """Name an operator of another domain without a plugin."""
    if site.node.domain in STANDARD_DOMAINS or not site.message:
        return None
    why = "was written by ONNX Runtime's optimizer" if site.node.domain.startswith("com.microsoft") else "is custom"
    fix = (
        "Export again without ONNX Runtime's graph optimizations."
        if site.node.domain.startswith("com.microsoft")
        else "Replace it by standard operators, or register a TensorRT plugin of this name."
    )
    return Cause("custom-domain", f"{site.node.domain}.{site.node.op_type} {why}; TensorRT has no plugin", Fix(fix))


def unknown_op(site: Site) -> Cause | None:
    """Name an operator that ONNX itself does not have in this opset."""
    node = site.node
    known = bool(site.opset) and onnx.defs.has(node.op_type, site.opset, "")
    if not site.message or node.domain not in STANDARD_DOMAINS or known:
        return None
    return Cause(
        "unknown-op",
        f"{node.op_type} is no operator of ONNX opset {site.opset}, and TensorRT has no plugin of this name",
        Fix("Replace it by standard operators, or register a TensorRT plugin of this name."),
    )


def mixed_types(site: Site) -> Cause | None:
    """Name operands of different types, which strong typing never converts."""
    found = re.search(r"must have same input types\. But they are of types (\w+) and (\w+)", site.message)
    if found is None:
        return None
    return Cause(
        "mixed-types",
        f"its inputs are {found[1]} and {found[2]}; a strongly typed network converts nothing by itself",
        Fix("Cast its operands to one type.", "cast_operands", {"node": site.address}),
    )


def operand_type(site: Site) -> Cause | None:
    """Name an operator on a type that TensorRT computes it in on no GPU."""
    found = re.search(r"unsupported input type of (\w+)|But type is (\w+)\.", site.message)
    if found is None:
        return None
    return Cause(
        "operand-type",
        f"{site.node.op_type} on {found[1] or found[2]} is not supported",
        Fix("Cast its inputs to a floating-point type and the result back."),
    )


def gemm_rank(site: Site) -> Cause | None:
    """Name Gemm on tensors that are not matrices."""
    if site.node.op_type != "Gemm" or "GEMM must have 2D inputs" not in site.message:
        return None
    return Cause(
        "gemm-rank",
        "Gemm on tensors of rank over 2, which ONNX forbids",
        Fix("Write it as MatMul and Add.", "expand_gemm", {"only": str(nodes(site.address))}),
    )


def shapes(site: Site) -> Cause | None:
    """Name shapes for which the layer makes no sense, most often those chosen by default for a dynamic input."""
    if not site.dynamic or "processCheck" not in site.message:
        return None
    return Cause(
        "shapes",
        "the layer makes no sense for the shapes in the optimization profile",
        Fix("Give the shapes the model is made for (shapes={input: (min, opt, max)})."),
    )


def unsupported_op(site: Site) -> Cause | None:
    """Name an ONNX operator that the parser does not have."""
    # An operator's own checker answers a bare "false"; others look for a plugin that does not exist.
    missing = "plugin creator version" in site.message or "Plugin not found" in site.message
    if site.node.domain not in STANDARD_DOMAINS or not (missing or site.message.startswith("false ")):
        return None
    return Cause(
        "unsupported-op",
        f"the parser has no implementation of {site.node.op_type}",
        Fix("Replace it by operators that TensorRT has, or cut the model before it."),
    )


CAUSES: tuple[Callable[[Site], Cause | None], ...] = (
    int32_bias,
    asymmetric,
    uint8,
    operand_constant,
    fp8_kind,
    fp8_target,
    bf16_target,
    turing_matrix_product,
    data_type,
    needs_gpu,
    old_opset,
    custom_domain,
    unknown_op,
    mixed_types,
    operand_type,
    gemm_rank,
    shapes,
    unsupported_op,
    double,
)


def zero_point_of(node: ir.Node) -> np.ndarray[Any, Any] | None:
    """Return the constant zero point of a QuantizeLinear or DequantizeLinear, or None where it has none."""
    if node.op_type not in QUANTIZE_OPS or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    constant = node.inputs[2].const_value
    return None if constant is None else constant.numpy()


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


def _types(node: ir.Node) -> Iterator[ir.DataType]:
    for value in (*node.inputs, *node.outputs):
        kind = _dtype(value)
        if kind is not None:
            yield kind
    if node.op_type == "Cast" and "to" in node.attributes:
        yield ir.DataType(node.attributes["to"].as_int())
