"""The precision of a network as a still picture: a strip along it, what each layer costs, and the front of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.names import PRECISIONS
from workbench.views.kit import Chart, precision_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from workbench.precision import FrontPoint, PrecisionRow
    from workbench.views.kit import Theme

__all__ = ["PrecisionChart", "draw_front", "draw_strip", "plain_ticks"]

UNITS = {"sqnr_db": "SQNR [dB]", "top1_drop": "top-1 drop\n[points]"}
"""Metrics of a search on an axis."""

WIDE = 4.0
"""Latencies that are so many times apart are drawn on a logarithmic scale."""
IDLE = 0.7
"""The foot of bars without work, to their height."""
DECADES = 100.0
"""Work that spans less has 1, 2 and 5 of each decade on its axis."""
NAMED = 5
"""How many of the most sensitive layers have their names in the picture, as far as there is room."""


@dataclass(frozen=True)
class PrecisionChart(Chart):
    """The plan along the network, and the plans that a search offers.

    Parameters
    ----------
    title, about
        The model, and the estimate in words.
    layers
        The rows that are layers.
    front, metric
        Plans of a search, cheapest first, and the name of what they were measured by.
    """

    title: str
    about: str
    layers: tuple[PrecisionRow, ...]
    front: tuple[FrontPoint, ...] = ()
    metric: str = ""

    @property
    def size(self) -> tuple[float, float]:
        return 9.0, 2.6 + 2.2 * bool(self._measured) + 2.4 * bool(self._quantized)

    @property
    def _measured(self) -> list[int]:
        return [i for i, row in enumerate(self.layers) if row.sqnr_db is not None and math.isfinite(row.sqnr_db)]

    @property
    def _quantized(self) -> list[FrontPoint]:
        """The front without the plan that quantizes nothing: its error, none, would flatten all others."""
        return [point for point in self.front if point.share]

    def draw(self, figure: Figure, colours: Theme) -> None:
        figure.suptitle(f"{self.title}\n{self.about}", color=colours.ink, fontsize=10, x=0.01, ha="left")
        heights = [1.0] + [1.5] * bool(self._measured) + [1.6] * bool(self._quantized)
        axes = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
        self._draw_strip(axes.pop(0), colours)
        if self._measured:
            self._draw_error(axes.pop(0), colours)
        if self._quantized:
            draw_front(axes.pop(0), self._quantized, self.metric, colours)

    def _draw_strip(self, axes: Axes, colours: Theme) -> None:
        draw_strip(
            axes, [(i, row.requested, row.gets, 100 * (row.macs or 0.0)) for i, row in enumerate(self.layers)], colours
        )
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel("share of\nMACs [%]")
        axes.set_xlim(-0.7, max(len(self.layers), 1) - 0.3)
        if not self._measured:
            axes.set_xlabel("layer, in the order they run")

    def _draw_error(self, axes: Axes, colours: Theme) -> None:
        low = sorted(self._measured, key=lambda i: self.layers[i].sqnr_db or 0.0)[:NAMED]
        for precision in PRECISIONS:
            at = [i for i in self._measured if self.layers[i].gets == precision]
            axes.plot(
                at, [self.layers[i].sqnr_db or 0.0 for i in at], "o", ms=4, color=precision_colour(precision, colours)
            )
        axes.margins(y=0.15)
        bottom, top = axes.get_ylim()
        named: list[int] = []
        for i in low:
            y = self.layers[i].sqnr_db or 0.0
            # A name beside another one is readable only where the two are apart.
            near = (j for j in named if abs(i - j) < 0.3 * len(self.layers))
            if any(abs(y - (self.layers[j].sqnr_db or 0.0)) < 0.09 * (top - bottom) for j in near):
                continue
            named.append(i)
            right = i > 0.7 * len(self.layers)
            axes.annotate(
                self.layers[i].node,
                (i, y),
                fontsize=7,
                color=colours.ink,
                xytext=(-6 if right else 6, 0),
                textcoords="offset points",
                va="center",
                ha="right" if right else "left",
            )
        axes.set_ylabel("SQNR alone\nin INT8 [dB]")
        axes.set_xlabel("layer, in the order they run; low hurts most")
        axes.set_xlim(-0.7, max(len(self.layers), 1) - 0.3)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", linewidth=0.5)


def draw_front(axes: Axes, front: Sequence[FrontPoint], metric: str, colours: Theme) -> list[Artist]:
    """Draw plans by what they cost and what they lose, and return the dot of each.

    Parameters
    ----------
    axes
        What to draw into.
    front
        Plans, cheapest first, hollow where another one beats them; without the one that quantizes nothing, whose error,
        none, would flatten all others.
    metric
        The name of what they were measured by.
    colours
        The theme.
    """
    rated = bool(front) and all(point.ratio is not None for point in front)  # by engines
    shares = [(point.ratio or 0.0) if rated else 100 * (point.share or 0.0) for point in front]
    figures = [point.figure for point in front]
    line = [at for at, point in enumerate(front) if not point.beaten]
    axes.plot([shares[at] for at in line], [figures[at] for at in line], "-", color=colours.line, zorder=1)
    if rated:
        errors = [point.error or 0.0 for point in front]
        axes.errorbar(shares, figures, xerr=errors, fmt="none", ecolor=colours.ink, capsize=3, lw=1, zorder=1)
        axes.axvline(1.0, color=colours.line, linewidth=1, linestyle=":")
    dots: list[Artist] = []
    labels = {True: "reaches the goal", False: "misses it"}
    for share, figure, point in zip(shares, figures, front, strict=True):
        colour = colours.good if point.passed else colours.bad
        label = labels.pop(point.passed, None)  # once
        fill = colours.paper if point.beaten else colour
        dots += axes.plot(share, figure, "o" if point.passed else "X", color=colour, mfc=fill, label=label)
    for share, figure, point in zip(shares, figures, front, strict=True):
        if point.chosen:
            axes.plot(share, figure, "o", ms=11, mfc="none", color=colours.accent, label="chosen")
    engine = "latency of the engine over floating point's (dotted), with its standard error"
    axes.set_xlabel(engine if rated else "MACs in INT8 [%], measured by the search")
    axes.set_ylabel(UNITS.get(metric, metric))
    if rated and max(shares) > WIDE * min(shares):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.05, y=0.2)
    axes.grid(linewidth=0.5)
    if not front:
        axes.text(0.5, 0.5, "nothing in INT8 is offered", ha="center", va="center", transform=axes.transAxes)
        return dots
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize=8, borderpad=0)
    return dots


def plain_ticks(axis: Axis) -> None:
    """Write 1, 2 and 5 of each decade of a short logarithmic axis, where the default would write 2 x 10^0."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def draw_strip(axes: Axes, nodes: Sequence[tuple[int, str, str, float]], colours: Theme) -> dict[int, Artist]:
    """Draw a bar a node, as high as its work is on a logarithmic scale, in the colour of its precision.

    Returns them, place to bar.

    Parameters
    ----------
    axes
        What to draw into.
    nodes
        Place, requested precision, the one it has, and its work; where the two differ the bar is hatched.
    colours
        The theme.
    """
    drawn: dict[int, Artist] = {}
    floor = 0.5 * min((work for *_, work in nodes if work > 0), default=1.0)
    for precision in PRECISIONS:
        for kept in (True, False):
            bars = {
                at: work or floor for at, asked, gets, work in nodes if gets == precision and (asked == gets) is kept
            }
            if bars:
                label = f"{precision}: {len(bars)}" if kept else f"{precision}, not as asked for: {len(bars)}"
                fill = precision_colour(precision, colours)
                bar = axes.bar([*bars], [*bars.values()], 0.9, label=label, color=fill, edgecolor=colours.paper)
                drawn.update(zip(bars, bar, strict=True))
                for patch in bar:
                    patch.set(linewidth=0, hatch="" if kept else "////")
    most = max((work for *_, work in nodes), default=0) or 1.0
    axes.set_yscale("log")
    idle = any(work <= 0 for *_, work in nodes)  # these stay in sight, too
    axes.set_ylim(floor * (IDLE if idle else 1.0), most * (most / floor) ** 0.05)
    if most < DECADES * floor:
        plain_ticks(axes.yaxis)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=6, frameon=False, fontsize=8, borderpad=0)
    return drawn
