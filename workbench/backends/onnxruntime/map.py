"""Which source nodes a node of ONNX Runtime's optimized graph does the work of, by the tensors that survive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine import source_graph

if TYPE_CHECKING:
    import onnx

    from workbench.engine import SourceGraph
    from workbench.graph import Model

__all__ = ["name_nodes", "source_nodes"]

_BLOCKED = "_nchwc"
_REORDERS = ("ReorderInput", "ReorderOutput")


def name_nodes(optimized: onnx.ModelProto) -> None:
    """Give every node of the outermost graph a name of its own, so that a profile can be joined by name."""
    taken: set[str] = set()
    for index, node in enumerate(optimized.graph.node):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name = f"{name}_{index}"
        taken.add(name)
        node.name = name


def source_nodes(optimized: onnx.ModelProto, source: Model) -> dict[str, tuple[str, ...]]:
    """Map the optimized graph onto the model it was made of.

    A tensor survives where both graphs have its name. What lies between the surviving tensors before a node and the
    surviving tensor it makes is what the node does; nodes that ONNX Runtime put in between, whose tensors are its own,
    count with the next one whose tensor survives. Two renamings are followed: a convolution for blocked channels
    (NCHWc) bears the name of the tensor it made before an Add or an activation was fused into it, and a reorder's
    tensor is the one it reorders. A source node belongs to the first node that does it.

    Parameters
    ----------
    optimized
        The optimized graph, every node named.
    source
        The model.

    Returns
    -------
    dict
        Optimized node to source nodes in their order; none for what ONNX Runtime added.
    """
    graph = source_graph(source)
    order = {node.name: position for position, node in enumerate(graph.nodes)}
    survives = _surviving(optimized, graph)
    maker = {name: node for node in optimized.graph.node for name in node.output if name}

    def starts(node: onnx.NodeProto) -> frozenset[str]:
        """Return the nearest surviving tensors above a node."""
        above: set[str] = set()
        todo, seen = list(node.input), set()
        while todo:
            name = todo.pop()
            if name in survives:
                above.add(survives[name])
            elif name not in seen and name in maker:
                seen.add(name)
                todo.extend(maker[name].input)
        return frozenset(above)

    sources: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for node in optimized.graph.node:
        ends = [survives[name] for name in node.output if name in survives]
        inside, bounded = graph.upstream([name for name in ends if name in graph.producer], stop=starts(node))
        same = graph.by_name.get(node.name)
        own = {same.name} if same is not None and same.op_type == node.op_type else set()
        computed = (
            {one.name for one in inside if not graph.constant_tensors.issuperset(one.outputs)} if bounded else set()
        )
        sources[node.name] = tuple(sorted((computed | own) - taken, key=order.__getitem__))
        taken.update(sources[node.name])
    return sources


def _surviving(optimized: onnx.ModelProto, graph: SourceGraph) -> dict[str, str]:
    """Return the optimized graph's tensors that the source has too: their names to the names there."""
    survives = {name: name for name in graph.tensors}
    for node in optimized.graph.node:
        stem = node.name.removesuffix(_BLOCKED)
        same = graph.by_name.get(node.name)
        for position, name in enumerate(node.output):
            if not name or name in survives:
                continue
            if node.op_type in _REORDERS and node.input[0] in survives:
                survives[name] = survives[node.input[0]]
            elif stem != node.name and stem in graph.producer:
                survives[name] = _with_fused(node, stem, graph)
            elif same is not None and same.op_type == node.op_type and position < len(same.outputs):
                survives[name] = same.outputs[position]
    return survives


def _with_fused(node: onnx.NodeProto, tensor: str, graph: SourceGraph) -> str:
    """Return the tensor that a blocked convolution really makes, with what was fused into it since it got its name."""
    if len(node.input) > 3 and node.input[3]:
        tensor = _after(tensor, "Add", graph)
    activation = next((a.s.decode() for a in node.attribute if a.name == "activation"), None)
    if activation is not None and graph.producer[tensor].op_type != activation:
        tensor = _after(tensor, activation, graph)
    return tensor


def _after(tensor: str, op_type: str, graph: SourceGraph) -> str:
    readers = [node for node in graph.consumers.get(tensor, []) if node.op_type == op_type]
    return readers[0].outputs[0] if len(readers) == 1 else tensor
