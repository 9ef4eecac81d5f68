"""Two sample sets against each other: what in the field was not represented in calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration.methods import at

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from workbench.calibration.methods import Range
    from workbench.calibration.statistics import Statistics, TensorStatistics

__all__ = ["Drift", "cumulated", "drift_table", "drifts"]


@dataclass(frozen=True)
class Drift:
    """How far one tensor's values in a second sample set are from those in the first.

    Attributes
    ----------
    name
        The tensor.
    score
        0 where the two distributions are alike, 1 where no value of one lies among those of the other: the largest
        difference of their cumulated distributions (the Kolmogorov-Smirnov statistic), from the histograms.
    amax_ratio
        Largest magnitude of the second set divided by that of the first.
    outside
        Fraction of the second set's values beyond the calibrated range.
    outside_calibration
        The same of the first set: what calibration chose to clip.
    """

    name: str
    score: float
    amax_ratio: float
    outside: float
    outside_calibration: float

    @property
    def warning(self) -> str | None:
        """A sentence where the range does not hold for the second set; None where it does."""
        # A tenth of a percent clipped, and ten times what was chosen to be: well beyond the noise of either set.
        if self.outside <= max(1e-3, 10 * self.outside_calibration):
            return None
        return (
            f"{self.name}: {self.outside:.2%} of the values lie outside the calibrated range "
            f"({self.outside_calibration:.2%} in calibration), the largest is {self.amax_ratio:.1f} times as large"
        )


def drifts(first: Statistics, second: Statistics, ranges: Mapping[str, Range]) -> list[Drift]:
    """Compare two sample sets tensor by tensor, the worst first.

    Parameters
    ----------
    first
        What calibration saw.
    second
        What was seen of the other samples.
    ranges
        The calibrated ranges; tensors that are in all three are compared.
    """
    result = []
    for name in first.keys() & second.keys() & ranges.keys():
        a, b, amax = first[name], second[name], ranges[name].amax
        ratio = b.amax / a.amax if a.amax else (1.0 if not b.amax else float("inf"))
        result.append(Drift(name, _distance(a, b), ratio, at(b, amax).clipped, at(a, amax).clipped))
    return sorted(result, key=lambda d: (-d.score, d.name))


def _distance(a: TensorStatistics, b: TensorStatistics) -> float:
    edges = np.union1d(a.edges, b.edges)
    points = np.concatenate([-edges[::-1], edges])
    return float(np.abs(cumulated(a, points) - cumulated(b, points)).max())


def cumulated(tensor: TensorStatistics, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of values below each point, zeros lying at 0."""
    positive, negative = (np.append(0, side.cumsum()) for side in tensor.counts)
    below = negative[-1] - np.interp(-points, tensor.edges, negative)
    above = negative[-1] + tensor.zeros + tensor.tiny + np.interp(points, tensor.edges, positive)
    return np.asarray(np.where(points > 0, above, below) / max(tensor.finite, 1))


def drift_table(drifts: list[Drift]) -> pd.DataFrame:
    """Return one row a tensor, the worst first."""
    import pandas as pd

    columns = ["tensor", "score", "amax_ratio", "outside", "outside_calibration", "warning"]
    rows = [(d.name, d.score, d.amax_ratio, d.outside, d.outside_calibration, d.warning) for d in drifts]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns).set_index("tensor")
    return table
