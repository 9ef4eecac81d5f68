"""Cut a model at a node: what has to run again when this node changes, and what can be taken from an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.errors import PrecisionError
from workbench.precision.sensitivity.graft import quantized_alone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np

    from workbench.graph import Model

__all__ = ["Cut", "cut", "cuts", "downstream", "extract"]


@dataclass(frozen=True)
class Cut:
    """What a change of one node reaches.

    Parameters
    ----------
    node
        The changed node.
    affected
        It and every node of the main graph that depends on it.
    boundary
        The tensors those read from the rest of the model, in graph order: an earlier run knows them.
    outputs
        The model's outputs that can change, in order.
    """

    node: str
    affected: frozenset[str]
    boundary: tuple[str, ...]
    outputs: tuple[str, ...]


def cut(model: Model, node: str) -> Cut:
    """Find what a change of one node of the main graph reaches.

    Raises
    ------
    PrecisionError
        There is no such node in the main graph.
    """
    return next(cuts(model, [node]))


def cuts(model: Model, nodes: Iterable[str]) -> Iterator[Cut]:
    """Find what a change of each of some nodes of the main graph reaches; the graph is read once for all.

    Raises
    ------
    PrecisionError
        There is no such node in the main graph.
    """
    reads = [(name, each, list(_read(each))) for name, each in model.top_nodes.items()]
    place = {name: at for at, (name, _, _) in enumerate(reads)}
    for node in nodes:
        if node not in place:
            raise PrecisionError("there is no such node in the main graph", where=node, fix="See wb.graph.nodes().")
        affected: set[str] = set()
        behind: set[ir.Value] = set()
        boundary: dict[str, None] = {}
        for name, each, read in reads[place[node] :]:  # in graph order: what is before it does not depend on it
            if name == node or not behind.isdisjoint(read):
                affected.add(name)
                behind.update(each.outputs)
                boundary.update({str(v.name): None for v in read if v not in behind and not v.is_initializer()})
        outputs = tuple(str(value.name) for value in model.ir_model.graph.outputs if value in behind)
        yield Cut(node, frozenset(affected), tuple(boundary), outputs)


def extract(changed: Model, part: Cut, dtypes: Mapping[str, np.dtype[np.generic]]) -> Model:
    """Take the part downstream of a cut out of a model, as a model of its own.

    Parameters
    ----------
    changed
        The cut model with its node changed: nodes may have been added before it (Q/DQ), none renamed.
    part
        The cut.
    dtypes
        Element type of each boundary tensor.

    Returns
    -------
    Model
        Inputs are the boundary's tensors, outputs are `part.outputs`.
    """
    whole = changed.thaw()
    graph = whole.graph
    values = {str(value.name): value for value in (*graph.inputs, *(v for node in graph for v in node.outputs))}
    inputs = []
    for name in part.boundary:
        stand_in = ir.Value(name=name, type=ir.TensorType(ir.DataType.from_numpy(dtypes[name])))
        ir.convenience.replace_all_uses_with(values[name], stand_in)
        inputs.append(stand_in)
    for value in list(graph.outputs):
        if value.name not in part.outputs:
            graph.outputs.remove(value)
    graph.inputs[:] = inputs
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(name)
    return changed.replaced(whole)


def downstream(model: Model, lowered: Model, part: Cut, dtypes: Mapping[str, np.dtype[np.generic]]) -> Model:
    """Return the part downstream of a cut as a model of its own, its first node as it is in the lowered model.

    Only that part is copied: a network is cut as often as it has layers.

    Parameters
    ----------
    model, lowered
        The floating-point model, and the same with its candidates quantized; no node is renamed in it.
    part, dtypes
        As for `extract`.
    """
    if any(_holds_graph(model.top_nodes[name]) for name in part.affected):
        return extract(quantized_alone(model, lowered, part.node), part, dtypes)
    types = {name: ir.TensorType(ir.DataType.from_numpy(dtypes[name])) for name in part.boundary}
    values = {name: ir.Value(name=name, type=types[name]) for name in part.boundary}
    original = model.ir_model
    graph = ir.Graph(
        list(values.values()), [], nodes=[], opset_imports=original.opset_imports, name=original.graph.name
    )
    for name, node in model.top_nodes.items():
        if name in part.affected:
            _copy(graph, values, lowered.top_nodes[name] if name == part.node else node)
    ends = {str(value.name): value for value in original.graph.outputs}
    for name in part.outputs:
        values[name].type, values[name].shape = ends[name].type, ends[name].shape
        graph.outputs.append(values[name])
    functions = list(original.functions.values())
    return model.replaced(ir.Model(graph, ir_version=original.ir_version or 10, functions=functions))


def _copy(graph: ir.Graph, values: dict[str, ir.Value], node: ir.Node) -> None:
    """Append a copy of a node, after copies of whatever it reads that is not there yet."""
    inputs = [None if value is None or not value.name else _copied(graph, values, value) for value in node.inputs]
    copy = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        attributes=list(node.attributes.values()),
        overload=node.overload,
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for result, other in zip(copy.outputs, node.outputs, strict=True):
        result.name, result.type = other.name, other.type
        values[str(other.name)] = result
    graph.append(copy)


def _copied(graph: ir.Graph, values: dict[str, ir.Value], value: ir.Value) -> ir.Value:
    name = str(value.name)
    if name not in values:
        producer = value.producer()
        if producer is not None:
            _copy(graph, values, producer)
        else:
            values[name] = ir.Value(name=name, const_value=value.const_value, type=value.type, shape=value.shape)
            graph.initializers.add(values[name])
    return values[name]


def _holds_graph(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads of its graph, through its subgraphs too."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        graphs = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
        for graph in graphs:
            own: set[ir.Value] = set(graph.inputs)
            for inner in graph:
                yield from (value for value in _read(inner) if value not in own and not value.is_initializer())
                own.update(inner.outputs)
