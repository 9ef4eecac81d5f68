"""Where two ONNX graphs of one network place Q/DQ and Cast differently, and which of it tore or joined a fusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from workbench.engine.source import source_graph

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

    from workbench.engine.source import SourceGraph, SourceNode
    from workbench.graph import Model

__all__ = ["MovedEdge", "MovedTensor", "moved", "reason_for", "working_edges"]

_WORDS = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ", "Cast": "Cast"}
_SEEN_THROUGH = {*_WORDS, "Identity"}


class MovedTensor(NamedTuple):
    """A tensor on its way from one working node to another; `start` is an input's name where no node makes it."""

    start: str
    end: str


class MovedEdge(NamedTuple):
    """An edge that carries other conversions in one graph than in the other, each such as "Q DQ" or ""."""

    edge: MovedTensor
    before: str
    after: str

    def words(self, first: str, here: str) -> str:
        """Say it, with the names of the two engines."""
        where = f"between {self.edge.start} and {self.edge.end}"
        if self.before and self.after:
            return f"{_name(self.before)} in {first} is {_name(self.after)} in {here} {where}"
        present, absent = (here, first) if self.after else (first, here)
        return f"{_name(self.before or self.after)} stands {where} in {present} and not in {absent}"


def _name(through: str) -> str:
    return f"a {through}".replace("Q DQ", "Q/DQ")


def working_edges(graph: SourceGraph) -> dict[MovedTensor, str]:
    """Return the edges between nodes that compute, with the Q/DQ and Casts on each, from its start on.

    Weights are left out: what is on them goes with their reader's own inputs.
    """
    edges: dict[MovedTensor, str] = {}
    for node in graph.nodes:
        if node.op_type in _SEEN_THROUGH:
            continue
        for name in node.inputs:
            start, through = _start(name, graph)
            if start not in graph.constant_tensors:
                maker = graph.producer.get(start)
                edges[MovedTensor(start if maker is None else maker.name, node.name)] = " ".join(through)
    return edges


def _start(name: str, graph: SourceGraph) -> tuple[str, list[str]]:
    through: list[str] = []
    node: SourceNode | None = graph.producer.get(name)
    while node is not None and node.op_type in _SEEN_THROUGH and node.inputs:
        if node.op_type in _WORDS:
            through.insert(0, _WORDS[node.op_type])
        name = node.inputs[0]
        node = graph.producer.get(name)
    return name, through


def moved(before: onnx.ModelProto | Model, after: onnx.ModelProto | Model) -> list[MovedEdge]:
    """Return the edges that two graphs of one network have in common and convert differently, in graph order.

    Nodes are the same where they have the same name.
    """
    old, new = (working_edges(source_graph(model)) for model in (before, after))
    return [MovedEdge(edge, old[edge], through) for edge, through in new.items() if old.get(edge, through) != through]


def reason_for(
    nodes: Collection[str],
    moves: Collection[MovedEdge],
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> list[MovedEdge]:
    """Return the moves that explain why some nodes are in other layers in one engine than in the other.

    Parameters
    ----------
    nodes
        Source nodes whose layers differ.
    moves
        From `moved`.
    before, after
        Node to its layer in each engine.

    Returns
    -------
    list of MovedEdge
        Those between two nodes that are in one layer in one engine and apart in the other. Where there are none, those
        at the border of the nodes: what comes in or goes out has changed its type, and the kernels with it.
    """
    inside = [move for move in moves if {move.edge.start, move.edge.end} <= set(nodes)]
    torn = [
        move
        for move in inside
        if (before.get(move.edge.start) == before.get(move.edge.end))
        != (after.get(move.edge.start) == after.get(move.edge.end))
    ]
    return torn or inside or [move for move in moves if {move.edge.start, move.edge.end} & set(nodes)]
