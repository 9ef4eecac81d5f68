"""Is it a valid ONNX graph? ONNX's checker, and what the checker leaves out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import onnx
import onnx_ir as ir

from workbench.graph.flat import HOLDERS
from workbench.graph.native import infer_shapes
from workbench.graph.structure import graphs_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.graph.model import Model

__all__ = [
    "CARRIERS",
    "Contradiction",
    "bring_in_order",
    "broken_edge",
    "checker_reason",
    "contradiction",
    "custom_ops",
    "is_custom",
    "node_reason",
]


CARRIERS = HOLDERS | {"Constant", "ConstantOfShape"}
"""ONNX's own operators that hold tensors among their attributes, or nodes that may."""

GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
REFUSALS = (onnx.checker.ValidationError, ValueError, RuntimeError)


def checker_reason(model: Model) -> str | None:
    """Return the first reason for which ONNX's checker refuses a model, or ``None``. Weights are not read."""
    from workbench.graph.shapes import skeleton_proto

    proto = skeleton_proto(model)
    for tensor in _inner_weights(proto.graph) if len(model.graphs) > 1 else ():
        if not tensor.external_data and not any(field.name[-5:] == "_data" for field, _ in tensor.ListFields()):
            # The checker wants content of a stripped weight; one without elements has some.
            tensor.dims[:], tensor.raw_data = [0], b""
    try:
        onnx.checker.check_model(proto)
    except REFUSALS as error:
        return _first_lines(error)
    return None


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def node_reason(node: ir.Node, model: ir.Model) -> str | None:
    """Return why ONNX's checker refuses a node, whatever is around it and in the graphs inside of it."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = model.ir_version or onnx.IR_VERSION
    context.opset_imports = dict(model.opset_imports)
    try:
        message = ir.serde.serialize_node(node)
        for attribute in message.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                graph.CopyFrom(onnx.GraphProto(name="inside"))
        onnx.checker.check_node(message, context)
    except REFUSALS as error:
        return _first_lines(error)
    return None


class Contradiction(NamedTuple):
    """Where type inference finds something else than the model states.

    Attributes
    ----------
    node
        The node's own name; empty where inference names none.
    text
        What it says.
    """

    node: str
    text: str


def contradiction(model: Model) -> Contradiction | None:
    """Return the first contradiction that ONNX's strict type and shape inference finds, or ``None``.

    ONNX's checker alone takes a graph in which a tensor is declared to be of a type or shape that its node does not
    make; no runtime does. Weights are not read.
    """
    from workbench.graph.shapes import skeleton_proto

    try:
        infer_shapes(skeleton_proto(model), check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        sentence = " ".join(str(error).split())
        refusal = _REFUSED.search(sentence)
        if refusal is None:
            return Contradiction("", _TAGS.sub("", sentence).strip() or type(error).__name__)
        return Contradiction(refusal["node"], f"{refusal['op']}: {_TAGS.sub('', refusal['text']).strip()}")
    return None


_REFUSED = re.compile(r"\(op_type:(?P<op>\w+), node name: (?P<node>.*?)\): (?P<text>.+?)(?= \(op_type:|$)")
_TAGS = re.compile(r"\[\w+Error\] |Inference error\(s\): ")


def _inner_weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from inner.initializer
                yield from _inner_weights(inner)


def broken_edge(model: ir.Model) -> tuple[str, str] | None:
    """Return (node address, tensor name) of the first tensor that is read and comes from nowhere, or ``None``.

    The node is empty where the tensor is an output of a graph. A tensor from nowhere is one that is neither computed,
    nor fed, nor stored in the model.
    """
    inside = {graph for _, graph in graphs_of(model)}
    for prefix, graph in graphs_of(model):
        reads = [(f"{prefix}{node.name or node.op_type}", value) for node in graph for value in node.inputs]
        for address, value in [*reads, *(("", value) for value in graph.outputs)]:
            if value is None or not value.name:
                continue
            maker = value.producer()
            if maker is None and (value.is_graph_input() or value.is_initializer()):
                continue
            if maker is None or maker.graph not in inside:
                return address, str(value.name)
    return None


def bring_in_order(model: ir.Model) -> list[str]:
    """Sort the nodes of each graph so that they can run in that order. Changes `model` only where it must.

    Returns
    -------
    list of str
        The first node that came too early, for each graph that was sorted.

    Raises
    ------
    ValueError
        A graph has a cycle.
    """
    late = []
    for prefix, graph in graphs_of(model):
        seen: set[ir.Node] = set()
        early = None
        for node in graph:
            if any((m := v.producer()) is not None and m.graph is graph and m not in seen for v in _reads(node)):
                early = node
                break
            seen.add(node)
        if early is not None:
            graph.sort()
            late.append(f"{prefix}{early.name or early.op_type}")
    return late


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads, and what its subgraphs read."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.is_ref() or not attribute.type.name.startswith("GRAPH"):
            continue
        for graph in [attribute.as_graph()] if attribute.type.name == "GRAPH" else attribute.as_graphs():
            for inner in graph:
                yield from _reads(inner)


def is_custom(node: ir.Node, model: ir.Model) -> bool:
    """Say whether a node's operator is neither ONNX's own, in the version the model imports, nor a local function."""
    if (node.domain, node.op_type, node.overload) in model.functions:
        return False
    domain = "" if node.domain == "ai.onnx" else node.domain
    version = model.opset_imports.get(domain, onnx.defs.onnx_opset_version() if domain == "" else 1)
    return not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=domain)


def custom_ops(model: ir.Model) -> dict[str, list[str]]:
    """Return the addresses of the nodes with custom operators, by ``domain.operator``."""
    domains: dict[str, list[str]] = {}
    for address, node in walk(model):
        if is_custom(node, model):
            domains.setdefault(".".join(filter(None, (node.domain, node.op_type))), []).append(address)
    return domains
