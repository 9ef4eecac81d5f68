"""Store equal weights once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from onnx_ir.passes.common import DeduplicateHashedInitializersPass

from workbench.graph.edits.base import Edit
from workbench.graph.model import graphs_of
from workbench.graph.weights import is_stripped

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.model import Model

__all__ = ["ShareWeights"]


class ShareWeights(Edit):
    """Deduplicate initializers: of those with equal bytes, shape and element type one stays in each graph."""

    do: Literal["share_weights"] = "share_weights"
    title: ClassVar[str] = "Deduplicate initializers"

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        values = [value for _, part in graphs_of(graph) for value in part.initializers.values()]
        if any(value.const_value is not None and is_stripped(value.const_value) for value in values):
            # Weights without content would all be equal.
            return None
        DeduplicateHashedInitializersPass()(graph)
        left = sum(len(part.initializers) for _, part in graphs_of(graph))
        if left == len(values):
            return None
        return [f"{len(values) - left} of {len(values)} weights were copies of others"]
