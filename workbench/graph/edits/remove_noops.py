"""Take out nodes that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.graph.domains import onnx_op
from workbench.graph.edits.surgery import constant_array, redirect
from workbench.graph.edits.wide import WideEdit

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.edits.wide import Area

__all__ = ["RemoveNoops"]


class RemoveNoops(WideEdit):
    """Remove Identity and inference-time Dropout; who read their result reads their input.

    An Identity from an input or a weight to an output of a graph stays, for both names are needed. So does a Dropout
    whose mask is read or that is in training mode.
    """

    do: Literal["remove_noops"] = "remove_noops"
    title: ClassVar[str] = "Remove Identity and Dropout"

    @classmethod
    def fits(cls, node: ir.Node) -> bool:
        return _can_go(node)

    def sweep(self, area: Area) -> list[str] | None:
        removed = 0
        for _, part, node in area:
            source = node.inputs[0] if node.inputs else None
            if source is not None and _can_go(node):
                redirect(node.outputs[0], source, part)
                part.remove(node, safe=True)
                removed += 1
        return [f"removed {removed} nodes that change nothing"] if removed else None


def _can_go(node: ir.Node) -> bool:
    """Say whether a node changes nothing, and no output of the graph needs it for its name."""
    source = node.inputs[0] if node.inputs else None
    if source is None or not _changes_nothing(node):
        return False
    maker = source.producer()
    named = maker is not None and maker.graph is node.graph and not source.is_graph_output()
    return named or not node.outputs[0].is_graph_output()


def _changes_nothing(node: ir.Node) -> bool:
    if onnx_op(node) == "Identity":
        return True
    if onnx_op(node) != "Dropout" or any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
        return False
    if "is_test" in node.attributes:
        return bool(node.attributes["is_test"].as_int())
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    mode = constant_array(node.inputs[2])
    return mode is not None and not mode.any()
