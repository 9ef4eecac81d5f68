"""Step 1: which edges to turn round, so that a collapsed graph has no cycle.

A model is acyclic, but its collapsed view need not be: two scopes may feed each other. The numbering of the nodes is
the model's own order, so the edges to turn are those that, inside a strongly connected component, run against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["against_the_flow", "components", "topological"]


def components(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the strongly connected component of every node (Tarjan 1972, without recursion)."""
    heads = adjacency(count, edges)
    component, low, order = [-1] * count, [0] * count, [-1] * count
    stack: list[int] = []
    clock = parts = 0
    for start in range(count):
        if order[start] >= 0:
            continue
        work = [(start, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                order[node] = low[node] = clock
                clock += 1
                stack.append(node)
            else:
                low[node] = min(low[node], low[heads[node][at - 1]])
            for index in range(at, len(heads[node])):
                head = heads[node][index]
                if order[head] < 0:
                    work += [(node, index + 1), (head, 0)]
                    break
                if component[head] < 0:
                    low[node] = min(low[node], order[head])
            else:
                if low[node] == order[node]:
                    while component[node] < 0:
                        component[stack.pop()] = parts
                    parts += 1
    return component


def against_the_flow(count: int, edges: Sequence[tuple[int, int]]) -> list[bool]:
    """Return, for every edge, whether it must be turned round; self-loops are the caller's to leave out."""
    part = components(count, edges)
    return [part[tail] == part[head] and tail > head for tail, head in edges]


def topological(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the nodes of an acyclic graph, tails before heads, smallest number first (Kahn 1962)."""
    from heapq import heapify, heappop, heappush

    heads = adjacency(count, edges)
    waiting = [0] * count
    for _, head in edges:
        waiting[head] += 1
    ready = [node for node in range(count) if waiting[node] == 0]
    heapify(ready)
    order = []
    while ready:
        node = heappop(ready)
        order.append(node)
        for head in heads[node]:
            waiting[head] -= 1
            if waiting[head] == 0:
                heappush(ready, head)
    return order


def adjacency(count: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the heads of every node's edges."""
    heads: list[list[int]] = [[] for _ in range(count)]
    for tail, head in edges:
        heads[tail].append(head)
    return heads
