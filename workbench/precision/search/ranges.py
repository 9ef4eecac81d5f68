"""The ways to choose the ranges that a search tries: every method, and the best one for each tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.calibration import no_range
from workbench.calibration import ranges as ranges_of
from workbench.graph.select import nodes
from workbench.names import METHODS
from workbench.precision.lowering import activation_tensors
from workbench.precision.plan import PrecisionPlan, Rule
from workbench.precision.sensitivity import local_noises

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from workbench.calibration import Samples, Statistics
    from workbench.precision.search.result import Trial
    from workbench.precision.search.trials import Trials

__all__ = ["CALIBRATED", "MIXED", "try_ways", "ways_to_choose"]

PERCENTILES = (99.9, 99.99, 99.999)

CALIBRATED = "as calibrated"
MIXED = "the best method for each tensor"


def ways_to_choose(trials: Trials, statistics: Statistics, samples: Samples, batch: int) -> dict[str, dict[str, float]]:
    """Return the ranges of every method, and those that take for each tensor the method of least local noise."""
    ways: dict[str, dict[str, float]] = {CALIBRATED: trials.ranges}
    for method in METHODS:
        for percentile in PERCENTILES if method == "percentile" else (99.99,):
            usable = {name: tensor for name, tensor in statistics.items() if no_range(tensor) is None}
            candidates = ranges_of(usable, method, percentile=percentile)
            name = f"{method} {percentile:g}" if method == "percentile" else method
            ways[name] = {**trials.ranges, **{tensor: chosen.amax for tensor, chosen in candidates.items()}}
    noise = local_noises(trials.model, trials.candidates, ways, samples, batch=batch, resolution=trials.resolution)
    mixed = dict(trials.ranges)
    for tensor, readers in _readers(trials).items():
        best = min(ways, key=lambda way: sum(noise[way][node] for node in readers))
        mixed[tensor] = ways[best][tensor]
    return {**ways, MIXED: mixed}


def try_ways(trials: Trials, ways: Mapping[str, dict[str, float]], demoted: Collection[str]) -> Trial:
    """Evaluate one plan with every way to choose ranges, and go on with the best."""
    trials_by_way = {}
    for way, these in ways.items():
        trials.ranges = these
        out = len(trials.slower.union(demoted))
        plan = f"{out} in floating point" if out else "everything in INT8"
        trials_by_way[way] = trials.without(demoted, f"{plan}, ranges: {way}")
    best = max(trials_by_way, key=lambda way: trials.merit(trials_by_way[way]))
    trials.ranges = ways[best]
    return trials_by_way[best]


def _readers(trials: Trials) -> dict[str, list[str]]:
    """Return the candidates that read each quantized tensor."""
    readers: dict[str, list[str]] = {}
    for node in trials.candidates:
        alone = PrecisionPlan(rules=(Rule(select=str(nodes(node)), precision="int8"),))
        for tensor in activation_tensors(trials.model, alone.resolve(trials.model)):
            readers.setdefault(tensor, []).append(node)
    return readers
