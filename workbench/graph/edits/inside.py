"""Where a subgraph or local function hangs in its model, and what is known of the tensors in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import onnx_ir as ir

from workbench.graph.structure import graphs_of
from workbench.graph.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.model import Model

__all__ = ["Place", "called", "captured", "graphs_in", "place_of", "reads_of", "state", "tensor_at"]


class Place(NamedTuple):
    """A graph of a model.

    Parameters
    ----------
    prefix
        Its address prefix; empty for the main graph.
    part
        The graph.
    holder
        The node that holds it; ``None`` for the main graph and for a local function.
    """

    prefix: str
    part: ir.Graph
    holder: ir.Node | None

    @property
    def function(self) -> bool:
        """Whether it is the graph of a local function."""
        return self.holder is None and bool(self.prefix)


def place_of(graph: ir.Model, part: object) -> Place:
    """Return where a graph is in its model."""
    if part is graph.graph:
        return Place("", graph.graph, None)
    holders = {inner: node for _, outer in graphs_of(graph) for node in outer for inner in graphs_in(node)}
    return next(Place(prefix, inner, holders.get(inner)) for prefix, inner in graphs_of(graph) if inner is part)


def graphs_in(node: ir.Node) -> list[ir.Graph]:
    """Return the subgraphs that a node holds."""
    graphs: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref() or not attribute.type.name.startswith("GRAPH"):
            continue
        graphs += [attribute.as_graph()] if attribute.type.name == "GRAPH" else attribute.as_graphs()
    return graphs


def captured(part: ir.Graph, outputs: list[ir.Value], inputs: list[ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """Return the nodes of a graph that make `outputs` of `inputs`, and what they read from around the graph."""
    nested: set[ir.Graph] | None = None
    nodes: dict[ir.Node, None] = {}
    outer: dict[ir.Value, None] = {}
    waiting = list(outputs)
    while waiting:
        value = waiting.pop()
        maker = value.producer()
        if value in inputs:
            continue
        if value.graph is not part:
            nested = {inner for node in part.all_nodes() for inner in graphs_in(node)} if nested is None else nested
            if value.graph not in nested:
                outer[value] = None
        elif maker is not None and maker not in nodes:
            nodes[maker] = None
            waiting.extend(reads_of(maker))
    return list(nodes), list(outer)


def reads_of(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads: its inputs, and what its subgraphs read, of themselves and from around them."""
    yield from (value for value in node.inputs if value is not None)
    for graph in graphs_in(node):
        yield from graph.outputs
        for inner in graph:
            yield from reads_of(inner)


def tensor_at(model: Model, address: str) -> Tensor:
    """Return what is known of a tensor of any graph; in a local function, what all its calls agree on."""
    for function in model.ir_model.functions.values():
        prefix = f"function({function.domain}:{function.name})/"
        if address.startswith(prefix):
            tensor = called(model, function).tensor(address.removeprefix(prefix))
            return Tensor(address, tensor.shape, tensor.dtype)
    return model.tensor(address)


def called(model: Model, function: ir.Function) -> Model:
    """Return a model of a local function alone, its inputs shaped as the calls have them."""
    known_of = _CALLED.setdefault(model, {})
    if function.identifier() in known_of:
        return known_of[function.identifier()]
    calls = [node for node in model.nodes.values() if node.op_identifier() == function.identifier()]
    graph = function.graph.clone()
    for at, value in enumerate(graph.inputs):
        operands = [call.inputs[at] for call in calls if at < len(call.inputs)]
        types = {(t.shape, t.dtype) for v in operands if v is not None for t in [model.tensor(model.index.tensor(v))]}
        if len(types) == 1 and len(operands) == len(calls):
            shape, dtype = next(iter(types))
            value.shape = None if shape is None else ir.Shape(shape)
            value.type = None if dtype is None else ir.TensorType(ir.DataType[dtype])
    graph.opset_imports.update(function.opset_imports)
    functions = [f for f in model.ir_model.functions.values() if f is not function]
    known_of[function.identifier()] = model.replaced(
        ir.Model(graph, ir_version=model.ir_model.ir_version, functions=[f.clone() for f in functions])
    )
    return known_of[function.identifier()]


_CALLED: WeakKeyDictionary[Model, dict[ir.OperatorIdentifier, Model]] = WeakKeyDictionary()


def state(value: ir.Value, tensor: Tensor) -> None:
    """Write down on a value what inference knows of it, as inputs and outputs need."""
    if tensor.dtype is not None:
        value.type = ir.TensorType(ir.DataType[tensor.dtype])
    if tensor.shape is not None:
        value.shape = ir.Shape(tensor.shape)
