"""Names: a unique, stable one for every node, and fresh ones for what is added."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from workbench.graph.quirk import Quirk
from workbench.graph.structure import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

__all__ = ["Names", "names_in", "repair_names", "share_names"]


class Names:
    """Gives names that nothing in some graphs bears yet.

    A name that the model has itself must never be given twice: ``x/scale`` may be a weight of the model's own. Tensors
    of subgraphs count, for a name of an outer graph must not be made again inside.

    Parameters
    ----------
    graphs
        Graphs that see each other's tensors, each with the subgraphs that its nodes hold.
    """

    def __init__(self, graphs: Iterable[ir.Graph]) -> None:
        self._tensors: set[str] = set()
        self._nodes: set[str] = set()
        for graph in graphs:
            self._take((*graph.inputs, *graph.initializers.values(), *graph.outputs))
            for node in graph.all_nodes():
                self._nodes.add(node.name or "")
                self._take((*node.inputs, *node.outputs))
                for part in (g for a in node.attributes.values() for g in _graphs(a)):
                    self._take((*part.inputs, *part.initializers.values(), *part.outputs))

    def _take(self, values: Iterable[ir.Value | None]) -> None:
        self._tensors.update(str(value.name) for value in values if value is not None)

    def tensor(self, base: str) -> str:
        """Return a new tensor's name: `base`, or `base` with ``__2``, ``__3``, ... where that is taken."""
        return _unlike(base, self._tensors)

    def node(self, base: str) -> str:
        """Return a new node's name, in the same way."""
        return _unlike(base, self._nodes)


def _graphs(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    if attribute.is_ref():
        return ()
    if attribute.type.name == "GRAPH":
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type.name == "GRAPHS" else ()


def _unlike(base: str, taken: set[str]) -> str:
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}__{count}"
    taken.add(name)
    return name


# A graph is changed by one edit or lowering at a time, which adds names through these alone.
_names_of: WeakKeyDictionary[ir.Graph, Names] = WeakKeyDictionary()


def share_names(model: ir.Model) -> Names:
    """Let all graphs of a model that is about to be changed take their fresh names from one place."""
    graphs = [graph for _, graph in graphs_of(model)]
    names = Names(graphs)
    for graph in graphs:
        _names_of[graph] = names
    return names


def names_in(part: ir.Graph) -> Names:
    """Return where a graph takes fresh names from: shared with the graphs around it, if `share_names` was called."""
    if part not in _names_of:
        _names_of[part] = Names([part])
    return _names_of[part]


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
            reason = f"the name {node.name!r} was taken" if node.name else f"a {node.op_type} had no name"
            quirks.append(Quirk(kind, f"{prefix}{name}", f"{reason}; it is now called {name!r}"))
            node.name = name
            seen.add(name)
    return quirks
