"""What a placement costs: the time of each region in either precision, and of the conversions at every border.

The times come from measured engines. A layer's time belongs to the regions that it was made of. A layer that only
converts between INT8 and floating point, inside of the engine, is what a border costs; one that serves an input or an
output of the engine belongs to the region behind or before it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from workbench.display import counted
from workbench.engine import kind_of_layer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workbench.engine import EngineReport, FusionMap, Layer
    from workbench.precision.placement.regions import Crossing, Regions

__all__ = ["Observed", "PlacementCosts", "observed"]

FALLBACK_MS = 0.004
"""A conversion takes so long where no engine shows any: about what the smallest kernel of an H100 takes."""

FALLBACK_MS_A_MILLION = 0.003
"""And so long for a million elements more: 3 bytes each at 1 TB/s."""

LARGE = 1 << 17
"""Elements of a conversion from which its time tells of bandwidth; what smaller ones take is their start."""

PULL = 0.5
"""How much the expectation of a border's cost counts beside one measured engine with as many borders."""

LOWEST, HIGHEST = 0.2, 6.0
"""How far measured engines may change what a border is expected to cost."""


@dataclass(frozen=True)
class Observed:
    """What one measured engine tells.

    Parameters
    ----------
    int8
        Positions of the regions that are INT8 in it.
    times
        Position of a region to its milliseconds.
    border_ms
        Milliseconds of conversions between INT8 and floating point inside of the engine.
    moves
        Every conversion: elements and milliseconds.
    latency_ms
        Of one inference.
    """

    int8: frozenset[int]
    times: Mapping[int, float]
    border_ms: float
    moves: tuple[tuple[int, float], ...]
    latency_ms: float

    @property
    def profile_ms(self) -> float:
        """The sum of all layers."""
        return sum(self.times.values()) + self.border_ms


def observed(
    report: EngineReport, fusion: FusionMap, regions: Regions, int8: Collection[int], latency_ms: float
) -> Observed:
    """Read what an engine tells of regions and borders.

    Parameters
    ----------
    report, fusion
        The engine with its profile, and its map onto the model that `regions` are of.
    regions
        Of the model.
    int8
        Which of them are INT8 in it.
    latency_ms
        Of one inference.
    """
    readers: dict[str, list[Layer]] = defaultdict(list)
    makers: dict[str, Layer] = {}
    for layer in report.layers:
        for tensor in layer.inputs:
            readers[tensor.name].append(layer)
        for tensor in layer.outputs:
            makers[tensor.name] = layer
    owners = {
        layer.name: list(
            dict.fromkeys(regions.owner[n] for n in fusion.by_layer[layer.name].nodes if n in regions.owner)
        )
        for layer in report.layers
    }
    bound = {binding.name for binding in report.bindings}
    times: dict[int, float] = defaultdict(float)
    moves: list[tuple[int, float]] = []
    border = 0.0
    for layer in report.layers:
        spent = layer.typical_ms
        if not spent:
            continue
        owned = owners[layer.name]
        if kind_of_layer(layer) in {"reformat", "qdq"}:
            moves.append((_elements(layer), spent))
            outer = any(tensor.name in bound for tensor in (*layer.inputs, *layer.outputs))
            if not outer and _changes_int8(layer):
                border += spent
                continue
            owned = _served(layer, readers, makers, owners) or owned
        for position in owned:
            times[position] += spent / len(owned)
    return Observed(frozenset(int8), dict(times), border, tuple(moves), latency_ms)


def _served(
    layer: Layer,
    readers: Mapping[str, Sequence[Layer]],
    makers: Mapping[str, Layer],
    owners: Mapping[str, list[int]],
) -> list[int]:
    """Return the region behind a layer, else the one before it."""
    for behind in (reader for tensor in layer.outputs for reader in readers.get(tensor.name, ())):
        if owners[behind.name]:
            return owners[behind.name][:1]
    for tensor in layer.inputs:
        if tensor.name in makers and owners[makers[tensor.name].name]:
            return owners[makers[tensor.name].name][:1]
    return []


def _changes_int8(layer: Layer) -> bool:
    read, written = ({tensor.dtype for tensor in side} for side in (layer.inputs, layer.outputs))
    return ("int8" in read) != ("int8" in written)


def _elements(layer: Layer) -> int:
    dims = next((tensor.dims for tensor in (*layer.inputs, *layer.outputs) if tensor.dims), None)
    return math.prod(dims) if dims and all(size > 0 for size in dims) else 0


@dataclass(frozen=True)
class PlacementCosts:
    """Milliseconds of regions and borders, as far as engines have shown them.

    Parameters
    ----------
    regions
        Of the model.
    floating, int8
        Position of a region to its milliseconds.
    start_ms, ms_an_element
        A conversion takes so long, and so long for each element.
    into, out_of
        By what the conversions into INT8 and out of it are dearer than that: 1 until engines with borders were
        measured.
    closed
        Positions of the regions that no kernel computes in INT8 where what reads them is floating point.
    scale, scale_int8
        Latency over the sum of all layers, of engines in floating point and in INT8. Launches of kernels hide some of
        the layers' time, and not as much in one as in the other.
    """

    regions: Regions
    floating: Mapping[int, float]
    int8: Mapping[int, float]
    start_ms: float
    ms_an_element: float
    into: float = 1.0
    out_of: float = 1.0
    scale: float = 1.0
    scale_int8: float = 1.0
    engines: tuple[Observed, ...] = field(default=(), repr=False)
    closed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, regions: Regions, engines: Sequence[Observed], closed: frozenset[int] = frozenset()) -> PlacementCosts:
        """Learn from engines: one in floating point and one all in INT8 at least.

        A region's time in a precision is the mean over the engines in which its neighbours have that precision too;
        where there is none, over all that have it so. What regions at borders take beyond that, and the conversions
        between them, is what borders cost.
        """
        moves = [move for engine in engines for move in engine.moves]
        start, each = _line(moves)
        floating, int8 = (_means(regions, engines, in_int8=in_int8) for in_int8 in (False, True))
        ends = [[one for one in engines if bool(one.int8) == in_int8 and one.profile_ms] for in_int8 in (False, True)]
        wholes = [[one for one in end if len(one.int8) in (0, len(regions.all))] or end or engines for end in ends]
        scale, scale_int8 = (float(np.mean([one.latency_ms / one.profile_ms for one in whole])) for whole in wholes)
        plain = cls(regions, floating, int8, start, each, 1.0, 1.0, scale, scale_int8, tuple(engines), closed)
        into, out_of = plain._factors()
        return replace(plain, into=into, out_of=out_of)

    def conversion_ms(self, crossing: Crossing) -> float:
        """Return what converting a tensor is expected to take."""
        return self.start_ms + self.ms_an_element * crossing.elements

    def border_parts(self, int8: Collection[int]) -> tuple[float, float]:
        """Return what conversions into INT8 and out of it are expected to take by an assignment."""
        inside = set(int8)
        into = out_of = 0.0
        for crossing in self.regions.crossings:
            read = {end in inside for end in crossing.ends}
            if crossing.start in inside and False in read:
                out_of += self.conversion_ms(crossing)
            elif crossing.start not in inside and True in read:
                into += self.conversion_ms(crossing)
        return into, out_of

    def has_kernels(self, int8: Collection[int]) -> bool:
        """Say whether no region is INT8 that is known to have no kernel beside what is floating point."""
        inside = set(int8)
        starts = (crossing for crossing in self.regions.crossings if crossing.start in self.closed & inside)
        return all(inside.issuperset(crossing.ends) for crossing in starts)

    def border_ms(self, int8: Collection[int]) -> float:
        """Return what all borders of an assignment cost."""
        into, out_of = self.border_parts(int8)
        return self.into * into + self.out_of * out_of

    def regions_ms(self, int8: Collection[int]) -> float:
        """Return what all regions of an assignment cost, without their borders."""
        inside = set(int8)
        return sum((self.int8 if p in inside else self.floating).get(p, 0.0) for p in range(len(self.regions.all)))

    def latency_ms(self, int8: Collection[int]) -> float:
        """Return the latency that is expected of an assignment."""
        inside = sum(self.int8.get(position, 0.0) for position in int8)
        regions = self.regions_ms(int8)
        share = inside / regions if regions else 0.0
        scale = (1 - share) * self.scale + share * self.scale_int8
        return scale * (regions + self.border_ms(int8))

    def saving_ms(self, position: int) -> float:
        """Return what INT8 saves on a region, without its borders."""
        return self.floating.get(position, 0.0) - self.int8.get(position, 0.0)

    def sentences(self) -> tuple[str, ...]:
        """Say what regions save and borders cost."""
        savings = [self.saving_ms(position) for position in self.regions.able]
        saved, lost = (sum(max(sign * each, 0.0) for each in savings) for sign in (1, -1))
        slope = 1e6 * self.ms_an_element
        of_regions = (
            f"{counted(len(savings), 'region')} can be INT8: saving {saved:.4f} ms in some, losing {lost:.4f} in others"
        )
        of_borders = f"a conversion takes {self.start_ms:.4f} ms and {slope:.4f} ms a million numbers"
        both = (of_regions, f"{of_borders}, times {self.into:.2f} into INT8 and {self.out_of:.2f} out of it")
        closed = [self.regions.all[position].name for position in sorted(self.closed)]
        return (*both, f"no kernel in INT8 before floating point: {', '.join(closed)}") if closed else both

    def _factors(self) -> tuple[float, float]:
        """Fit by what borders are dearer than expected, drawn to 1 where few were seen (ridge regression)."""
        rows, seen = [], []
        for engine in self.engines:
            into, out_of = self.border_parts(engine.int8)
            if into + out_of:
                rows.append((into, out_of))
                inside_ms = self.regions_ms(engine.int8)
                seen.append(max(engine.profile_ms - inside_ms, 0.0))
        if not rows:
            return 1.0, 1.0
        table, borders_ms = np.array(rows), np.array(seen)
        pull = PULL * max(float((table**2).sum(axis=1).mean()), 1e-12) / 2
        fitted = np.linalg.solve(table.T @ table + pull * np.eye(2), table.T @ borders_ms + pull)
        into, out_of = np.clip(fitted, LOWEST, HIGHEST)
        return float(into), float(out_of)


def _means(regions: Regions, engines: Sequence[Observed], *, in_int8: bool) -> dict[int, float]:
    near: dict[int, set[int]] = defaultdict(set)
    for crossing in regions.crossings:
        for end in crossing.ends:
            near[crossing.start].add(end)
            near[end].add(crossing.start)
    means = {}
    for position in range(len(regions.all)):
        having = [engine for engine in engines if (position in engine.int8) == in_int8]
        inner = [engine for engine in having if all((other in engine.int8) == in_int8 for other in near[position])]
        times = [engine.times.get(position, 0.0) for engine in inner or having]
        if times:
            means[position] = sum(times) / len(times)
    return means


def _line(moves: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return what a conversion takes whatever it converts, and for each element: the line under all that were seen."""
    if not moves:
        return FALLBACK_MS, FALLBACK_MS_A_MILLION / 1e6
    start = min(spent for _, spent in moves)
    slopes = [(spent - start) / elements for elements, spent in moves if elements >= LARGE and spent > start]
    return start, float(np.median(slopes)) if slopes else FALLBACK_MS_A_MILLION / 1e6
