"""Store equal weights once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.graph.edits.base import Edit
from workbench.graph.edits.surgery import redirect
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
        shared = total = 0
        for _, part in graphs_of(graph):
            first: dict[tuple[object, ...], ir.Value] = {}
            for name, value in list(part.initializers.items()):
                total += 1
                content = value.const_value
                # Weights without content would all be equal; an output keeps its name.
                if content is None or is_stripped(content) or value.is_graph_output():
                    continue
                key = (content.dtype, tuple(content.shape.numpy()), hashlib.sha256(content.tobytes()).digest())
                kept = first.setdefault(key, value)
                if kept is not value:
                    redirect(value, kept, part)
                    part.initializers.pop(name)
                    shared += 1
        return [f"{shared} of {total} weights were copies of others"] if shared else None
