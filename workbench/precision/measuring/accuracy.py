"""How far INT8 may go: the accuracy of placements on ONNX Runtime, and what regions are charged for their error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.precision.placement import cheapest
from workbench.precision.sensitivity import quick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.calibration import Samples
    from workbench.precision.placement import PlacementCosts, Regions
    from workbench.precision.search import Trial, Trials

__all__ = ["NoisePrice"]

FIRST = 0.1
"""The first price: all noise together costs this share of what INT8 saves."""
GROWTH = 4.0
STEPS, REFINED = 8, 3
"""Prices tried until one is high enough, and then between it and the one before."""


class NoisePrice:
    """Evaluates placements, and finds the price of noise at which the cheapest one reaches the goal.

    Parameters
    ----------
    trials
        Evaluates plans on all samples.
    regions
        Of the model.
    samples, batch
        What sensitivity is estimated on.
    """

    def __init__(self, trials: Trials, regions: Regions, samples: Samples, batch: int) -> None:
        self._trials, self._regions, self._samples, self._batch = trials, regions, samples, batch
        self._noise: dict[str, float] | None = None
        self._price = 0.0

    def of(self, int8: frozenset[int], move: str) -> Trial:
        """Return what a placement comes to; never evaluated twice."""
        inside = self._regions.nodes_of(int8)
        return self._trials.without([node for node in self._trials.candidates if node not in inside], move)

    def penalty(self, costs: PlacementCosts) -> dict[int, float]:
        """Return what each region is charged in milliseconds, so that the cheapest placement reaches the goal.

        Nothing where INT8 everywhere reaches it: less of it then does too, or is found out when it is evaluated.
        """
        if self.of(frozenset(self._regions.able), "all in INT8").passed:
            return {}
        noise = self._of_regions()
        saving = sum(max(costs.saving_ms(position), 0.0) for position in self._regions.able)
        low, high = 0.0, self._price or FIRST * saving / (sum(noise.values()) or 1.0)
        for _ in range(STEPS):
            if self._holds(costs, noise, high):
                break
            low, high = high, high * GROWTH
        for _ in range(0 if self._price else REFINED):
            middle = (low * high) ** 0.5 if low else high / GROWTH
            low, high = (low, middle) if self._holds(costs, noise, middle) else (middle, high)
        self._price = high
        return {position: high * each for position, each in noise.items()}

    def _holds(self, costs: PlacementCosts, noise: Mapping[int, float], price: float) -> bool:
        charged = {position: price * each for position, each in noise.items()}
        int8 = cheapest(costs, penalty=charged, shared=False) & frozenset(self._regions.able)
        return self.of(int8, "the cheapest at a price of noise").passed

    def _of_regions(self) -> Mapping[int, float]:
        if self._noise is None:
            trials = self._trials
            about = (trials.model, trials.candidates, trials.ranges, self._samples)
            sensitivity = quick(*about, batch=self._batch, resolution=trials.resolution)
            self._noise = {error.node: error.noise for error in sensitivity.errors}
        noise = self._noise
        return {
            position: sum(noise.get(node, 0.0) for node in self._regions.all[position].able)
            for position in self._regions.able
        }
