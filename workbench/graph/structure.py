"""An ONNX graph as it stands: its nodes by address, who feeds whom, its weights. Nothing is inferred yet."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx

    from workbench.graph.flat import Flat
    from workbench.graph.index import Index
    from workbench.graph.quirk import Quirk

__all__ = ["Structure", "content_of", "graphs_of", "is_external", "walk"]


class Structure:
    """What a model says by itself; `workbench.graph.Model` adds what follows from it.

    Parameters
    ----------
    graph
        The model in memory. It belongs to this object from now on and must not be changed; `thaw` gives a copy to edit.
    path
        Where it was read from.
    quirks
        What loading found or repaired.
    flat
        The message it was read from, where that says the very same and holds no subgraph; it makes some answers faster.
    """

    def __init__(
        self,
        graph: ir.Model,
        *,
        path: Path | None = None,
        quirks: tuple[Quirk, ...] = (),
        flat: Flat | None = None,
    ) -> None:
        self._ir = graph
        self.path = path
        self.quirks = quirks
        self.flat = flat
        self.read_bytes: int | None = None
        """Bytes of the files that it was read from, as they were then."""

    @property
    def name(self) -> str:
        """The file's name without its ending, else the graph's own name."""
        return self.path.stem if self.path is not None else (self._ir.graph.name or "model")

    @property
    def ir_model(self) -> ir.Model:
        """The model as `onnx_ir` has it: producers, consumers, attributes. To be read, not changed."""
        return self._ir

    def thaw(self) -> ir.Model:
        """Return a copy that an edit may change. Weights are shared with this model, not copied."""
        return self._ir.clone()

    @property
    def opset(self) -> int:
        """The version of the default operator set; 0 where the model imports none."""
        return self._ir.opset_imports.get("", 0)

    @cached_property
    def nodes(self) -> Mapping[str, ir.Node]:
        """Every node by its address, subgraphs and local functions included.

        A node of the main graph has its own name as address; one in a subgraph its parent's address, the branch, and
        its own name (``If_12/then/Conv_3``); one in a local function ``function(domain:name)/Conv_3``.
        """
        if self.flat is not None:
            return self.flat.nodes
        return {f"{prefix}{node.name}": node for prefix, graph in self.graphs for node in graph}

    @cached_property
    def operators(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Addresses of the nodes by domain and operator, each in the order they run."""
        addresses: dict[tuple[str, str], list[str]] = {}
        for address, node in self.nodes.items():
            addresses.setdefault((node.domain, node.op_type), []).append(address)
        return addresses

    @cached_property
    def graphs(self) -> tuple[tuple[str, ir.Graph], ...]:
        """Address prefix and graph: the main graph, every subgraph and every local function's graph."""
        return (("", self._ir.graph),) if self.flat is not None else tuple(graphs_of(self._ir))

    @cached_property
    def index(self) -> Index:
        """Who feeds whom, by address: predecessors, successors, depth."""
        from workbench.graph.collector import collector_off
        from workbench.graph.index import build_index

        with collector_off():
            return build_index(self.nodes, self.graphs, self.flat)

    @cached_property
    def weights(self) -> Mapping[str, tuple[ir.Value, ...]]:
        """The constants that are a node's parameters, by address; a node without parameters is not in it."""
        from workbench.graph.weights import node_weights

        return node_weights(self.nodes)

    @cached_property
    def top_nodes(self) -> Mapping[str, ir.Node]:
        """The nodes of the main graph by name, in the order they run."""
        return {node.name or "": node for node in self._ir.graph}

    @cached_property
    def initializers(self) -> Mapping[str, ir.Value]:
        """The weights of the main graph by name."""
        return dict(self._ir.graph.initializers)

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The model as a protobuf message. Weights in external files stay there. Not to be changed."""
        from workbench.graph.message import to_message

        return to_message(self._ir)


def walk(model: ir.Model) -> Iterator[tuple[str, ir.Node]]:
    """Yield (address, node) for every node of a model, depth first, in the order they run."""
    for prefix, graph in graphs_of(model):
        for node in graph:
            yield f"{prefix}{node.name}", node


def graphs_of(model: ir.Model) -> Iterator[tuple[str, ir.Graph]]:
    """Yield (address prefix, graph) for the main graph, every subgraph and every local function's graph."""
    yield from _nested("", model.graph)
    for function in model.functions.values():
        yield from _nested(f"function({function.domain}:{function.name})/", function.graph)


def _nested(prefix: str, graph: ir.Graph) -> Iterator[tuple[str, ir.Graph]]:
    yield prefix, graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue  # a damaged file alone has such a graph; see `workbench.graph.damage`
            if attribute.type == ir.AttributeType.GRAPH:
                branch = attribute.name.removesuffix("_branch")
                yield from _nested(f"{prefix}{node.name}/{branch}/", attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for position, subgraph in enumerate(attribute.as_graphs()):
                    yield from _nested(f"{prefix}{node.name}/{attribute.name}[{position}]/", subgraph)


def is_external(value: ir.Value) -> bool:
    """Say whether a weight's bytes lie in a file beside the model."""
    return isinstance(value.const_value, ir.ExternalTensor)


def content_of(value: ir.Value) -> ir.TensorProtocol:
    """Return the content of a weight.

    Raises
    ------
    ModelError
        The weight has no content.
    """
    if value.const_value is None:
        raise ModelError("an initializer without content", where=value.name, fix="Export the model again.")
    return value.const_value
