"""Whose operator a node is: another domain, and a local function, may call its own like one of ONNX's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["QDQ", "STANDARD_DOMAINS", "WEIGHTED", "is_filled_in", "onnx_op", "qdq_op"]

STANDARD_DOMAINS = ("", "ai.onnx")
QDQ = ("QuantizeLinear", "DequantizeLinear")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that multiply by weights, and gain from eight bits."""
SAME_QDQ = (*STANDARD_DOMAINS, "com.microsoft")
"""Domains whose QuantizeLinear and DequantizeLinear mean the same; ONNX Runtime had more types in them before ONNX."""


def onnx_op(node: ir.Node) -> str:
    """Return which of ONNX's own operators a node is.

    Empty for one of another domain, whatever it is called, and for one that `is_filled_in`: what that computes is known
    at the call alone.
    """
    return node.op_type if node.domain in STANDARD_DOMAINS and not is_filled_in(node) else ""


def qdq_op(node: ir.Node) -> str:
    """Return ``QuantizeLinear`` or ``DequantizeLinear`` for a node that is one, empty for any other, as `onnx_op`."""
    return node.op_type if node.op_type in QDQ and node.domain in SAME_QDQ and not is_filled_in(node) else ""


def is_filled_in(node: ir.Node) -> bool:
    """Say whether a node of a local function has an attribute that is the function's own, which each call gives."""
    return any(attribute.is_ref() for attribute in node.attributes.values())
