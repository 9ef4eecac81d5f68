"""Layers with the shortest edges in total.

The network simplex of Gansner et al., "A technique for drawing directed graphs", 1993, section 2.3, with all edges of
weight one: a spanning tree of edges that are one layer long holds the layers. Where more edges would get shorter than
longer if one side of a tree edge moved away from the other, it moves until another edge is tight, which takes that
one's place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["shorten"]

_PIVOTS = 4
"""So many exchanges a node at most; some gain nothing, and could go round in circles."""

Edge = tuple[int, int]


def shorten(count: int, edges: Sequence[Edge], layer: list[int]) -> None:
    """Move the nodes of an acyclic graph to layers with the least total edge length. Changes `layer`.

    Parameters
    ----------
    count
        How many nodes there are.
    edges
        Pairs (tail, head), each at least one layer long.
    layer
        The layer of every node.
    """
    touching: list[list[int]] = [[] for _ in range(count)]
    for index, ends in enumerate(edges):
        for node in ends:
            touching[node].append(index)
    tree = _tight_tree(count, edges, touching, layer)
    surplus = [0] * count
    for tail, head in edges:
        surplus[tail] += 1
        surplus[head] -= 1
    for _ in range(_PIVOTS * count):
        order, above = _hung(count, edges, tree)
        gain = surplus.copy()
        # Edges within a subtree cancel out: what is left is how many more leave it than enter it.
        for node in reversed(order):
            if above[node] >= 0:
                gain[_other(edges[above[node]], node)] += gain[node]
        cut = {node: gain[node] if edges[above[node]][0] == node else -gain[node] for node in order if above[node] >= 0}
        worst = min(cut, key=lambda node: (cut[node], node), default=None)
        if worst is None or cut[worst] >= 0:
            break
        leaving = above[worst]
        upwards = edges[leaving][0] == worst
        inside = _subtree(worst, order, edges, above)
        near, far = (1, 0) if upwards else (0, 1)
        slack, entering = min(
            (layer[edges[index][1]] - layer[edges[index][0]] - 1, index)
            for node in inside
            for index in touching[node]
            if edges[index][near] == node and edges[index][far] not in inside
        )
        for node in inside if slack else ():
            layer[node] += -slack if upwards else slack
        tree.remove(leaving)
        tree.add(entering)


def _other(edge: Edge, node: int) -> int:
    return edge[0] if edge[1] == node else edge[1]


def _tight_tree(count: int, edges: Sequence[Edge], touching: Sequence[Sequence[int]], layer: list[int]) -> set[int]:
    """Return a spanning tree (of each component one) of edges of length one; moves nodes until there is one."""
    tree: set[int] = set()
    reached: set[int] = set()
    for root in range(count):
        if root in reached:
            continue
        part, todo = {root}, [root]
        while todo:
            while todo:
                node = todo.pop()
                for index in touching[node]:
                    tail, head = edges[index]
                    other = _other(edges[index], node)
                    if other not in part and layer[head] - layer[tail] == 1:
                        part.add(other)
                        tree.add(index)
                        todo.append(other)
            rim = [
                (layer[edges[index][1]] - layer[edges[index][0]] - 1, index, node)
                for node in part
                for index in touching[node]
                if _other(edges[index], node) not in part
            ]
            if rim:
                slack, index, node = min(rim)
                move = slack if edges[index][0] == node else -slack
                for member in part:
                    layer[member] += move
                todo = [node]
        reached |= part
    return tree


def _hung(count: int, edges: Sequence[Edge], tree: set[int]) -> tuple[list[int], list[int]]:
    """Return the nodes of a tree from its roots on, and for each the edge that it hangs on, -1 for a root."""
    beside: list[list[int]] = [[] for _ in range(count)]
    for index in sorted(tree):
        tail, head = edges[index]
        beside[tail].append(index)
        beside[head].append(index)
    above, order = [-2] * count, []
    for root in range(count):
        if above[root] != -2:
            continue
        above[root] = -1
        todo = [root]
        while todo:
            node = todo.pop()
            order.append(node)
            for index in beside[node]:
                other = _other(edges[index], node)
                if above[other] == -2:
                    above[other] = index
                    todo.append(other)
    return order, above


def _subtree(top: int, order: Sequence[int], edges: Sequence[Edge], above: Sequence[int]) -> set[int]:
    inside = {top}
    for node in order:
        if above[node] >= 0 and node != top and _other(edges[above[node]], node) in inside:
            inside.add(node)
    return inside
