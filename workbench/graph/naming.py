"""A unique, stable name for every node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.graph.quirk import Quirk
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["repair_names"]


def repair_names(model: ir.Model) -> list[Quirk]:
    """Give every node of every graph a name that is unique in its graph. Changes `model`.

    A node without a name is named after its first output, which is unique in an ONNX graph and stays when nodes are
    added or removed elsewhere. A name met before gets ``__2``, ``__3``, ... in the order the nodes run.

    Returns
    -------
    list of Quirk
        One a repaired node.
    """
    quirks: list[Quirk] = []
    for prefix, graph in graphs_of(model):
        taken: set[str] = {node.name for node in graph if node.name}
        seen: set[str] = set()
        for position, node in enumerate(graph):
            if node.name and node.name not in seen:
                seen.add(node.name)
                continue
            base = node.name or next((v.name for v in node.outputs if v.name), None) or f"{node.op_type}_{position}"
            name, count = base, 1
            while name in taken or name in seen:
                count += 1
                name = f"{base}__{count}"
            kind = "duplicate-name" if node.name else "empty-name"
            said = f"the name {node.name!r} was taken" if node.name else f"a {node.op_type} had no name"
            quirks.append(Quirk(kind, f"{prefix}{name}", f"{said}; it is now called {name!r}"))
            node.name = name
            seen.add(name)
    return quirks
