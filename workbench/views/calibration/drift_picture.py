"""Two sample sets against each other: what in the field was not represented in calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration import cumulated, drift_table, drifts
from workbench.views.calibration.histogram import histogram_of
from workbench.views.kit import OKABE_ITO, Chart

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.calibration import Drift, Range, Statistics
    from workbench.views.kit import Theme

__all__ = ["DriftChart", "drift_chart"]

FIRST, SECOND = OKABE_ITO["blue"], OKABE_ITO["orange"]


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

    def table(self) -> pd.DataFrame:
        """Return one row a tensor, worst first."""
        return drift_table(list(self.drifts))

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
    """Gather what the comparison of two sample sets shows; see `workbench.calibration.drifts` for the parameters.

    Parameters
    ----------
    first, second, ranges
        As for `drifts`.
    labels
        What the two sets are called.
    """
    shifts = drifts(first, second, ranges)
    worst = None
    if shifts:
        name = next((d.name for d in shifts if d.warning), shifts[0].name)
        a, b = first[name], second[name]
        spans = [histogram_of(t, 1)[0] for t in (a, b)]
        edges = np.linspace(min(s[0] for s in spans), max(s[-1] for s in spans), 121)
        shares = [np.diff(cumulated(t, np.append(edges[:-1], edges[-1] * (1 + 1e-9)))) for t in (a, b)]
        worst = (name, edges, shares[0], shares[1], ranges[name].amax)
    return DriftChart(tuple(shifts), labels, worst)
