"""Steps 2 and 3: a layer for every node, and a chain of dummy nodes for every edge that passes layers by."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.views.layout.cycles import adjacency, topological

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Proper", "assign_layers", "insert_dummies"]

_ROUNDS = 12


def assign_layers(
    count: int, edges: Sequence[tuple[int, int]], *, first: Iterable[int] = (), last: Iterable[int] = ()
) -> list[int]:
    """Return a layer for every node of an acyclic graph, each edge at least one layer long.

    Longest path first; then nodes with more edges on one side than on the other move that way as far as they can, until
    nothing moves: every such move shortens the edges in total (a cheap stand-in for the network simplex of Gansner
    et al. 1993). Nodes in `first` (with no edge in) and `last` (with none out) get a layer of their own at either end.
    """
    heads = adjacency(count, edges)
    tails = adjacency(count, [(head, tail) for tail, head in edges])
    order = topological(count, edges)
    layer = [0] * count
    for node in order:
        layer[node] = max((layer[tail] + 1 for tail in tails[node]), default=0)
    for _ in range(_ROUNDS):
        moved = False
        for node in reversed(order):
            if len(heads[node]) > len(tails[node]):
                down = min(layer[head] for head in heads[node]) - 1
                moved |= down != layer[node]
                layer[node] = down
        for node in order:
            if len(tails[node]) > len(heads[node]):
                up = max(layer[tail] for tail in tails[node]) + 1
                moved |= up != layer[node]
                layer[node] = up
        if not moved:
            break
    ends, starts = set(last), set(first)
    inner = [layer[node] for node in range(count) if node not in ends and node not in starts]
    top, bottom = (min(inner), max(inner)) if inner else (1, 0)
    for node in range(count):
        layer[node] = top - 1 if node in starts else bottom + 1 if node in ends else layer[node]
    used = {value: index for index, value in enumerate(sorted(set(layer)))}
    return [used[value] for value in layer]


@dataclass(slots=True)
class Proper:
    """A graph whose every edge joins neighbouring layers.

    Attributes
    ----------
    layers
        Node numbers, layer by layer, in drawing order from left to right; numbers from `real` on are dummies.
    up, down
        Neighbours of each node in the layer above and below.
    chains
        Per edge of the original graph its nodes from top to bottom, both ends included.
    real
        How many nodes are real.
    lean
        (node, other): where on `other` their edge ends, as a share of its width right of its centre; 0 where missing.
    """

    layers: list[list[int]]
    up: list[list[int]]
    down: list[list[int]]
    chains: list[list[int]]
    real: int
    lean: dict[tuple[int, int], float] = field(default_factory=dict)


def insert_dummies(layer: Sequence[int], edges: Sequence[tuple[int, int]]) -> Proper:
    """Return the graph with a dummy on every layer that an edge passes."""
    count = len(layer)
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for node in range(count):
        layers[layer[node]].append(node)
    up: list[list[int]] = [[] for _ in range(count)]
    down: list[list[int]] = [[] for _ in range(count)]
    chains = []
    for tail, head in edges:
        chain = [tail]
        for between in range(layer[tail] + 1, layer[head]):
            chain.append(len(up))
            layers[between].append(len(up))
            up.append([])
            down.append([])
        chain.append(head)
        for above, below in itertools.pairwise(chain):
            down[above].append(below)
            up[below].append(above)
        chains.append(chain)
    return Proper(layers, up, down, chains, count)
