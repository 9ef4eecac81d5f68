"""Which inputs and outputs of a node have its floating-point type, by ONNX's own schemas and type inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from workbench.graph import content_of, onnx_op, qdq_op
from workbench.precision.operators.schemas import made_of, operator

if TYPE_CHECKING:
    import numpy.typing as npt

    from workbench.graph import Model
    from workbench.names import Floating

__all__ = ["BF16_OPSET", "OPSET_FOR_SCALES", "OWN", "OWN_TYPES", "TYPES", "Slots", "opset_for", "own_type", "slots"]

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

OPSET_FOR_SCALES = 19
"""The first operator set whose Q/DQ scales may be FP16 or BF16, and whose Q/DQ know FP8."""

READS_ANY = frozenset({"Cast", "IsInf", "IsNaN", "Shape", "Size"})
"""Operators whose result has nothing to do with the floating-point type they read, if they take all of them."""

LOW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

QUANTIZATION = "it is quantization of the model's own"


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
    if qdq_op(node):
        return _stored_weight(model, node, floating)
    if not onnx_op(node) or (node.domain, node.op_type, node.overload) in model.ir_model.functions:
        return f"nothing is known of the types that {node.domain}.{node.op_type} takes"
    if any(use.node.graph is not node.graph for output in node.outputs for use in output.uses()):
        return "a subgraph reads its result, and its types stay as they are"
    opset = model.opset if floating != "bf16" else max(model.opset, BF16_OPSET)
    return _by_schema(model, node, opset, floating)


def own_type(model: Model, node: ir.Node) -> Floating | None:
    """Return the low precision that a node has in the model itself, by what it makes; ``None`` where it has none."""
    dtypes = (model.tensor(model.index.tensor(value)).dtype for value in node.outputs if value.name)
    return next((OWN_TYPES[dtype] for dtype in dtypes if dtype in OWN_TYPES), None)


def opset_for(node: ir.Node, opset: int, floating: Floating) -> int:
    """Return the first operator set, from `opset` on, in which an operator takes a floating-point type."""
    versions = ((version, operator(node.op_type, version)) for version in range(opset, BF16_OPSET))
    first = next((version for version, schema in versions if schema is not None and schema.has(TYPES[floating])), None)
    return max(opset, BF16_OPSET) if first is None else first


def _by_schema(model: Model, node: ir.Node, opset: int, floating: Floating) -> Slots | str:
    schema = operator(node.op_type, opset)
    if schema is None or (schema.deprecated and opset != model.opset):
        return f"operator set {opset} has no {node.op_type}"
    kinds = [None if v is None or not v.name else model.tensor(v.name).dtype for v in node.inputs]
    typed = zip(node.inputs, kinds, strict=True)
    unknown = next((v for v, kind in typed if v is not None and v.name and kind is None), None)
    if unknown is not None:
        return f"the type of its input {unknown.name!r} is not known, or no tensor's"
    other = sorted({kind.lower() for kind in kinds if kind in ("FLOAT16", "BFLOAT16", "DOUBLE")})
    if other:
        return f"it is {' and '.join(other)} {OWN}"
    inputs = frozenset(at for at, kind in enumerate(kinds) if kind == "FLOAT" and schema.variable(at) is not None)
    any_of = LOW if floating == "fp32" else (TYPES[floating],)
    if node.op_type in READS_ANY and all(schema.takes(at, kind) for at in inputs for kind in any_of):
        return Slots(frozenset(), frozenset(), frozenset(range(len(node.inputs))))
    if not all(schema.takes(at, TYPES[floating]) for at in inputs):
        return f"ONNX has no {TYPES[floating].name.lower()} {node.op_type} in operator set {opset}"
    wide = [None if kind is None else ir.DataType[kind] for kind in kinds]
    narrow = [TYPES[floating] if at in inputs else kind for at, kind in enumerate(wide)]
    before, after = made_of(node, opset, wide), made_of(node, opset, narrow)
    if isinstance(after, str) and not isinstance(before, str):
        return f"ONNX has no {TYPES[floating].name.lower()} {node.op_type} like this: {after}"
    if isinstance(after, str) or isinstance(before, str):
        following = {schema.variable(at) for at in inputs}
        return Slots(inputs, frozenset(at for at in range(len(node.outputs)) if schema.result(at) in following))
    changed = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if any(after[at] != TYPES[floating] for at in changed):
        return f"{node.op_type} makes a sequence or an optional of it, whose type stays as it is"
    return Slots(inputs, frozenset(changed))


def _stored_weight(model: Model, node: ir.Node, floating: Floating) -> Slots | str:
    """Let a dequantized weight come out in the type of who reads it: then nothing stands between the two."""
    constant = node.op_type == "DequantizeLinear" and node.inputs[0] is not None and node.inputs[0].is_initializer()
    scale = node.inputs[1]
    typed = "output_dtype" in node.attributes and bool(node.attributes["output_dtype"].as_int())
    if not constant or scale is None or typed or model.opset < OPSET_FOR_SCALES:
        return QUANTIZATION
    if model.tensor(str(scale.name)).dtype != "FLOAT" or any(v.is_graph_output() for v in node.outputs):
        return QUANTIZATION
    if scale.is_initializer() and floating == "fp16" and not _fits_fp16(content_of(scale).numpy()):
        return f"fp16 cannot hold its scale {scale.name!r}"
    return Slots(frozenset({1}), frozenset({0}))


def _fits_fp16(scale: npt.NDArray[np.float32]) -> bool:
    magnitudes = np.abs(scale[scale != 0])
    finite = np.finfo(np.float16)
    return bool((magnitudes >= float(finite.tiny)).all() and (magnitudes <= float(finite.max)).all())
