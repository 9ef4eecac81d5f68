"""The common case, read off the message itself: a model that needs no repair and has one graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping

    import onnx_ir as ir

__all__ = ["FREE_WEIGHTS", "HOLDERS", "Flat", "flat_of", "kinds_of"]

HOLDERS = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""ONNX's own operators that hold subgraphs."""

FREE_WEIGHTS = 4
"""The first IR version in which a weight need not be listed among the inputs."""


@dataclass(frozen=True)
class Flat:
    """A message whose model has no subgraph, no local function, no custom operator, and nothing to repair.

    Parameters
    ----------
    proto
        The message.
    kinds
        Domain and operator of its nodes.
    nodes
        The nodes by name, in the order they run.
    predecessors
        The nodes whose results a node reads, each once, by name.
    """

    proto: onnx.ModelProto
    kinds: Collection[tuple[str, str]]
    nodes: Mapping[str, ir.Node]
    predecessors: Mapping[str, tuple[str, ...]]


def kinds_of(graph: onnx.GraphProto) -> set[tuple[str, str]]:
    """Return domain and operator of the nodes of a graph, without those of its subgraphs."""
    return {(node.domain, node.op_type) for node in graph.node}


def flat_of(proto: onnx.ModelProto, graph: ir.Graph, kinds: Collection[tuple[str, str]]) -> Flat | None:
    """Return a message as a `Flat`, or ``None`` where it is none.

    One quick pass, which spares the loader every walk over the graph that looks for something to repair.

    Parameters
    ----------
    proto
        The message.
    graph
        What `onnx_ir` made of its graph.
    kinds
        What `kinds_of` finds in it.
    """
    weights = graph.initializers
    if proto.functions or proto.ir_version < FREE_WEIGHTS or not _all_known(proto, kinds):
        return None
    if any(value.name in weights for value in graph.inputs):
        return None
    sources = {*graph.inputs, *weights.values()}
    predecessors = _predecessors(graph, sources)
    if "" in predecessors or len(predecessors) != len(graph):
        return None
    if any(value.producer() is None and value not in sources for value in graph.outputs):
        return None
    if proto.graph.value_info:
        named = {value.name for value in sources} | {value.name for node in graph for value in node.outputs}
        if not all(value.name in named for value in proto.graph.value_info):
            return None
    return Flat(proto, kinds, dict(zip(predecessors, graph, strict=True)), predecessors)


def _predecessors(graph: ir.Graph, sources: Container[ir.Value]) -> dict[str, tuple[str, ...]]:
    """Return the nodes that each one reads, up to the first that reads what is not there yet."""
    predecessors: dict[str, tuple[str, ...]] = {}
    for node in graph:
        makers: dict[str, None] = {}
        for value in node.inputs:
            if value is None:
                continue
            maker = value.producer()
            if maker is not None:
                makers[maker.name or ""] = None
            elif value not in sources:
                return predecessors
        if not makers.keys() <= predecessors.keys():
            return predecessors
        predecessors[node.name or ""] = tuple(makers)
    return predecessors


def _all_known(proto: onnx.ModelProto, kinds: Collection[tuple[str, str]]) -> bool:
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    return "" in opsets and all(
        domain in opsets
        and op not in HOLDERS
        and onnx.defs.has(op, max_inclusive_version=opsets[domain], domain=domain)
        for domain, op in kinds
    )
