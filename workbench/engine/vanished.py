"""Why a source node is in no layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.graph import QDQ, WEIGHTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.engine.source import SourceGraph, SourceNode

__all__ = ["why_vanished"]

_NO_WORK = {"Identity", "Dropout"}
_VIEWS = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def why_vanished(graph: SourceGraph, in_layers: Iterable[str]) -> dict[str, str]:
    """Give each node that no layer does the reason that the graph tells, if it tells one.

    Returns
    -------
    dict
        Node name to reason; a node without a known reason is absent.
    """
    done = set(in_layers)
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        if node.name not in done and (reason := _reason(node, graph)) is not None:
            reasons[node.name] = reason
    # What hangs on a neighbour can only be told once the neighbours are known; Q and DQ wait for each other.
    count = -1
    while count < len(reasons):
        count = len(reasons)
        for node in graph.nodes:
            if node.name not in done and node.name not in reasons:
                reason = _beside(node, graph, done | set(reasons))
                if reason is not None:
                    reasons[node.name] = reason
    return reasons


def _reason(node: SourceNode, graph: SourceGraph) -> str | None:
    if node.name not in graph.needed:
        return "no output depends on it"
    if all(name in graph.constant_tensors for name in node.outputs):
        return "computed at build time: its inputs are constants"
    if all(name in graph.shape_tensors for name in node.outputs):
        return "shape arithmetic, done at build time or on the host"
    if node.op_type in _NO_WORK:
        return f"removed: {node.op_type} computes nothing at inference"
    return None


def _beside(node: SourceNode, graph: SourceGraph, present: set[str]) -> str | None:
    before = [graph.producer[name] for name in node.inputs if name in graph.producer]
    after = [user for name in node.outputs for user in graph.consumers.get(name, [])]
    if node.op_type in QDQ:
        settled = sorted((near for near in (*before, *after) if near.name in present), key=lambda n: n.op_type in QDQ)
        return f"no layer of its own: fused with {settled[0].name}" if settled else None
    if node.op_type == "BatchNormalization":
        scaled = next((near for near in before if near.op_type in WEIGHTED and near.name in present), None)
        return None if scaled is None else f"folded into the weights of {scaled.name}"
    if node.op_type == "Add" and any(name in graph.constant_tensors for name in node.inputs):
        summed = next((near for near in before if near.op_type in WEIGHTED and near.name in present), None)
        return None if summed is None else f"folded into the bias of {summed.name}"
    if node.op_type == "Concat" and before and all(near.name in present for near in before):
        return "no copy: its inputs are written side by side into one buffer"
    if node.op_type in _VIEWS and any(near.name in present for near in (*before, *after)):
        return f"a view: {node.op_type} moves no data"
    return None
