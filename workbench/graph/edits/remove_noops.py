"""Take out nodes that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.graph.edits.base import Edit
from workbench.graph.edits.surgery import constant_array, redirect
from workbench.graph.model import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["RemoveNoops"]


class RemoveNoops(Edit):
    """Remove Identity and inference-time Dropout; who read their result reads their input.

    An Identity from an input or a weight to an output of a graph stays, for both names are needed. So does a Dropout
    whose mask is read or that is in training mode.
    """

    do: Literal["remove_noops"] = "remove_noops"
    title: ClassVar[str] = "Remove Identity and Dropout"

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        if any(_changes_nothing(model.nodes[address]) for address in addresses or model.nodes):
            yield cls()

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        removed = 0
        for _, part in graphs_of(graph):
            for node in list(part):
                if not _changes_nothing(node):
                    continue
                source, result = node.inputs[0], node.outputs[0]
                maker = source.producer() if source is not None else None
                if source is None or (
                    result.is_graph_output() and (maker is None or maker.graph is not part or source.is_graph_output())
                ):
                    continue
                redirect(result, source, part)
                part.remove(node, safe=True)
                removed += 1
        return [f"removed {removed} nodes that change nothing"] if removed else None


def _changes_nothing(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
        return False
    if "is_test" in node.attributes:
        return bool(node.attributes["is_test"].as_int())
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    mode = constant_array(node.inputs[2])
    return mode is not None and not mode.any()
