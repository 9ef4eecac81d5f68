"""Take out what is unused."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import onnx

from workbench.graph.edits.inside import graphs_in
from workbench.graph.edits.surgery import drop_unused
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.structure import graphs_of, walk

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["RemoveDead"]

TOGETHER = frozenset({"Attention", "BatchNormalization"})
"""Operators of which one optional result can be wanted only with another, or that compute otherwise without it."""


class RemoveDead(WideEdit):
    """Remove nodes and weights from which no output of the model is computed."""

    do: Literal["remove_dead"] = "remove_dead"
    title: ClassVar[str] = "Remove dead nodes and weights"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return not any(value.uses() or value.is_graph_output() for value in node.outputs)

    def sweep(self, area: Area) -> list[str] | None:
        before, results = _count(area.graph), 0
        # Readers come after what they read: from the end one pass finds all.
        for _, part, node in reversed(list(area)):
            if node.graph is not part:
                continue  # gone with the node that held its graph
            if self.fits(node):
                inputs = tuple(node.inputs)
                for inner in [inner for graph in graphs_in(node) for inner in graph.all_nodes()]:
                    inner.resize_inputs(0)  # what they read is read no more
                part.remove(node, safe=True)
                drop_unused(part, inputs)
            elif area.whole:
                results += _drop_results(node, area.graph.opset_imports.get("", 1))
        if area.whole:
            for _, part in graphs_of(area.graph):
                drop_unused(part, list(part.initializers.values()))
        after = _count(area.graph)
        nodes, weights = before[0] - after[0], before[1] - after[1]
        unread = f", and {results} results that nothing reads" if results else ""
        removed = f"removed {nodes} nodes and {weights} weights that nobody needs{unread}"
        return [removed] if nodes or weights or results else None


def _drop_results(node: ir.Node, opset: int) -> int:
    """Leave out optional results at the end that nothing reads, and count them: some compilers refuse them."""
    if node.domain or node.op_type in TOGETHER or not onnx.defs.has(node.op_type, opset, ""):
        return 0
    formals = onnx.defs.get_schema(node.op_type, opset, "").outputs
    before = kept = len(node.outputs)
    while 0 < kept <= len(formals) and formals[kept - 1].option == onnx.defs.OpSchema.FormalParameterOption.Optional:
        if (value := node.outputs[kept - 1]).uses() or value.is_graph_output():
            break
        kept -= 1
    if kept < before:
        node.resize_outputs(kept)
    return before - kept


def _count(graph: ir.Model) -> tuple[int, int]:
    weights = sum(len(part.initializers) for _, part in graphs_of(graph))
    return sum(1 for _ in walk(graph)), weights
