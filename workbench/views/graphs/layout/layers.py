"""Steps 2 and 3: a layer for every node, and a chain of dummy nodes for every edge that passes layers by."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.views.graphs.layout.cycles import adjacency, topological
from workbench.views.graphs.layout.shortest import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Proper", "assign_layers", "insert_dummies"]


def assign_layers(
    count: int, edges: Sequence[tuple[int, int]], *, first: Iterable[int] = (), last: Iterable[int] = ()
) -> list[int]:
    """Return a layer for every node of an acyclic graph, each edge at least one layer long and all together shortest.

    Nodes in `first` (with no edge in) and `last` (with none out) get a layer of their own at either end.
    """
    tails = adjacency(count, [(head, tail) for tail, head in edges])
    layer = [0] * count
    for node in topological(count, edges):
        layer[node] = max((layer[tail] + 1 for tail in tails[node]), default=0)
    shorten(count, edges, layer)
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
