"""The distribution of one tensor, with what each threshold would clip and cost; and the same before and after Q/DQ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration import Range, at, levels, ranges
from workbench.names import METHODS, Quantized
from workbench.views.kit import OKABE_ITO, Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.calibration import TensorStatistics
    from workbench.views.kit import Theme

__all__ = [
    "DistributionChart",
    "QuantizedChart",
    "distribution_chart",
    "draw_histogram",
    "histogram_of",
    "quantized_chart",
]

_LOOKS: tuple[tuple[str, tuple[float, ...]], ...] = (
    (OKABE_ITO["vermillion"], (1, 1.2)),
    (OKABE_ITO["green"], (5, 2)),
    (OKABE_ITO["purple"], (6, 1.5, 1, 1.5)),
    (OKABE_ITO["orange"], ()),
    (OKABE_ITO["blue"], (2, 2)),
    (OKABE_ITO["yellow"], (8, 1, 2, 1)),
)
STYLES: dict[str, tuple[str, tuple[float, ...]]] = dict(zip(METHODS, _LOOKS, strict=False))
"""Colour of each method's line and the lengths of its dashes and gaps in line widths, none for a solid line."""
BARS = OKABE_ITO["sky"]
_BINS = 200
"""Of the picture of a tensor before and after quantization."""


def histogram_of(tensor: TensorStatistics, bins: int = 256) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return equal bins over all that was seen, and how many values lie in each.

    Parameters
    ----------
    tensor
        What calibration saw.
    bins
        How many.

    Returns
    -------
    edges
        float64 array (bins + 1,), from the minimum (at most 0) to the maximum (at least 0).
    counts
        float64 array (bins,): counts spread evenly over the statistics' finer bins; zeros lie in the bin of 0.
    """
    low, high = (min(tensor.minimum, 0.0), max(tensor.maximum, 0.0)) if tensor.finite else (0.0, 0.0)
    if low == high:
        low, high = -1.0, 1.0
    edges = np.linspace(low, high, bins + 1)
    positive, negative = (np.append(0, side.cumsum()) for side in tensor.counts)
    below = np.where(
        edges > 0,
        negative[-1] + np.interp(edges, tensor.edges, positive),
        negative[-1] - np.interp(-edges, tensor.edges, negative),
    ).astype(np.float64)
    below[0], below[-1] = 0, negative[-1] + positive[-1]
    counts = np.diff(below)
    counts[min(int(np.searchsorted(edges, 0.0, side="right")) - 1, bins - 1)] += tensor.zeros + tensor.tiny
    return edges, np.asarray(counts)


def draw_histogram(axes: Axes, edges: NDArray[np.float64], counts: NDArray[np.float64], **style: Any) -> None:
    """Draw counts on a logarithmic axis."""
    axes.stairs(np.maximum(counts, 0.1), edges, fill=True, color=BARS, baseline=0.1, **style)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set_xlim(edges[0], edges[-1])


@dataclass(frozen=True)
class DistributionChart(Chart):
    """How often each value was seen, and where each method would clip.

    Attributes
    ----------
    name
        The tensor.
    edges, counts
        Equal bins, see `histogram_of`.
    ranges
        Thresholds to compare.
    chosen
        The threshold in force; what it clips is shaded.
    seen
        A line on what the picture is of.
    """

    name: str
    edges: NDArray[np.float64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    ranges: tuple[Range, ...]
    chosen: Range
    seen: str

    @property
    def size(self) -> tuple[float, float]:
        return 8.0, 4.6

    def draw(self, figure: Figure, colours: Theme) -> None:
        axes = figure.subplots()
        draw_histogram(axes, self.edges, self.counts)
        widest = max([r.amax for r in self.ranges] + [self.chosen.amax])
        low = min(self.edges[0], -widest if self.edges[0] < 0 else self.edges[0])
        high = max(self.edges[-1], widest if self.edges[-1] > 0 else self.edges[-1])
        margin = 0.02 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        signs = [s for s in (-1, 1) if (self.edges[0] < 0 if s < 0 else self.edges[-1] > 0)]
        for sign in signs:
            outer = (high if sign > 0 else -low) + margin
            if self.chosen.amax < outer:
                axes.axvspan(sign * self.chosen.amax, sign * outer, color=colours.unknown, alpha=0.35, linewidth=0)
        shown = list(self.ranges)
        if self.chosen not in shown:
            shown.append(self.chosen)
        for r in shown:
            color, dashes = STYLES.get(r.method, (colours.ink, ()))
            width = 2.2 if r == self.chosen else 1.4
            for i, sign in enumerate(signs):
                axes.axvline(
                    sign * r.amax,
                    color=color,
                    linestyle=(0, dashes) if dashes else "solid",
                    linewidth=width,
                    label=self._row(r) if i == 0 else None,
                )
        axes.set_xlabel(f"value of {self.name}")
        axes.set_ylabel("values seen")
        axes.set_title(self.seen, fontsize=9, loc="left", color=colours.muted)
        axes.grid(axis="y", linewidth=0.5)
        axes.set_axisbelow(True)
        step = "step" if self.chosen.target == "int8" else "scale"
        # Six blanks are as wide as the lines drawn before the rows.
        header = f"{'':6}{'method':11}{'threshold':>11}{'clipped':>11}{step:>11}{'SQNR':>10}   shaded: clipped by *"
        legend = figure.legend(
            loc="outside lower left",
            prop={"family": "monospace", "size": 8},
            title=_fixed(header),
            title_fontproperties={"family": "monospace", "size": 8},
            frameon=False,
            alignment="left",
            handlelength=2.84,
        )
        legend.get_title().set_color(colours.muted)

    def _row(self, r: Range) -> str:
        mark = "*" if r == self.chosen else ""
        return _fixed(f"{r.method + mark:11}{r.amax:>11.4g}{r.clipped:>11.3%}{r.scale:>11.3g}{r.sqnr_db:>7.1f} dB")


def _fixed(text: str) -> str:
    """Return a text whose blanks stay as many as they are: SVG makes one of several."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def distribution_chart(
    name: str,
    tensor: TensorStatistics,
    *,
    chosen: Range | None = None,
    target: Quantized = "int8",
) -> DistributionChart:
    """Gather what the picture of one tensor's distribution shows.

    Parameters
    ----------
    name, tensor
        The tensor and what calibration saw of it.
    chosen
        The range in force; that of least mean squared error where left out.
    target
        The grid to quantize to.

    Raises
    ------
    SamplesError
        If the tensor held NaN or infinities, or no value was seen.
    """
    by_method = tuple(ranges({name: tensor}, m, target=target)[name] for m in METHODS)
    edges, counts = histogram_of(tensor)
    zeros = tensor.zeros / tensor.values
    seen = f"{tensor.values:,} values of {tensor.samples:,} samples, {zeros:.1%} zero, {target.upper()}"
    return DistributionChart(name, edges, counts, by_method, chosen or by_method[METHODS.index("mse")], seen)


@dataclass(frozen=True)
class QuantizedChart(Chart):
    """A tensor before and after quantization, and which magnitudes the error comes from.

    Attributes
    ----------
    name
        The tensor.
    chosen
        The range it is quantized with.
    edges, counts
        Magnitudes seen: equal bins, zeros left out.
    grid, masses
        The levels of the target, and how many values land on each.
    noise
        Share of the squared error that the values of each bin make.
    """

    name: str
    chosen: Range
    edges: NDArray[np.float64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    grid: NDArray[np.float64] = field(repr=False)
    masses: NDArray[np.float64] = field(repr=False)
    noise: NDArray[np.float64] = field(repr=False)

    @property
    def size(self) -> tuple[float, float]:
        return 8.0, 4.8

    def draw(self, figure: Figure, colours: Theme) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        width = np.diff(self.edges)
        draw_histogram(top, self.edges, self.counts / width, label="before: density of magnitudes")
        ends = np.concatenate([[0], (self.grid[1:] + self.grid[:-1]) / 2, [self.grid[-1] + self.chosen.scale / 2]])
        top.stairs(
            self.masses / np.diff(ends),
            ends,
            color=colours.ink,
            linewidth=1,
            label="after: mass of each level, over its cell",
        )
        density = np.concatenate([self.counts / width, self.masses / np.diff(ends)])
        top.set_ylim(density[density > 0].min() / 2 if (density > 0).any() else 0.5, density.max() * 4 + 1)
        top.set_ylabel("values per unit")
        top.legend(fontsize=8, loc="upper center")
        top.set_title(
            f"threshold {self.chosen.amax:.4g} ({self.chosen.method}): {self.chosen.sqnr_db:.1f} dB SQNR, "
            f"{self.chosen.clipped:.3%} clipped, {self.chosen.target.upper()}",
            fontsize=9,
            loc="left",
        )
        clipped = self.edges[:-1] >= self.chosen.amax
        for part, color, text in ((~clipped, BARS, "rounding"), (clipped, OKABE_ITO["vermillion"], "clipping")):
            share = self.noise[part].sum()
            bottom.bar(
                self.edges[:-1][part],
                self.noise[part],
                width[part],
                align="edge",
                color=color,
                label=f"{text}: {share:.0%}",
            )
        for axes in (top, bottom):
            axes.axvline(self.chosen.amax, color=colours.accent, linewidth=1.2)
        bottom.set_ylabel("share of error")
        bottom.set_xlabel(f"magnitude of {self.name}")
        bottom.legend(fontsize=8, loc="upper center", title="squared error by", title_fontsize=8)
        bottom.set_xlim(0, max(self.edges[-1], self.chosen.amax) * 1.02)


def quantized_chart(name: str, tensor: TensorStatistics, chosen: Range | None = None) -> QuantizedChart:
    """Gather what the picture of a tensor before and after quantization shows.

    Parameters
    ----------
    name, tensor
        The tensor and what calibration saw of it.
    chosen
        The range it is quantized with; that of least mean squared error where left out.
    """
    from workbench.calibration import bin_noise

    chosen = chosen or ranges({name: tensor})[name]
    chosen = at(tensor, chosen.amax, target=chosen.target, method=chosen.method)
    below = np.append(0, tensor.magnitudes.cumsum())
    edges = np.linspace(0, max(tensor.amax, chosen.amax), _BINS + 1)
    counts = np.diff(np.append(np.interp(edges[:-1], tensor.edges, below), below[-1]))
    grid = levels(chosen.target) * chosen.amax
    cuts = np.concatenate([[0], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    masses = np.diff(np.append(np.interp(cuts[:-1], tensor.edges, below), below[-1]))
    noise = np.append(0, (tensor.magnitudes * bin_noise(tensor, chosen)).cumsum())
    share = np.diff(np.append(np.interp(edges[:-1], tensor.edges, noise), noise[-1]))
    return QuantizedChart(name, chosen, edges, counts, grid, masses, share / (noise[-1] or 1.0))
