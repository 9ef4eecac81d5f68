"""Which placements to build next: the cheapest by regions and borders, and its neighbours.

The cheapest of all assignments is a minimum cut (D. Greig, B. Porteous, A. Seheult, "Exact maximum a posteriori
estimation for binary images", J. R. Stat. Soc. B 51 (2), 1989): a region pays for its precision, a tensor for the
border that it crosses, once, however many regions read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from workbench.precision.placement.costs import PlacementCosts

__all__ = ["Placement", "cheapest", "proposals", "with_neutral"]

NANOSECONDS = 1e6
"""Capacities are whole numbers, so that the flow is exact."""

DOUBTS = (1.0, 0.5, 2.0, 0.25, 4.0)
"""By what borders may be cheaper or dearer than they seem: each asks for another placement."""

FLOAT, INT8 = "float", "int8"


@dataclass(frozen=True)
class Placement:
    """An assignment of all regions.

    Parameters
    ----------
    int8
        Positions of the regions with nodes in INT8.
    move
        What it is, in words.
    expected_ms
        The latency that is expected of it.
    """

    int8: frozenset[int]
    move: str
    expected_ms: float


def proposals(
    costs: PlacementCosts, *, penalty: Mapping[int, float] | None = None, tried: Collection[frozenset[int]] = ()
) -> list[Placement]:
    """Return placements that were not tried, the one that is expected to be fastest first.

    Parameters
    ----------
    costs
        What is known.
    penalty
        Position of a region to milliseconds that INT8 is charged there, for the error that it makes.
    tried
        What needs no proposal any more: positions of regions with nodes in INT8.

    Notes
    -----
    What is known to have no kernel is not proposed.
    """
    proposals_of: dict[frozenset[int], str] = {}

    def add(int8: Iterable[int], move: str) -> None:
        proposals_of.setdefault(frozenset(int8) & frozenset(costs.regions.able), move)

    best: frozenset[int] | None = None
    for shared in (True, False) if not penalty else (False,):
        for doubt in DOUBTS:
            cut = cheapest(costs, penalty=penalty, doubt=doubt, shared=shared)
            best = cut if best is None else best
            doubtful = "" if doubt == 1 else f", were borders {doubt:g} times as dear"
            add(cut, f"the cheapest by regions and borders{doubtful}{'' if shared else ', region by region'}")
    able = costs.regions.able
    charged = sum((penalty or {}).values())
    if not charged:
        for count in range(1, len(able)):
            add(able[count:], f"all behind {costs.regions.all[able[count - 1]].name}")
            add(able[:-count], f"all before {costs.regions.all[able[-count]].name}")
    for group in costs.regions.classes:
        name = costs.regions.all[group[0]].name
        more = f" and {len(group) - 1} like it" if len(group) > 1 else ""
        add((best or frozenset()) ^ frozenset(group), f"the cheapest with {name}{more} the other way")
    full = {each: with_neutral(costs, each) for each in proposals_of}
    ranked = [
        Placement(each, move, costs.latency_ms(full[each]))
        for each, move in proposals_of.items()
        if each not in tried and costs.has_kernels(full[each])
    ]
    extra = penalty or {}
    return sorted(ranked, key=lambda one: one.expected_ms + sum(extra.get(position, 0.0) for position in one.int8))


def cheapest(
    costs: PlacementCosts, *, penalty: Mapping[int, float] | None = None, doubt: float = 1.0, shared: bool = True
) -> frozenset[int]:
    """Return the positions of the regions that are INT8 in the cheapest assignment, neutral ones too."""
    return _cut(costs, {}, penalty or {}, doubt, costs.regions.classes if shared else (), costs.closed)


def with_neutral(costs: PlacementCosts, int8: frozenset[int]) -> frozenset[int]:
    """Add the regions that take what their neighbours have, where that is cheapest, to those that were decided on."""
    fixed = {position: position in int8 for position in costs.regions.able}
    return _cut(costs, fixed, {}, 1.0, ())


def _cut(
    costs: PlacementCosts,
    fixed: Mapping[int, bool],
    penalty: Mapping[int, float],
    doubt: float,
    classes: Iterable[Collection[int]],
    closed: Collection[int] = (),
) -> frozenset[int]:
    network = _Flow()
    regions, capacity, bind = costs.regions, network.capacity, network.bind
    node = {position: position for position in range(len(regions.all))}
    for group in classes:
        node.update(dict.fromkeys(group, min(group)))
    for position, region in enumerate(regions.all):
        if not region.free or fixed.get(position) is False:
            bind(FLOAT, node[position])
        elif fixed.get(position):
            bind(node[position], INT8)
        else:
            saving = costs.saving_ms(position) - penalty.get(position, 0.0)
            capacity(FLOAT, node[position], -saving)
            capacity(node[position], INT8, saving)
    for at, crossing in enumerate(regions.crossings):
        ms = costs.conversion_ms(crossing) * doubt
        start, ends = node[crossing.start], {node[end] for end in crossing.ends}
        capacity(start, ("into", at), ms * costs.into)
        if crossing.start in closed:
            bind(("out of", at), start)
        else:
            capacity(("out of", at), start, ms * costs.out_of)
        for end in ends:
            bind(("into", at), end)
            bind(end, ("out of", at))
    inside = network.behind_the_cut()
    return frozenset(position for position in node if node[position] in inside)


class _Flow:
    """A flow from floating point to INT8: what is cut off from the one belongs to the other."""

    def __init__(self) -> None:
        import networkx as nx

        self._graph: Any = nx.DiGraph()
        self._graph.add_nodes_from((FLOAT, INT8))

    def capacity(self, a: Any, b: Any, ms: float) -> None:
        """Let the two be in different precisions for so many milliseconds more."""
        if ms > 0 and a != b:
            before = self._graph[a][b]["capacity"] if self._graph.has_edge(a, b) else 0
            self._graph.add_edge(a, b, capacity=before + round(ms * NANOSECONDS))

    def bind(self, a: Any, b: Any) -> None:
        """Never let the first be floating point where the second is INT8."""
        if a != b:
            self._graph.add_edge(a, b)  # without a capacity it is never cut

    def behind_the_cut(self) -> Collection[Any]:
        """Return what is INT8 where the cut is cheapest."""
        import networkx as nx

        _, (_, inside) = nx.minimum_cut(self._graph, FLOAT, INT8)
        return set(inside)
