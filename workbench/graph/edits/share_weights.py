"""Store equal weights once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.graph.edits.surgery import redirect
from workbench.graph.edits.wide import WideEdit
from workbench.graph.weights import bytes_of, is_stripped

if TYPE_CHECKING:
    import onnx_ir as ir

    from workbench.graph.edits.wide import Area

__all__ = ["ShareWeights"]


class ShareWeights(WideEdit):
    """Deduplicate initializers: of those with equal bytes, shape and element type one stays in each graph.

    A local function stores no weights, so it has none to share.
    """

    do: Literal["share_weights"] = "share_weights"
    title: ClassVar[str] = "Deduplicate initializers"

    def sweep(self, area: Area) -> list[str] | None:
        shared = total = 0
        first: dict[tuple[object, ...], ir.Value] = {}
        for _, part, value in area.weights():
            total += 1
            content = value.const_value
            # Weights without content would all be equal; an output keeps its name.
            if content is None or is_stripped(content) or value.is_graph_output():
                continue
            digest = hashlib.sha256(bytes_of(content)).digest()
            kept = first.setdefault((part, content.dtype, tuple(content.shape.numpy()), digest), value)
            if kept is not value:
                redirect(value, kept, part)
                part.initializers.pop(str(value.name))
                shared += 1
        return [f"{shared} of {total} weights were copies of others"] if shared else None
