"""Step 4: the order within each layer, with few edge crossings.

Sweeps down and up order each layer by the weighted median or the barycenter of its neighbours, then neighbours swap
places wherever that saves a crossing (Sugiyama et al. 1981; Gansner et al. 1993). The best order seen wins.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from workbench.views.graphs.layout.layers import Proper

__all__ = ["count_crossings", "reduce_crossings"]

_SWEEPS = 24
_PATIENCE = 8
_SWAP_ROUNDS = 6


def count_crossings(graph: Proper, layers: Sequence[Sequence[int]] | None = None) -> int:
    """Return the number of crossings between all neighbouring layers, in the graph's own order or in another."""
    layers = graph.layers if layers is None else layers
    place = [0] * len(graph.up)
    for layer in layers:
        _settle(layer, place)
    lean = graph.lean
    total = 0
    for layer in layers:
        seen: list[float] = []
        if lean:
            spots = (
                (place[node] + lean.get((below, node), 0.0), place[below] + lean.get((node, below), 0.0))
                for node in layer
                for below in graph.down[node]
            )
            rows: Iterable[list[float]] = (
                [end for _, end in row] for _, row in groupby(sorted(spots), key=lambda spot: spot[0])
            )
        else:
            rows = (sorted(place[below] for below in graph.down[node]) for node in layer)
        for ends in rows:
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _ends(graph: Proper, node: int, beside: Sequence[int], place: Sequence[int]) -> list[float]:
    """Return where the neighbours of a node are, in order."""
    if not graph.lean:
        return sorted([place[other] for other in beside])
    return sorted([place[other] + graph.lean.get((node, other), 0.0) for other in beside])


def reduce_crossings(graph: Proper) -> int:
    """Reorder `graph.layers` in place; return the crossings that are left."""
    best: list[list[int]] | None = None
    fewest = 0
    for start in (_from_above, _from_below, _as_given):
        place = [0] * len(graph.up)
        layers = start(graph)
        for layer in layers:
            _settle(layer, place)
        idle = 0
        for sweep in range(_SWEEPS):
            left = count_crossings(graph, layers)
            if best is None or left < fewest:
                best, fewest, idle = [list(layer) for layer in layers], left, 0
            else:
                idle += 1
            if fewest == 0 or idle > _PATIENCE:
                break
            key = _median if sweep % 4 < 2 else _barycenter
            flip = sweep % 8 >= 4
            _sweep(graph, layers, place, (key, flip), downwards=sweep % 2 == 0)
            _swap(graph, layers, place, flip=flip)
        if fewest == 0:
            break
    if best is not None:
        graph.layers[:] = best
    return fewest


def _from_above(graph: Proper) -> list[list[int]]:
    return _walk(graph, graph.down, graph.layers)


def _from_below(graph: Proper) -> list[list[int]]:
    return _walk(graph, graph.up, list(reversed(graph.layers)))


def _as_given(graph: Proper) -> list[list[int]]:
    return [list(layer) for layer in graph.layers]


def _walk(graph: Proper, onwards: list[list[int]], layers: list[list[int]]) -> list[list[int]]:
    """Order every layer by the depth-first walk from the side that `layers` starts with."""
    seen: dict[int, None] = {}
    for layer in layers:
        for start in layer:
            stack = [start]
            while stack:
                node = stack.pop()
                if node not in seen:
                    seen[node] = None
                    stack.extend(reversed(onwards[node]))
    rank = {node: at for at, node in enumerate(seen)}
    return [sorted(layer, key=rank.__getitem__) for layer in graph.layers]


def _settle(layer: Sequence[int], place: list[int]) -> None:
    for at, node in enumerate(layer):
        place[node] = at


def _sweep(
    graph: Proper,
    layers: list[list[int]],
    place: list[int],
    rule: tuple[Callable[[list[float]], float], bool],
    *,
    downwards: bool,
) -> None:
    key, flip = rule
    beside = graph.up if downwards else graph.down
    for layer in layers[1:] if downwards else reversed(layers[:-1]):
        keyed = [(key(_ends(graph, node, beside[node], place)), node) for node in layer if beside[node]]
        if flip:
            keyed.reverse()
        keyed.sort(key=lambda pair: pair[0])
        ordered = iter(keyed)
        # A node with no neighbour on that side keeps its place.
        layer[:] = [next(ordered)[1] if beside[node] else node for node in layer]
        _settle(layer, place)


def _median(ends: list[float]) -> float:
    middle = len(ends) // 2
    if len(ends) % 2:
        return ends[middle]
    if len(ends) == 2:
        return (ends[0] + ends[1]) / 2
    left, right = ends[middle - 1] - ends[0], ends[-1] - ends[middle]
    if left + right == 0:
        return (ends[middle - 1] + ends[middle]) / 2
    return (ends[middle - 1] * right + ends[middle] * left) / (left + right)


def _barycenter(ends: list[float]) -> float:
    return sum(ends) / len(ends)


def _swap(graph: Proper, layers: list[list[int]], place: list[int], *, flip: bool) -> None:
    """Exchange neighbours in a layer while that saves crossings; `flip` exchanges equals too, once, to get unstuck."""
    dirty = set(range(len(layers)))
    for turn in range(_SWAP_ROUNDS):
        changed: set[int] = set()
        for index in sorted(dirty):
            layer = layers[index]
            above = [_ends(graph, node, graph.up[node], place) for node in layer]
            below = [_ends(graph, node, graph.down[node], place) for node in layer]
            for at in range(len(layer) - 1):
                saved = _saved(above[at], above[at + 1]) + _saved(below[at], below[at + 1])
                if saved > 0 or (flip and turn == 0 and saved == 0):
                    layer[at], layer[at + 1] = layer[at + 1], layer[at]
                    above[at], above[at + 1] = above[at + 1], above[at]
                    below[at], below[at + 1] = below[at + 1], below[at]
                    changed |= {index - 1, index, index + 1} if saved else set()
            _settle(layer, place)
        dirty = {index for index in changed if 0 <= index < len(layers)}
        if not dirty:
            break


def _saved(left: list[float], right: list[float]) -> int:
    """Return the crossings that exchanging two neighbours saves; negative where it costs some."""
    if not left or not right or left[-1] <= right[0]:
        # The common case, told apart without counting: nothing crosses now, so nothing can be saved.
        return 0 if not left or not right or left[0] == right[-1] else -1
    saved = 0
    for end in left:
        for other in right:
            saved += (end > other) - (end < other)
    return saved
