"""Take out what nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from onnx_ir.passes.common import RemoveUnusedNodesPass

from workbench.graph.edits.surgery import drop_unused
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.structure import graphs_of, walk

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["RemoveDead"]


class RemoveDead(WideEdit):
    """Remove nodes and weights from which no output of the model is computed."""

    do: Literal["remove_dead"] = "remove_dead"
    title: ClassVar[str] = "Remove dead nodes and weights"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return not any(value.uses() or value.is_graph_output() for value in node.outputs)

    def sweep(self, area: Area) -> list[str] | None:
        before = _count(area.graph)
        if area.whole:
            RemoveUnusedNodesPass()(area.graph)
        else:
            # Readers come after what they read: from the end one pass finds all.
            for _, part, node in reversed(list(area)):
                if self.fits(node):
                    inputs = tuple(node.inputs)
                    part.remove(node, safe=True)
                    drop_unused(part, inputs)
        after = _count(area.graph)
        nodes, weights = before[0] - after[0], before[1] - after[1]
        return [f"removed {nodes} nodes and {weights} weights that nobody needs"] if nodes or weights else None


def _count(graph: ir.Model) -> tuple[int, int]:
    weights = sum(len(part.initializers) for _, part in graphs_of(graph))
    return sum(1 for _ in walk(graph)), weights
