"""The whole layout: boxes and edges in, positions and edge points out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.views.graphs.layout.crossings import reduce_crossings
from workbench.views.graphs.layout.cycles import against_the_flow
from workbench.views.graphs.layout.layers import Proper, assign_layers, insert_dummies
from workbench.views.graphs.layout.place import place
from workbench.views.graphs.layout.route import Point, ports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Gaps", "Layout", "layered"]


@dataclass(frozen=True, slots=True)
class Gaps:
    """Least distances in CSS pixels: between boxes, between anything and a passing edge, between layers."""

    box: float = 22.0
    edge: float = 12.0
    layer: float = 24.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is, in CSS pixels from the top left corner.

    Attributes
    ----------
    x, y
        Centre of every box.
    paths
        Per edge its points from tail to head: two a layer that it passes, so a curve through them with vertical
        tangents stays clear of every box.
    layer
        The layer of every box, from the top.
    crossings
        Edge crossings between layers.
    width, height
        Of the whole drawing.
    """

    x: list[float]
    y: list[float]
    paths: list[list[Point]]
    layer: list[int]
    crossings: int
    width: float
    height: float


def layered(
    widths: Sequence[float],
    heights: Sequence[float],
    edges: Sequence[tuple[int, int]],
    *,
    first: Iterable[int] = (),
    last: Iterable[int] = (),
    docks: Sequence[tuple[float | None, float | None]] | None = None,
    weak: Collection[int] = (),
    gaps: Gaps | None = None,
) -> Layout:
    """Lay a directed graph out in layers from top to bottom; the same input always gives the same drawing.

    Parameters
    ----------
    widths, heights
        Of every box, in CSS pixels. Boxes are numbered in the model's order: it breaks ties, and decides which edges of
        a cycle run backwards.
    edges
        Pairs (tail, head) of box numbers; no self-loops.
    first, last
        Boxes to keep in a layer of their own at the top and at the bottom.
    docks
        Per edge where it has to leave its tail and to meet its head, in pixels right of the box's centre; None where
        that is free.
    weak
        Boxes that stand beside their neighbours and draw no other box towards them.
    """
    gaps = gaps or Gaps()
    count = len(widths)
    turned = against_the_flow(count, edges)
    flow = [(head, tail) if turn else (tail, head) for (tail, head), turn in zip(edges, turned, strict=True)]
    layer = assign_layers(count, flow, first=first, last=last)
    graph = insert_dummies(layer, flow)
    free: Sequence[tuple[float | None, float | None]] = [(None, None)] * len(edges)
    fixed = [dock[::-1] if turn else dock for dock, turn in zip(docks or free, turned, strict=True)]
    for chain, (start, end) in zip(graph.chains, fixed, strict=True):
        if start is not None:
            graph.lean[chain[1], chain[0]] = 0.9 * start / widths[chain[0]]
        if end is not None:
            graph.lean[chain[-2], chain[-1]] = 0.9 * end / widths[chain[-1]]
    crossings = reduce_crossings(graph)
    breadth = [*widths, *([0.0] * (len(graph.up) - count))]

    def apart(left: int, right: int) -> float:
        gap = gaps.box if left < count and right < count else gaps.edge
        return (breadth[left] + breadth[right]) / 2 + gap

    x = place(graph, apart, weak)
    shift = -min((x[node] - breadth[node] / 2 for node in range(len(x))), default=0.0)
    x = [value + shift for value in x]
    tops, feet = _bands(graph, heights, gaps, x)
    y = [(tops[layer[node]] + feet[layer[node]]) / 2 for node in range(count)]
    half = [height / 2 for height in heights]
    spans = [(at - wide / 2, at + wide / 2) for at, wide in zip(x, breadth, strict=True)]
    paths = []
    fixed = [
        dock[::-1] if turn else dock for dock, turn in zip(docks or [(None, None)] * len(edges), turned, strict=True)
    ]
    starts = _meet(graph, spans, [dock[0] for dock in fixed], 0)
    ends = _meet(graph, spans, [dock[1] for dock in fixed], -1)
    for chain, leave, meet in zip(graph.chains, starts, ends, strict=True):
        tail, head = chain[0], chain[-1]
        path = [(leave, y[tail] + half[tail]), (leave, feet[layer[tail]])]
        for step, node in enumerate(chain[1:-1], layer[tail] + 1):
            path += [(x[node], tops[step]), (x[node], feet[step])]
        path += [(meet, tops[layer[head]]), (meet, y[head] - half[head])]
        paths.append([point for at, point in enumerate(path) if at == 0 or point != path[at - 1]])
    return Layout(
        x=x[:count],
        y=y,
        paths=[path[::-1] if turn else path for path, turn in zip(paths, turned, strict=True)],
        layer=layer,
        crossings=crossings,
        width=max((x[node] + breadth[node] / 2 for node in range(len(x))), default=0.0),
        height=feet[-1] if feet else 0.0,
    )


def _bands(graph: Proper, heights: Sequence[float], gaps: Gaps, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return top and foot of every layer; a gap that edges cross at a slant is made taller, so that they stay apart."""
    tops, feet = [], []
    y = 0.0
    for layer in graph.layers:
        tops.append(y)
        y += max((heights[node] for node in layer if node < graph.real), default=0.0)
        feet.append(y)
        slant = max((abs(x[node] - x[below]) for node in layer for below in graph.down[node]), default=0.0)
        y += gaps.layer + min(slant / 10, gaps.layer)
    return tops, feet


def _meet(graph: Proper, spans: Sequence[tuple[float, float]], docks: Sequence[float | None], end: int) -> list[float]:
    """Return x where every edge leaves its tail (`end` 0) or meets its head (`end` -1)."""
    at: dict[int, list[int]] = {}
    for index, chain in enumerate(graph.chains):
        at.setdefault(chain[end], []).append(index)
    meets = [0.0] * len(graph.chains)
    for node, everyone in at.items():
        low, high = spans[node]
        members = []
        for index in everyone:
            dock = docks[index]
            if dock is None:
                members.append(index)
            else:
                meets[index] = (low + high) / 2 + dock
        places, rank = [], []
        for index in members:
            left, right = spans[graph.chains[index][1 if end == 0 else -2]]
            # Where both boxes face each other the edge runs straight down the middle of what they share.
            places.append((max(low, left) + min(high, right)) / 2)
            rank.append((left + right) / 2)
        for index, value in zip(members, ports(places, rank, low, high), strict=True):
            meets[index] = value
    return meets
