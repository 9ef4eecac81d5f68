"""Who feeds whom: the model's nodes as one directed graph, subgraphs and local functions included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from workbench.graph.flat import Flat

__all__ = ["Index", "build_index", "scope_of"]


@dataclass(frozen=True)
class Index:
    """Connections between nodes, by address (see `Model.nodes`).

    Parameters
    ----------
    address
        The address of each node object.
    prefix
        The address prefix of each graph object: ``""`` for the main graph, ``"If_12/then/"`` for a branch.
    predecessors, successors
        The nodes whose results a node reads, and the nodes that read its results, each once, in graph order. A node
        that holds a subgraph comes after the nodes that make the subgraph's outputs, and the first nodes of a loop's
        body come after the nodes that feed the loop.
    depth
        The number of nodes on the longest path that ends before a node: 0 where nothing is read from another node.
    """

    address: Mapping[ir.Node, str]
    prefix: Mapping[ir.Graph | ir.Function, str]
    predecessors: Mapping[str, tuple[str, ...]]
    successors: Mapping[str, tuple[str, ...]]
    depth: Mapping[str, int]

    def upstream(self, addresses: Iterable[str]) -> set[str]:
        """Return every node that some nodes depend on, themselves only where they depend on each other."""
        return _reach(addresses, self.predecessors)

    def downstream(self, addresses: Iterable[str]) -> set[str]:
        """Return every node that depends on some nodes, themselves only where they depend on each other."""
        return _reach(addresses, self.successors)

    def tensor(self, value: ir.Value) -> str:
        """Return the name under which `Model.tensors` knows a value: prefixed by its subgraph's address."""
        if len(self.prefix) == 1:  # there is the main graph alone
            return str(value.name)
        producer = value.producer()
        graph = producer.graph if producer is not None else value.graph
        return f"{self.prefix.get(graph, '') if graph is not None else ''}{value.name}"


def scope_of(address: str) -> str:
    """Return the name scope of a node: its address up to the last ``/``, empty where there is none."""
    return address.rpartition("/")[0]


def build_index(nodes: Mapping[str, ir.Node], graphs: Sequence[tuple[str, ir.Graph]], flat: Flat | None) -> Index:
    """Index a graph once; reached as `Model.index`."""
    address = {node: name for name, node in nodes.items()}
    predecessors = _predecessors(address) if flat is None else flat.predecessors
    after: dict[str, list[str]] = {name: [] for name in predecessors}
    for name, sources in predecessors.items():
        for source in sources:
            after[source].append(name)
    return Index(
        address=address,
        prefix={graph: path for path, graph in graphs},
        predecessors=predecessors,
        successors={name: tuple(targets) for name, targets in after.items()},
        depth=_depths_in_order(predecessors) if len(graphs) == 1 else _depths(predecessors, after),
    )


def _predecessors(address: Mapping[ir.Node, str]) -> dict[str, tuple[str, ...]]:
    owner = {graph: node for node in address for a in node.attributes.values() for graph in _subgraphs(a)}
    predecessors = {}
    for node, name in address.items():
        sources = (address[maker] for maker in _sources(node, owner) if maker in address and maker is not node)
        predecessors[name] = tuple(dict.fromkeys(sources))
    return predecessors


def _makers(node: ir.Node) -> list[ir.Node]:
    """Return the nodes that make a node's inputs."""
    return [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]


def _depths_in_order(predecessors: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Return the depths where every node comes after those it reads from."""
    depth: dict[str, int] = {}
    for name, sources in predecessors.items():
        depth[name] = 1 + max([depth[source] for source in sources]) if sources else 0
    return depth


def _subgraphs(attribute: ir.Attr) -> Iterable[ir.Graph]:
    if attribute.is_ref():
        return ()
    if attribute.type.name == "GRAPH":
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type.name == "GRAPHS" else ()


def _sources(node: ir.Node, owner: Mapping[ir.Graph, ir.Node]) -> Iterator[ir.Node]:
    """Yield the nodes that a node reads from."""
    yield from _makers(node)
    for value in node.inputs:
        if value is None or value.producer() is not None:
            continue
        if value.is_graph_input() and (outer := owner.get(value.graph)) is not None:  # type: ignore[arg-type]
            # The input of a loop's body: what feeds the loop feeds it.
            yield from (p for v in outer.inputs if v is not None and (p := v.producer()) is not None)
    for attribute in node.attributes.values():
        for graph in _subgraphs(attribute):
            yield from (producer for value in graph.outputs if (producer := value.producer()) is not None)


def _depths(predecessors: Mapping[str, tuple[str, ...]], successors: Mapping[str, list[str]]) -> dict[str, int]:
    waiting = {name: len(sources) for name, sources in predecessors.items()}
    depth = dict.fromkeys(predecessors, 0)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows as it is read
        for target in successors[name]:
            depth[target] = max(depth[target], depth[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return depth


def _reach(start: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    reached: set[str] = set()
    front = list(start)
    while front:
        for name in edges[front.pop()]:
            if name not in reached:
                reached.add(name)
                front.append(name)
    return reached
