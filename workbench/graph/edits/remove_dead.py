"""Take out what nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from onnx_ir.passes.common import RemoveUnusedNodesPass

from workbench.graph.edits.base import Edit
from workbench.graph.model import graphs_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["RemoveDead", "remove_unused"]


class RemoveDead(Edit):
    """Remove nodes and weights from which no output of the model is computed."""

    do: Literal["remove_dead"] = "remove_dead"
    title: ClassVar[str] = "Remove dead nodes and weights"

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        picked = [model.nodes[address] for address in addresses or model.nodes]
        if any(not any(v.uses() or v.is_graph_output() for v in node.outputs) for node in picked):
            yield cls()

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        nodes, weights = remove_unused(graph)
        return [f"removed {nodes} nodes and {weights} weights that nobody needs"] if nodes or weights else None


def remove_unused(graph: ir.Model) -> tuple[int, int]:
    """Remove what no output depends on; return how many nodes and weights that were."""
    before = _count(graph)
    RemoveUnusedNodesPass()(graph)
    after = _count(graph)
    return before[0] - after[0], before[1] - after[1]


def _count(graph: ir.Model) -> tuple[int, int]:
    weights = sum(len(part.initializers) for _, part in graphs_of(graph))
    return sum(1 for _ in walk(graph)), weights
