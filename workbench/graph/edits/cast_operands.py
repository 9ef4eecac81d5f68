"""Give the operands of a node one floating-point type, which ONNX demands and a strongly typed compiler checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused, node_at, part_of

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["CastOperands"]

FLOATING = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})


class CastOperands(Edit):
    """Cast those floating-point operands of a node that differ from the others.

    All get the type that the result is declared to have, where one of them has it, else the widest of theirs. Constants
    are stored in it, other operands go through a Cast.

    Parameters
    ----------
    node
        Its address.
    """

    do: Literal["cast_operands"] = "cast_operands"
    title: ClassVar[str] = "Cast operands to one type"

    node: str

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        node = node_at(graph, self.node)
        notes = []
        for positions in _together(node, model.opset):
            types = {position: _type(model, self.node, position) for position in positions}
            kinds = {kind for kind in types.values() if kind in FLOATING}
            if len(kinds) < 2:
                continue
            common = _common_type(model, self.node, kinds)
            for position, kind in types.items():
                if kind in FLOATING and kind != common:
                    _cast(part_of(node), node, position, common)
                    notes.append(f"operand {position} of {self.node}: {kind.name} -> {common.name}")
        return notes or None


def _together(node: ir.Node, opset: int) -> list[list[int]]:
    """Return the positions of the inputs that ONNX wants in one type, by its operator's schema."""
    try:
        formals = [formal.type_str for formal in onnx.defs.get_schema(node.op_type, opset, node.domain or "").inputs]
    except onnx.defs.SchemaError as error:
        raise EditError(f"ONNX has no {node.op_type} in operator set {opset}", where=node.name) from error
    groups: dict[str, list[int]] = {}
    for position, value in enumerate(node.inputs):
        if value is not None and formals:
            groups.setdefault(formals[min(position, len(formals) - 1)], []).append(position)
    return list(groups.values())


def _type(model: Model, address: str, position: int) -> ir.DataType | None:
    value = model.nodes[address].inputs[position]
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.dtype
    dtype = tensor_at(model, model.index.tensor(value)).dtype
    return None if dtype is None else ir.DataType[dtype]


def _common_type(model: Model, address: str, kinds: set[ir.DataType]) -> ir.DataType:
    declared = {value.name: value.dtype for value in model.ir_model.graph.outputs}
    output = model.nodes[address].outputs[0]
    result = declared.get(output.name) or output.dtype
    return result if result in kinds else max(kinds, key=lambda kind: (kind.bitwidth, kind.name))


def _cast(part: ir.Graph, node: ir.Node, position: int, kind: ir.DataType) -> None:
    value = node.inputs[position]
    if value is None:
        return
    constant = constant_array(value)
    name = f"{value.name}/{kind.name.lower()}"
    if constant is not None:
        node.replace_input_with(position, add_constant(part, name, constant.astype(kind.numpy())))
        drop_unused(part, [value])
        return
    cast = add_node(part, "Cast", [value], name=name, attributes={"to": int(kind)}, before=node)
    node.replace_input_with(position, cast.outputs[0])
