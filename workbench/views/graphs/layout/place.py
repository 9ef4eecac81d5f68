"""Step 5: x for every node (Brandes and Koepf, "Fast and simple horizontal coordinate assignment", 2001).

Four times, once from each corner, nodes are aligned with the median neighbour into vertical blocks, and the blocks are
packed; the result is the mean of the two middle values. Packing is a longest path over the graph of blocks, which needs
none of the classes whose shifts the published algorithm got wrong (Brandes, Walter, Zink 2020).
"""

from __future__ import annotations

import itertools
from math import inf
from typing import TYPE_CHECKING

from workbench.views.graphs.layout.cycles import adjacency, topological

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from workbench.views.graphs.layout.layers import Proper

__all__ = ["place"]

Segment = tuple[int, int]


def place(graph: Proper, apart: Callable[[int, int], float], weak: Collection[int] = ()) -> list[float]:
    """Return x of every node's centre.

    Parameters
    ----------
    graph
        With its layers in their final order.
    apart
        The least distance between the centres of two neighbours, left and right.
    weak
        Nodes that nothing is aligned with: they stand beside what they belong to and move no other.
    """
    away = set(weak)
    conflicts = _conflicts(graph)
    runs: list[list[float]] = []
    for upwards in (False, True):
        rows = graph.layers[::-1] if upwards else graph.layers
        beside = graph.down if upwards else graph.up
        for leftwards in (False, True):
            layers = [row[::-1] for row in rows] if leftwards else rows
            root = _align(layers, beside, conflicts, away)
            if leftwards:
                x = _pack(layers, root, lambda a, b: apart(b, a))
                runs.append([-value for value in x])
            else:
                runs.append(_pack(layers, root, apart))
    widths = [max(run, default=0) - min(run, default=0) for run in runs]
    narrow = runs[widths.index(min(widths))]
    for index, run in enumerate(runs):
        end = max if index % 2 else min
        shift = end(narrow, default=0.0) - end(run, default=0.0)
        run[:] = [value + shift for value in run]
    return [sum(sorted(values)[1:3]) / 2 for values in zip(*runs, strict=True)]


def _conflicts(graph: Proper) -> set[Segment]:
    """Return the segments that cross an inner one (of two dummies): long edges are to run straight."""
    at = {node: index for layer in graph.layers for index, node in enumerate(layer)}
    conflicts: set[Segment] = set()
    for above, below in zip(graph.layers, graph.layers[1:], strict=False):
        left, scanned = 0, 0
        for index, node in enumerate(below):
            inner = None
            if node >= graph.real:
                inner = next((other for other in graph.up[node] if other >= graph.real), None)
            if inner is None and index != len(below) - 1:
                continue
            right = at[inner] if inner is not None else len(above) - 1
            for lower in below[scanned : index + 1]:
                for upper in graph.up[lower]:
                    if not left <= at[upper] <= right and not (lower >= graph.real and upper >= graph.real):
                        conflicts.add((upper, lower))
            left, scanned = right, index + 1
    return conflicts


def _align(layers: list[list[int]], beside: list[list[int]], conflicts: set[Segment], weak: set[int]) -> list[int]:
    """Return the topmost node of the block that every node is aligned into."""
    at = {node: index for layer in layers for index, node in enumerate(layer)}
    root = list(range(len(beside)))
    taken = [False] * len(beside)
    for layer in layers:
        last = -1
        for node in layer:
            if node in weak:
                continue
            others = sorted([other for other in beside[node] if other not in weak], key=at.__getitem__)
            middle = len(others)
            for other in others[(middle - 1) // 2 : middle // 2 + 1]:
                if taken[other] or at[other] <= last or (other, node) in conflicts or (node, other) in conflicts:
                    continue
                taken[other] = True
                root[node] = root[other]
                last = at[other]
                break
    return root


def _pack(layers: list[list[int]], root: list[int], apart: Callable[[int, int], float]) -> list[float]:
    """Return x of every node, blocks as far left as they go, then drawn right towards what holds them."""
    least: dict[Segment, float] = {}
    for layer in layers:
        for left, right in itertools.pairwise(layer):
            pair = (root[left], root[right])
            least[pair] = max(least.get(pair, 0.0), apart(left, right))
    order = topological(len(root), list(least))
    heads = adjacency(len(root), list(least))
    x = [0.0] * len(root)
    for block in order:
        for head in heads[block]:
            x[head] = max(x[head], x[block] + least[block, head])
    for block in reversed(order):
        room = min((x[head] - least[block, head] for head in heads[block]), default=inf)
        if room < inf:
            x[block] = max(x[block], room)
    return [x[block] for block in root]
