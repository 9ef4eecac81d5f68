"""What ONNX itself says of an operator: the types that it takes, and what it makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError
from onnx_ir.serde import serialize_attribute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Operator", "made_of", "operator"]

REFUSALS = (InferenceError, RuntimeError, ValueError, onnx.checker.ValidationError)


@dataclass(frozen=True)
class Operator:
    """An operator in one operator set.

    Parameters
    ----------
    inputs, outputs
        The type variable of each formal one; the last goes on where there are more.
    allowed
        Type variable to the types that it may stand for, in ONNX's words.
    deprecated
        Whether the set has it no more.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    allowed: dict[str, frozenset[str]]
    deprecated: bool

    def variable(self, position: int) -> str | None:
        """Return the type variable of an input, ``None`` where its type is fixed."""
        name = self.inputs[min(position, len(self.inputs) - 1)] if self.inputs else None
        return name if name in self.allowed else None

    def result(self, position: int) -> str | None:
        """Return the type variable of an output, ``None`` where its type is fixed."""
        name = self.outputs[min(position, len(self.outputs) - 1)] if self.outputs else None
        return name if name in self.allowed else None

    def takes(self, position: int, dtype: ir.DataType) -> bool:
        """Say whether an input may be a tensor of a type."""
        return f"tensor({dtype.name.lower()})" in self.allowed.get(self.variable(position) or "", frozenset())

    def has(self, dtype: ir.DataType) -> bool:
        """Say whether a type is allowed wherever float32 is."""
        name = f"tensor({dtype.name.lower()})"
        return all(name in types for types in self.allowed.values() if "tensor(float)" in types)


@cache
def operator(op_type: str, opset: int) -> Operator | None:
    """Return an operator of ONNX's own domain as an operator set has it, ``None`` where it has none."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    inputs, outputs = tuple(i.type_str for i in schema.inputs), tuple(o.type_str for o in schema.outputs)
    return Operator(inputs, outputs, allowed, schema.deprecated)


def made_of(node: ir.Node, opset: int, kinds: Sequence[ir.DataType | None]) -> tuple[object, ...] | str:
    """Return what ONNX's type inference says that a node makes of inputs of some types.

    Parameters
    ----------
    node
        An operator of ONNX's own domain, without subgraphs.
    opset
        The operator set to ask.
    kinds
        The element type of each input, ``None`` for one that is left out.

    Returns
    -------
    tuple or str
        The `onnx_ir.DataType` of each output that is a tensor, something else for one that is not; or why inference
        refuses the node, or says nothing.
    """
    bare = onnx.NodeProto(op_type=node.op_type)
    bare.input.extend("" if kind is None else str(at) for at, kind in enumerate(kinds))
    bare.output.extend(f"made {at}" if value.name else "" for at, value in enumerate(node.outputs))
    bare.attribute.extend(serialize_attribute(node.attributes[name]) for name in sorted(node.attributes))
    return _made_of(bare.SerializeToString(deterministic=True), opset, tuple(kinds))


@lru_cache(maxsize=4096)
def _made_of(content: bytes, opset: int, kinds: tuple[ir.DataType | None, ...]) -> tuple[object, ...] | str:
    node = onnx.NodeProto.FromString(content)
    pairs = ((str(at), int(kind)) for at, kind in enumerate(kinds) if kind is not None)
    types = {name: onnx.helper.make_tensor_type_proto(kind, None) for name, kind in pairs}
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
        if not schema.has_type_and_shape_inference_function:
            return "ONNX infers nothing of it"
        inferred = onnx.shape_inference.infer_node_outputs(schema, node, types)
    except REFUSALS as error:
        return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return tuple(_kind(inferred.get(name)) for name in node.output)


def _kind(inferred: onnx.TypeProto | None) -> object:
    if inferred is None:
        return None
    return (
        ir.DataType(inferred.tensor_type.elem_type)
        if inferred.HasField("tensor_type")
        else inferred.SerializeToString()
    )
