"""Causes about operators: those that the parser does not have, and what it does not take of those it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.backends.verdict.cause import Cause, CauseSite, Fix
from workbench.graph import QDQ, STANDARD_DOMAINS
from workbench.graph.select import nodes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONVERT", "MOST_AXES", "NO_ATTENTION", "OPERATORS", "UNSUPPORTED", "custom_domain", "turing_matrix_product"]

OLDEST_OPSET = 7
MOST_AXES = 8
"""TensorRT's Dims::MAX_DIMS."""

SMALLEST_HEAD = 9
NO_ATTENTION = "Attention operation was not supported by a dedicated kernel"
ONE_RESULT = "only supports Attention nodes with one output"
EXTENSIONS = "ai.onnx.contrib"
INTEGER_OPS = re.compile(r"QLinear|^Q[A-Z](?!uick)|Integer|^Dynamic|^MatMulNBits")
QUANTIZE_AGAIN = Fix(
    "Quantize again in Q/DQ format (QuantFormat.QDQ), or take the model that was quantized and tune that."
)
CONVERT = Fix("Convert the operator set to 13, or export with it.", "convert_opset", {"version": 13})


def turing_matrix_product(site: CauseSite) -> Cause | None:
    """Name an FP32 matrix product on Turing, for which TensorRT-RTX has no kernel (convolutions it has)."""
    if "FP32 GEMM is not supported" not in site.message:
        return None
    return Cause(
        "turing-matrix-product",
        f"TensorRT-RTX has no FP32 matrix product for sm{site.target}; after this one, others may follow",
        Fix("Give the matrix products FP16, or INT8 over FP16: the preset fp16 or int8+fp16."),
    )


def attention(site: CauseSite) -> Cause | None:
    """Name an Attention for which TensorRT-RTX has no kernel.

    Seen of 1.7.1 for sm86: with four axes, or a mask, it takes FP16 and BF16 alone, with heads of more than 8 channels;
    with three axes and no mask, FP32 and smaller heads too, unless quantized products make its operands.
    """
    if site.node.op_type != "Attention":
        return None
    if ONE_RESULT in site.message:
        reason = "TensorRT has Attention with one result alone: no caches (present_key, present_value), no products"
        fix = "Join the caches with Concat before it and drop its other outputs, or export it as MatMul and Softmax."
        return Cause("attention-outputs", reason, Fix(fix))
    if NO_ATTENTION not in site.message:
        return None
    kind = site.dtype(site.node.inputs[0])
    if kind not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        reason = (
            f"no kernel for Attention on {'this type' if kind is None else kind.name}; there are such for FP16 and BF16"
        )
        return Cause("attention-type", reason, Fix("Give it FP16 in the plan, or export it as MatMul and Softmax."))
    return Cause(
        "attention-shape",
        f"no kernel for this Attention: they want heads of at least {SMALLEST_HEAD} channels",
        Fix("Leave the products before it unquantized, pad its heads, or export it as MatMul and Softmax."),
    )


def training(site: CauseSite) -> Cause | None:
    """Name an operator that was exported as it is trained."""
    norm = site.node.op_type == "BatchNormalization"
    trains = norm and site.node.attributes.get_int("training_mode", 0) == 1
    if not site.message or not (trains or "in training mode" in site.message):
        return None
    return Cause(
        "training",
        f"this {site.node.op_type} is in training mode: it depends on the other samples of a batch, or on chance",
        Fix("Export the model for inference (in PyTorch after model.eval())."),
    )


def rank(site: CauseSite) -> Cause | None:
    """Name tensors of more axes than TensorRT has."""
    ranks = (site.rank(value) for value in (*site.node.inputs, *site.node.outputs))
    wide = [rank for rank in ranks if rank is not None and rank > MOST_AXES]
    if not wide:
        return None
    return Cause(
        "rank",
        f"a tensor of {max(wide)} axes; TensorRT has at most {MOST_AXES}",
        Fix("Merge axes that stay together with a Reshape before it, and split them again behind it."),
        unnamed=True,
    )


def needs_gpu(site: CauseSite) -> Cause | None:
    """Name an operator whose plugin cannot be made without a GPU: no verdict, rather than a false one."""
    if "plugin" not in site.message or "CUDA driver version is insufficient" not in site.message:
        return None
    return Cause(
        "needs-gpu",
        f"the plugin for {site.node.op_type} can only be made where there is a GPU",
        Fix("Check this model on a machine with a GPU."),
        undecided=True,
    )


def old_opset(site: CauseSite) -> Cause | None:
    """Name an operator set older than the parser reads."""
    if site.node.domain not in STANDARD_DOMAINS or site.opset >= OLDEST_OPSET or not site.message:
        return None
    return Cause("old-opset", f"opset {site.opset}: the parser reads {OLDEST_OPSET} and newer", CONVERT)


def custom_domain(site: CauseSite) -> Cause | None:
    """Name an operator of another domain without a plugin."""
    domain, op = site.node.domain, site.node.op_type
    if domain in STANDARD_DOMAINS or not _has_no_plugin(site):
        return None
    name = f"{domain}.{op}"
    if domain == EXTENSIONS:
        reason = f"{name} is an operator of onnxruntime-extensions, which prepare data or read results"
        fix = (
            "Cut the part with them off (wb.edit('extract', ...)) and run it with ONNX Runtime, outside of the engine."
        )
        return Cause("extensions", reason, Fix(fix))
    if not domain.startswith("com.microsoft"):
        fix = "Replace it by standard operators, or register a TensorRT plugin of this name."
        return Cause("custom-domain", f"{name} is custom; TensorRT has no plugin", Fix(fix))
    if op in QDQ or INTEGER_OPS.search(op):
        reason = f"{name} was written by ONNX Runtime's quantizer; TensorRT has no plugin"
        return Cause("integer-operator", reason, QUANTIZE_AGAIN)
    reason = f"{name} was written by ONNX Runtime's optimizer; TensorRT has no plugin"
    return Cause("custom-domain", reason, Fix("Export again without ONNX Runtime's graph optimizations."))


def unknown_op(site: CauseSite) -> Cause | None:
    """Name an operator that ONNX itself does not have in this opset."""
    node = site.node
    present = bool(site.opset) and onnx.defs.has(node.op_type, site.opset, "")
    if not site.message or node.domain not in STANDARD_DOMAINS or present:
        return None
    return Cause(
        "unknown-op",
        f"{node.op_type} is no operator of ONNX opset {site.opset}, and TensorRT has no plugin of this name",
        Fix("Replace it by standard operators, or register a TensorRT plugin of this name."),
    )


def gemm_rank(site: CauseSite) -> Cause | None:
    """Name Gemm on tensors that are not matrices."""
    if site.node.op_type != "Gemm" or "GEMM must have 2D inputs" not in site.message:
        return None
    return Cause(
        "gemm-rank",
        "Gemm on tensors of rank over 2, which ONNX forbids",
        Fix("Write it as MatMul and Add.", "expand_gemm", {"only": str(nodes(site.address))}),
    )


def no_kernel(site: CauseSite) -> Cause | None:
    """Name an operator that the parser takes and for which the builder has no kernel."""
    if "has no runners" not in site.message:
        return None
    return Cause(
        "no-kernel",
        f"the builder has no kernel for {site.node.op_type} on sm{site.target}",
        Fix("Cut the model before it (wb.edit('extract', ...)) and run the rest outside of the engine."),
    )


def computed(site: CauseSite) -> Cause | None:
    """Name an input that is computed, or fed, where TensorRT wants to know it when it builds."""
    if not re.search(
        r"must resolve to a build-time constant|is not a constant|is_weights\(\)|(must be|which is not) an initializer"
        r"|is a shape tensor and must have type Int",
        site.message,
    ):
        return None
    return Cause(
        "computed",
        f"{site.node.op_type} reads what is computed or fed; TensorRT wants it to be known when it builds",
        Fix("Make it a constant: fold constants (wb.prepare()), or export the model with a fixed value."),
    )


def shapes(site: CauseSite) -> Cause | None:
    """Name shapes for which the layer makes no sense, most often those chosen by default for a dynamic input."""
    impossible = "processCheck" in site.message or "inherently negative length" in site.message
    if not site.dynamic or not impossible:
        return None
    return Cause(
        "shapes",
        "the layer makes no sense for the shapes in the optimization profile",
        Fix("Give the shapes the model is made for: --shape INPUT:1x3x224x224, or shapes={input: (min, opt, max)}."),
    )


def unsupported_op(site: CauseSite) -> Cause | None:
    """Name an ONNX operator that the parser does not have."""
    # An operator's own checker answers a bare "false"; others look for a plugin that does not exist.
    if site.node.domain not in STANDARD_DOMAINS or not (_has_no_plugin(site) or site.message.startswith("false ")):
        return None
    if INTEGER_OPS.search(site.node.op_type):
        reason = f"{site.node.op_type} computes on integers, as a quantizer wrote it; TensorRT reads Q/DQ pairs"
        return Cause("integer-operator", reason, QUANTIZE_AGAIN)
    return Cause(
        "unsupported-op",
        f"the parser has no implementation of {site.node.op_type}",
        Fix("Replace it by operators that TensorRT has, or cut the model before it."),
    )


def _has_no_plugin(site: CauseSite) -> bool:
    return any(words in site.message for words in ("plugin creator version", "Plugin not found", "failed to load"))


OPERATORS: tuple[Callable[[CauseSite], Cause | None], ...] = (needs_gpu, old_opset, unknown_op)
"""Operators that are not there, in the order in which they are tried."""

UNSUPPORTED: tuple[Callable[[CauseSite], Cause | None], ...] = (
    attention,
    training,
    gemm_rank,
    rank,
    no_kernel,
    computed,
    shapes,
    unsupported_op,
)
"""What is not taken of operators that are."""
