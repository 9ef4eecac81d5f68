"""The plan that a model came with: what is quantized in it already, as ordinary rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from workbench.graph.selectors import pick
from workbench.precision.plan import PrecisionPlan, Rule

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.model import Model
    from workbench.precision.targets import Precision

__all__ = ["given_precision", "literal", "plan_of"]

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
QDQ = frozenset({"DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"})
INTEGER_OPERATORS = re.compile(r"QLinear\w+|QGemm|ConvInteger|MatMulInteger\w*")
"""Operators that compute on integers by their definition, ONNX's own and ONNX Runtime's."""

PRECISIONS: dict[str, Precision] = {
    "INT8": "int8",
    "UINT8": "int8",
    "FLOAT8E4M3FN": "fp8",
}


def given_precision(node: ir.Node) -> Precision | None:
    """Return the quantized precision that a node has in the model itself, ``None`` where it has none.

    A node that multiplies is quantized where both its operands come out of a DequantizeLinear; a sum where one of them
    does (a shortcut); any other where everything does that is computed.
    """
    if INTEGER_OPERATORS.fullmatch(node.op_type):
        return "int8"
    if node.op_type in QDQ:
        return None
    operands = [value for value in node.inputs if value is not None and not value.is_initializer()]
    found = [_dequantized(value) for value in operands]
    if not any(found):
        return None
    if node.op_type in WEIGHTED:
        both = [None if value is None else _dequantized(value) for value in node.inputs[:2]]
        return both[0] if all(both) else None
    if node.op_type == "Add":
        return next(precision for precision in found if precision)
    return found[0] if all(found) else None


def plan_of(model: Model) -> PrecisionPlan:
    """Return the plan that a quantized model came with, as rules on its nodes.

    On the model itself they change nothing, for nothing is quantized twice. On the model after the edit ``remove_qdq``
    they ask for the same nodes again: the lowering then places the pairs as TensorRT wants them.

    Returns
    -------
    PrecisionPlan
        One rule for each operator all of whose nodes are quantized, one that names the nodes for each other operator;
        empty for a model without quantization.
    """
    rules = []
    kinds: dict[str, list[str]] = {}
    for address, node in model.top_nodes.items():
        kinds.setdefault(node.op_type, []).append(address)
    for op_type, addresses in kinds.items():
        found: dict[Precision, list[str]] = {}
        for address in addresses:
            precision = given_precision(model.top_nodes[address])
            if precision is not None:
                found.setdefault(precision, []).append(address)
        for precision, members in found.items():
            everywhere = len(members) == len(addresses) and len(model.nodes) == len(model.top_nodes)
            selector = pick("op", op_type) if everywhere else pick("name", *(literal(name) for name in members))
            rules.append(Rule(select=str(selector), precision=precision))
    return PrecisionPlan(rules=tuple(rules))


def literal(name: str) -> str:
    r"""Return a name as a selector's glob that means this name alone: ``*`` becomes ``\*``."""
    return re.sub(r"([*?\\])", r"\\\1", name)


def _dequantized(value: ir.Value) -> Precision | None:
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    source = producer.inputs[0]
    dtype = None if source is None else source.dtype
    if dtype is None and source is not None and (quantize := source.producer()) is not None:
        zero_point = quantize.inputs[2] if len(quantize.inputs) > 2 else None
        dtype = None if zero_point is None else zero_point.dtype
        if zero_point is None:
            return "int8"  # QuantizeLinear without a zero point makes UINT8
    return None if dtype is None else PRECISIONS.get(dtype.name)
