"""The ONNX side of the fusion map: nodes by name and by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.graph import Model

__all__ = ["SourceGraph", "SourceNode", "source_graph"]


@dataclass(frozen=True, slots=True)
class SourceNode:
    """A node of the ONNX graph, under the name TensorRT calls it by.

    TensorRT's parser calls a node that has no name `node_of_<its first output>`; `named` is then False.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    named: bool = True


@dataclass(frozen=True)
class SourceGraph:
    """Nodes in their order in the file, those of nested graphs included."""

    nodes: tuple[SourceNode, ...]
    constants: frozenset[str]
    inputs: frozenset[str]
    outputs: frozenset[str]

    @cached_property
    def by_name(self) -> dict[str, SourceNode]:
        """Name to node; of several nodes with one name the first.

        A node is found as `node_of_<its first output>` too: so TensorRT calls it where the file it read has no name
        for it, whatever name it was given since.
        """
        nodes: dict[str, SourceNode] = {}
        for node in self.nodes:
            nodes.setdefault(node.name, node)
        for node in self.nodes:
            if node.outputs:
                nodes.setdefault(f"node_of_{node.outputs[0]}", node)
        return nodes

    @cached_property
    def duplicates(self) -> tuple[str, ...]:
        """Names that several nodes share, so that an engine's layer may mean any of them."""
        seen: set[str] = set()
        return tuple(dict.fromkeys(n.name for n in self.nodes if n.name in seen or seen.add(n.name)))  # type: ignore[func-returns-value]

    @cached_property
    def producer(self) -> dict[str, SourceNode]:
        """Tensor to the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[SourceNode]]:
        """Tensor to the nodes that read it."""
        consumers: dict[str, list[SourceNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                consumers.setdefault(name, []).append(node)
        return consumers

    @cached_property
    def tensors(self) -> frozenset[str]:
        """Every tensor name, constants included."""
        return frozenset(self.producer) | frozenset(self.consumers) | self.constants | self.inputs

    @cached_property
    def constant_tensors(self) -> frozenset[str]:
        """Tensors that depend on no input: constants, and what is computed of constants alone."""
        constants = set(self.constants)
        for node in self.nodes:
            if node.op_type == "Constant" or (node.inputs and all(name in constants for name in node.inputs)):
                constants.update(node.outputs)
        return frozenset(constants)

    @cached_property
    def shape_tensors(self) -> frozenset[str]:
        """Tensors computed from shapes and constants alone."""
        computed = set(self.constant_tensors)
        shapes: set[str] = set()
        for node in self.nodes:
            if node.op_type in {"Shape", "Size"} or (
                any(name in shapes for name in node.inputs) and all(name in computed for name in node.inputs)
            ):
                computed.update(node.outputs)
                shapes.update(node.outputs)
        return frozenset(shapes)

    @cached_property
    def needed(self) -> frozenset[str]:
        """Names of the nodes that some output of the graph depends on."""
        return frozenset(node.name for node in self.upstream(self.outputs, stop=frozenset())[0])

    def upstream(
        self, tensors: Iterable[str], stop: frozenset[str], *, beyond: frozenset[str] = frozenset()
    ) -> tuple[list[SourceNode], bool]:
        """Walk from tensors towards the inputs, no further than the tensors `stop` and around the nodes `beyond`.

        Returns
        -------
        nodes, bounded
            The nodes on the way; `bounded` is False where the walk came to an input of the graph that is not in `stop`.
        """
        seen: dict[int, SourceNode] = {}
        todo = [name for name in tensors if name not in stop]
        bounded = True
        while todo:
            name = todo.pop()
            node = self.producer.get(name)
            if node is None:
                bounded &= name in self.constants
            elif id(node) not in seen and node.name not in beyond:
                seen[id(node)] = node
                todo.extend(needed for needed in node.inputs if needed not in stop)
        return list(seen.values()), bounded

    def between(self, first: str, last: str) -> list[SourceNode]:
        """Return the nodes on the ways from one node to another, both included; empty where there is no way."""
        if first not in self.by_name or last not in self.by_name:
            return []
        ends = self.by_name[last]
        above, _ = self.upstream(ends.outputs, stop=frozenset())
        reached: set[str] = set(self.by_name[first].outputs)
        path = [self.by_name[first]]
        names = {node.name for node in above}
        for node in self.nodes:
            if node.name in names and any(name in reached for name in node.inputs):
                reached.update(node.outputs)
                path.append(node)
        return path if ends in path else []


def source_graph(model: onnx.ModelProto | Model) -> SourceGraph:
    """Read nodes and tensors of an ONNX model; the one place where the engine side meets the model side."""
    proto = model if isinstance(model, onnx.ModelProto) else model.proto
    nodes: list[SourceNode] = []
    constants: set[str] = set()
    for graph in _graphs(proto.graph):
        constants.update(tensor.name for tensor in graph.initializer)
        constants.update(tensor.values.name for tensor in graph.sparse_initializer)
        for node in graph.node:
            outputs = tuple(name for name in node.output if name)
            name = node.name or (f"node_of_{outputs[0]}" if outputs else "")
            inputs = tuple(name for name in node.input if name)
            nodes.append(SourceNode(name, node.op_type, inputs, outputs, named=bool(node.name)))
    return SourceGraph(
        nodes=tuple(nodes),
        constants=frozenset(constants),
        inputs=frozenset(value.name for value in proto.graph.input),
        outputs=frozenset(value.name for value in proto.graph.output),
    )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(nested)
