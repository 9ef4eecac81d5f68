"""Many tensors at once: small multiples of their distributions, and a table to sort."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.calibration import Range, Statistics, Target, no_range, ranges
from workbench.names import METHODS
from workbench.views.calibration.histogram import draw_histogram, histogram_of
from workbench.views.kit import Chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.calibration import TensorStatistics
    from workbench.views.kit import Theme

__all__ = ["OverviewChart", "Small", "calibration_table", "overview_chart"]

COLUMNS = 4


@dataclass(frozen=True)
class Small:
    """One of the small pictures: a tensor, its histogram and its range."""

    name: str
    edges: NDArray[np.float64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    chosen: Range


@dataclass(frozen=True)
class OverviewChart(Chart):
    """Distributions of many tensors, each on its own axis, with what its range clips shaded.

    Attributes
    ----------
    smalls
        The pictures, row by row.
    left_out
        How many tensors are not shown.
    """

    smalls: tuple[Small, ...]
    left_out: int = 0

    @property
    def size(self) -> tuple[float, float]:
        rows = -(-max(len(self.smalls), 1) // COLUMNS)
        return 9.0, 0.7 + 1.35 * rows

    def draw(self, figure: Figure, colours: Theme) -> None:
        rows = -(-max(len(self.smalls), 1) // COLUMNS)
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in grid[len(self.smalls) :]:
            axes.set_axis_off()
        for axes, small in zip(grid, self.smalls, strict=False):
            draw_histogram(axes, small.edges, small.counts)
            for sign in (-1, 1):
                if small.edges[0] <= sign * small.chosen.amax <= small.edges[-1]:
                    axes.axvline(sign * small.chosen.amax, color=colours.accent, linewidth=1)
                    outer = small.edges[-1] if sign > 0 else small.edges[0]
                    axes.axvspan(sign * small.chosen.amax, outer, color=colours.unknown, alpha=0.35, linewidth=0)
            name = small.name if len(small.name) <= 26 else f"...{small.name[-23:]}"
            axes.set_title(
                f"{name}\n{small.chosen.sqnr_db:.1f} dB, {100 * small.chosen.clipped:.2g}% clipped",
                fontsize=7,
                loc="left",
            )
            axes.tick_params(labelsize=6, length=2)
            axes.set_yticks([])
            axes.minorticks_off()
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
        text = "values seen (logarithmic) by value; the line is the range, what it clips is shaded"
        figure.supxlabel(
            text + (f"; {self.left_out} tensors more" if self.left_out else ""), fontsize=8, color=colours.muted
        )


def overview_chart(
    statistics: Statistics, chosen: Mapping[str, Range], tensors: Sequence[str] | None = None, *, limit: int = 24
) -> OverviewChart:
    """Gather the small pictures.

    Parameters
    ----------
    statistics, chosen
        What calibration saw, and the ranges in force.
    tensors
        Which ones, in this order; those of lowest SQNR first where left out.
    limit
        At most so many.
    """
    names = list(tensors) if tensors is not None else sorted(chosen, key=lambda name: chosen[name].sqnr_db)
    shown = names[:limit]
    smalls = tuple(Small(name, *histogram_of(statistics[name], 96), chosen[name]) for name in shown)
    return OverviewChart(smalls, len(names) - len(shown))


def calibration_table(
    statistics: Statistics,
    chosen: Mapping[str, Range] | None = None,
    *,
    target: Target = "int8",
    percentile: float = 99.99,
) -> pd.DataFrame:
    """Return one row a tensor, to be sorted and filtered.

    Parameters
    ----------
    statistics
        What calibration saw.
    chosen
        The ranges in force; those of least mean squared error where left out.
    target, percentile
        As for `workbench.calibration.methods.ranges`.

    Returns
    -------
    DataFrame
        Indexed by tensor, in the order of the statistics:

        ``range``, ``sqnr_db``, ``clipped``
            The threshold in force, its predicted SQNR in dB and the fraction of values it clips.
        ``minmax``, ``percentile``, ``entropy``, ``mse``
            The threshold of each method.
        ``disagreement``
            The largest of these four divided by the smallest: near 1 where the choice does not matter.
        ``outlier_ratio``
            The largest magnitude divided by the one that `percentile` percent do not exceed.
        ``minimum``, ``maximum``, ``mean``
            Of the finite values.
        ``zero_fraction``
            Fraction of the values that are 0.
        ``dead_channels``
            Channels in which nothing but one value was ever seen; missing where channels were not observed.
        ``values``
            How many were seen.
    """
    import pandas as pd

    statistics = Statistics({name: tensor for name, tensor in statistics.items() if no_range(tensor) is None})
    found = {m: ranges(statistics, m, target=target, percentile=percentile) for m in METHODS}
    chosen = chosen or found["mse"]
    rows = []
    for name, tensor in statistics.items():
        by_method = {str(m): found[m][name].amax for m in METHODS}
        thresholds = list(by_method.values())
        rows.append(
            {
                "tensor": name,
                "range": chosen[name].amax,
                "sqnr_db": chosen[name].sqnr_db,
                "clipped": chosen[name].clipped,
                **by_method,
                "disagreement": max(thresholds) / min(thresholds),
                "outlier_ratio": by_method["minmax"] / by_method["percentile"],
                "minimum": tensor.minimum,
                "maximum": tensor.maximum,
                "mean": tensor.mean,
                "zero_fraction": tensor.zeros / tensor.values,  # noqa: PD011 - not a DataFrame
                "dead_channels": _dead(tensor),
                "values": tensor.values,  # noqa: PD011
            }
        )
    columns = ["tensor", "range", "sqnr_db", "clipped", *METHODS, "disagreement", "outlier_ratio", "minimum", "maximum"]
    columns += ["mean", "zero_fraction", "dead_channels", "values"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns).set_index("tensor").astype({"dead_channels": "Int64"})
    return table


def _dead(tensor: TensorStatistics) -> int | None:
    if tensor.channels is None:
        return None
    return int((tensor.channels.minimum == tensor.channels.maximum).sum())
