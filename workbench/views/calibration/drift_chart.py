"""Two sample sets against each other: what in the field was not represented in calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workbench.views.calibration.histogram import histogram_of
from workbench.views.kit import OKABE_ITO, Chart

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.calibration import Range, Statistics, TensorStatistics
    from workbench.views.kit import Theme

__all__ = ["Drift", "DriftChart", "drift_chart", "drift_table", "drifts"]

FIRST, SECOND = OKABE_ITO["blue"], OKABE_ITO["orange"]


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
    from workbench.calibration import at

    result = []
    for name in first.keys() & second.keys() & ranges.keys():
        a, b, amax = first[name], second[name], ranges[name].amax
        ratio = b.amax / a.amax if a.amax else (1.0 if not b.amax else float("inf"))
        result.append(Drift(name, _distance(a, b), ratio, at(b, amax).clipped, at(a, amax).clipped))
    return sorted(result, key=lambda d: (-d.score, d.name))


def _distance(a: TensorStatistics, b: TensorStatistics) -> float:
    edges = np.union1d(a.edges, b.edges)
    points = np.concatenate([-edges[::-1], edges])
    return float(np.abs(_cumulated(a, points) - _cumulated(b, points)).max())


def _cumulated(tensor: TensorStatistics, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of values below each point, zeros lying at 0."""
    positive, negative = (np.append(0, side.cumsum()) for side in tensor.counts)
    below = negative[-1] - np.interp(-points, tensor.edges, negative)
    above = negative[-1] + tensor.zeros + tensor.tiny + np.interp(points, tensor.edges, positive)
    return np.asarray(np.where(points > 0, above, below) / max(tensor.finite, 1))


@dataclass(frozen=True)
class DriftChart(Chart):
    """Scores of the tensors that differ most, and the worst of them in both sets.

    Attributes
    ----------
    drifts
        Worst first.
    labels
        What the two sets are called.
    worst
        One tensor, edges, densities of both sets and its range: the worst of those whose range does not hold, or of
        all.
    """

    drifts: tuple[Drift, ...]
    labels: tuple[str, str]
    worst: tuple[str, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float] | None = field(repr=False)

    @property
    def warnings(self) -> list[str]:
        """Where evaluation leaves the calibrated ranges."""
        return [d.warning for d in self.drifts if d.warning is not None]

    @property
    def size(self) -> tuple[float, float]:
        return 9.0, max(3.2, 1.5 + 0.24 * min(len(self.drifts), 16))

    def draw(self, figure: Figure, colours: Theme) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
        shown = self.drifts[:16]
        places = np.arange(len(shown))
        left.barh(places, [d.score for d in shown], color=[colours.bad if d.warning else FIRST for d in shown])
        for place, d in zip(places, shown, strict=True):
            left.text(d.score + 0.02, place, f"{d.outside:.2%} out" if d.warning else "", va="center", fontsize=7)
        left.set_yticks(places, [d.name if len(d.name) <= 28 else f"...{d.name[-25:]}" for d in shown], fontsize=7)
        left.set_ylim(len(shown) - 0.4, -0.6)
        left.set_xlim(0, 1.15)
        left.set_xlabel("drift score (Kolmogorov-Smirnov)")
        count = len(self.warnings)
        left.set_title(
            f"worst of {len(self.drifts)} tensors; {count} outside their range"
            if count
            else f"worst of {len(self.drifts)} tensors",
            fontsize=9,
            loc="left",
            color=colours.bad if count else colours.ink,
        )
        self._draw_worst(right, colours)

    def _draw_worst(self, axes: Axes, colours: Theme) -> None:
        if self.worst is None:
            axes.set_axis_off()
            return
        name, edges, one, two, amax = self.worst
        for values, color, label in ((one, FIRST, self.labels[0]), (two, SECOND, self.labels[1])):
            axes.stairs(values, edges, color=color, label=label, linewidth=1.4)
        signs = [s for s in (-1, 1) if edges[0] <= s * amax <= edges[-1]]
        for i, sign in enumerate(signs):
            axes.axvline(sign * amax, color=colours.accent, linestyle="--", label=None if i else "calibrated range")
        axes.set_yscale("log")
        axes.set_xlabel(f"value of {name}")
        axes.set_ylabel("share of values a bin")
        axes.legend(fontsize=8)


def drift_chart(
    first: Statistics,
    second: Statistics,
    ranges: Mapping[str, Range],
    *,
    labels: tuple[str, str] = ("calibration", "evaluation"),
) -> DriftChart:
    """Gather what the comparison of two sample sets shows; see `drifts` for the parameters.

    Parameters
    ----------
    first, second, ranges
        As for `drifts`.
    labels
        What the two sets are called.
    """
    found = drifts(first, second, ranges)
    worst = None
    if found:
        name = next((d.name for d in found if d.warning), found[0].name)
        a, b = first[name], second[name]
        spans = [histogram_of(t, 1)[0] for t in (a, b)]
        edges = np.linspace(min(s[0] for s in spans), max(s[-1] for s in spans), 121)
        shares = [np.diff(_cumulated(t, np.append(edges[:-1], edges[-1] * (1 + 1e-9)))) for t in (a, b)]
        worst = (name, edges, shares[0], shares[1], ranges[name].amax)
    return DriftChart(tuple(found), labels, worst)


def drift_table(found: list[Drift]) -> pd.DataFrame:
    """Return one row a tensor, the worst first."""
    import pandas as pd

    columns = ["tensor", "score", "amax_ratio", "outside", "outside_calibration", "warning"]
    rows = [(d.name, d.score, d.amax_ratio, d.outside, d.outside_calibration, d.warning) for d in found]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns).set_index("tensor")
    return table
