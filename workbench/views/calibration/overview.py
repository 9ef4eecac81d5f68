"""Many tensors at once: small multiples of their distributions, and a table to sort."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.views.calibration.histogram import draw_histogram, histogram_of
from workbench.views.kit import Chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.calibration import Range, Statistics
    from workbench.views.kit import Theme

__all__ = ["OverviewChart", "Small", "overview_chart"]

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
