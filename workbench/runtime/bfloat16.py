"""BF16 on a processor without BF16 kernels: FP32 arithmetic, every result rounded to BF16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from workbench.graph import Model

__all__ = ["has_bfloat16", "in_float32"]

BF16 = ir.DataType.BFLOAT16


def has_bfloat16(model: Model) -> bool:
    """Say whether a node of the main graph makes BF16."""
    return any(value.dtype == BF16 for node in model.top_nodes.values() for value in node.outputs)


def in_float32(model: Model) -> Model:
    """Return a model that computes in FP32 what another computes in BF16, each result rounded to BF16 by two Casts.

    That is what a GPU's tensor cores do, which multiply BF16 numbers exactly and sum in FP32; the order of the sums
    differs. Inputs and outputs of the model that are BF16 stay so.
    """
    graph = model.thaw()
    part = graph.graph
    for name, value in list(part.initializers.items()):
        if value.dtype == BF16 and value.const_value is not None:
            tensor = ir.Tensor(value.const_value.numpy().astype("float32"), name=name)
            value.const_value = tensor
            value.type = ir.TensorType(tensor.dtype)
    for node in list(part):
        for value in node.outputs:
            if value.dtype == BF16 and not value.is_graph_output():
                _round(part, node, value)
    return model.replaced(graph)


def _round(part: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    readers = [(use.node, use.idx) for use in value.uses()]
    casts = node.op_type == "Cast"
    narrow = value
    added = []
    if not casts:
        value.type = ir.TensorType(ir.DataType.FLOAT)
        first = ir.node("Cast", [value], {"to": BF16}, name=f"{value.name}/rounded/Cast")
        narrow = first.outputs[0]
        narrow.name, narrow.type, narrow.shape = f"{value.name}/rounded", ir.TensorType(BF16), value.shape
        added.append(first)
    wide = ir.node("Cast", [narrow], {"to": ir.DataType.FLOAT}, name=f"{value.name}/widened/Cast")
    made = wide.outputs[0]
    made.name, made.type, made.shape = f"{value.name}/widened", ir.TensorType(ir.DataType.FLOAT), value.shape
    part.insert_after(node, [*added, wide])
    for reader, position in readers:
        reader.replace_input_with(position, made)
