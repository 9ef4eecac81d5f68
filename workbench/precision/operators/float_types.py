"""Which inputs and outputs of a node have the node's floating-point type, by ONNX's own operator schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from workbench.graph import Model
    from workbench.names import Floating

__all__ = ["BF16_OPSET", "OWN", "OWN_TYPES", "TYPES", "Slots", "opset_for", "own_type", "slots"]

TYPES: dict[Floating, ir.DataType] = {
    "fp32": ir.DataType.FLOAT,
    "fp16": ir.DataType.FLOAT16,
    "bf16": ir.DataType.BFLOAT16,
}
"""The element type of each floating precision."""

OWN_TYPES: dict[str, Floating] = {"FLOAT16": "fp16", "BFLOAT16": "bf16"}
"""The low precisions that a model may be stored in itself."""

BF16_OPSET = 22
"""The operator set in which the last common operators (Conv, pooling) learnt BFLOAT16."""

OWN = "in the model itself"

READS_ANY = frozenset({"Cast", "IsInf", "IsNaN", "Shape", "Size"})
"""Operators whose result has nothing to do with the floating-point type they read."""


@dataclass(frozen=True)
class Slots:
    """Positions of a node's inputs and outputs that are floating-point and change type together.

    Parameters
    ----------
    inputs, outputs
        Those that have the node's type.
    any_type
        Inputs that take whatever comes; every other input stays as it is.
    """

    inputs: frozenset[int]
    outputs: frozenset[int]
    any_type: frozenset[int] = frozenset()


FIXED = Slots(frozenset(), frozenset())


def slots(model: Model, address: str, node: ir.Node, floating: Floating) -> Slots | str:
    """Return what changes type when a node is computed in a floating-point type, or why it cannot be.

    Parameters
    ----------
    model, address, node
        The node, in a float32 graph.
    floating
        The type asked for.

    Returns
    -------
    Slots or str
    """
    if address not in model.top_nodes:
        return "it is inside a subgraph or function, whose types stay as they are"
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        return "it holds a subgraph, whose types stay as they are"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return "it is quantization of the model's own"
    if node.domain not in ("", "ai.onnx") or (node.domain, node.op_type, node.overload) in model.ir_model.functions:
        return f"nothing is known of the types that {node.domain}.{node.op_type} takes"
    if any(use.node.graph is not node.graph for output in node.outputs for use in output.uses()):
        return "a subgraph reads its result, and its types stay as they are"
    opset = model.opset if floating != "bf16" else max(model.opset, BF16_OPSET)
    return _by_schema(model, node, opset, floating)


def own_type(model: Model, node: ir.Node) -> Floating | None:
    """Return the low precision that a node has in the model itself, by what it makes; ``None`` where it has none."""
    made = (model.tensor(model.index.tensor(value)).dtype for value in node.outputs if value.name)
    return next((OWN_TYPES[dtype] for dtype in made if dtype in OWN_TYPES), None)


def opset_for(node: ir.Node, opset: int, floating: Floating) -> int:
    """Return the first operator set, from `opset` on, in which an operator takes a floating-point type."""
    for version in range(opset, BF16_OPSET):
        variables = _variables(node.op_type, version)
        if variables is not None and all(
            _name(floating) in types for types in variables.values() if "tensor(float)" in types
        ):
            return version
    return max(opset, BF16_OPSET)


def _by_schema(model: Model, node: ir.Node, opset: int, floating: Floating) -> Slots | str:
    formal = _formals(node.op_type, opset)
    variables = _variables(node.op_type, opset)
    if formal is None or variables is None:
        return f"operator set {opset} has no {node.op_type}"
    names, results = formal
    following: dict[str, list[int]] = {}
    other: set[str] = set()
    for position, value in enumerate(node.inputs):
        if value is None or not value.name or not names:
            continue
        variable = names[min(position, len(names) - 1)]
        dtype = model.tensor(value.name).dtype
        if dtype is None:
            return f"the type of its input {value.name!r} is not known"
        if dtype == "FLOAT" and variable in variables:
            following.setdefault(variable, []).append(position)
        elif dtype in ("FLOAT16", "BFLOAT16", "DOUBLE"):
            other.add(dtype.lower())
    if other:
        return f"it is {' and '.join(sorted(other))} {OWN}"
    if node.op_type in READS_ANY:
        return Slots(frozenset(), frozenset(), frozenset(range(len(node.inputs))))
    lacking = [variable for variable in following if _name(floating) not in variables[variable]]
    if lacking:
        return f"ONNX has no {_name(floating)[7:-1]} {node.op_type}"
    outputs = frozenset(
        position for position in range(len(node.outputs)) if results[min(position, len(results) - 1)] in following
    )
    return Slots(frozenset(p for positions in following.values() for p in positions), outputs)


def _name(floating: Floating) -> str:
    return f"tensor({TYPES[floating].name.lower()})"


@cache
def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


@cache
def _formals(op_type: str, opset: int) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    schema = _schema(op_type, opset)
    if schema is None:
        return None
    return tuple(i.type_str for i in schema.inputs), tuple(o.type_str for o in schema.outputs)


@cache
def _variables(op_type: str, opset: int) -> dict[str, frozenset[str]] | None:
    schema = _schema(op_type, opset)
    if schema is None:
        return None
    return {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
