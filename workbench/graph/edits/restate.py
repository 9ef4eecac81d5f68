"""State anew what an edit made untrue: shapes inside of the graph, and what the outputs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.graph.check import is_custom
from workbench.graph.structure import graphs_of
from workbench.graph.tensor import Tensor

if TYPE_CHECKING:
    from workbench.graph.model import Model

__all__ = ["forgotten", "restated"]


def forgotten(model: Model) -> Model:
    """Return a model without what its file says of tensors inside, where ONNX can infer that itself."""
    graph = model.thaw()
    for _, part in graphs_of(graph):
        for node in part:
            if is_custom(node, graph):
                continue
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = value.type = None
    return model.replaced(graph)


def restated(model: Model) -> tuple[Model, list[str]]:
    """Return a model whose outputs are declared to be what inference makes of them, and a sentence for each new one.

    An output that inference knows nothing of keeps what it was declared to be.
    """
    graph = model.thaw()
    before = [(value.type, value.shape, _stated(value)) for value in graph.graph.outputs]
    for value in graph.graph.outputs:
        value.shape = value.type = None
    inferred = model.replaced(graph)
    graph, changes = inferred.thaw(), []
    for value, (kind, shape, was) in zip(graph.graph.outputs, before, strict=True):
        now = inferred.tensor(str(value.name))
        if now.dtype is None or now.shape is None or (now.dtype, now.shape) == (was.dtype, was.shape):
            value.type, value.shape = kind, shape
        else:
            value.type, value.shape = ir.TensorType(ir.DataType[now.dtype]), ir.Shape(now.shape)
            changes.append(f"output {was} is {str(now).removeprefix(now.name).strip()} now")
    return model.replaced(graph), changes


def _stated(value: ir.Value) -> Tensor:
    shape = None if value.shape is None else tuple(n if isinstance(n, int) else n.value for n in value.shape)
    return Tensor(str(value.name), shape, None if value.dtype is None else value.dtype.name)
