"""Tensors as convolutions keep them, for those who look at values and not at places.

ONNX Runtime computes convolutions on blocks of channels (NCHWc), and orders anew each tensor that is handed out: for a
ResNet-50 shape a seventh of a run that looks at all that INT8 needs. The graph as it optimized it says where it does
that. Without those nodes, and not optimized again, it hands out the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx

__all__ = ["FULL", "read_by", "without_reorders"]

FULL = 16
"""Channels of the largest block. A number of channels that fills no whole blocks is padded, which would count."""

_DOMAIN = "com.microsoft.nchwc"


def without_reorders(graph: onnx.GraphProto, any_order: Collection[str]) -> dict[str, str]:
    """Take out the nodes that only order anew what is handed out; return what is handed out in place of each output."""
    read = {name for node in graph.node for name in read_by(node)}
    called: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if _only_orders(node) and node.output[0] in any_order and node.output[0] not in read:
            called[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    for output in graph.output:
        output.name = called.get(output.name, output.name)
    return called


def _only_orders(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return (
        (node.domain, node.op_type) == (_DOMAIN, "ReorderOutput")
        and attributes["channels"] % FULL == 0
        and not attributes.get("channels_last", 0)
    )


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, and what nodes in its bodies read."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (name for inner in body.node for name in read_by(inner))
            yield from (output.name for output in body.output)
