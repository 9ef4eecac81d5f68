"""Charts of one engine: latency, treemap, precision, memory, roofline. Each holds its data and only draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.views.engines.data import short
from workbench.views.kit import OKABE_ITO, Chart, Spot, ink_on, precision_colour, ramp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.engine import ActivationMemory, Dot, GpuLimits, PrecisionTotal, Transitions
    from workbench.views.engines.data import Bar, Rectangle
    from workbench.views.kit import Theme

__all__ = [
    "LatencyBars",
    "LatencyOrder",
    "LatencyTreemap",
    "LayerMemory",
    "MemoryTimeline",
    "PrecisionShare",
    "Roofline",
    "TransitionMatrix",
    "on_fill",
    "precision_legend",
]

_WIDTH = 9.2


@dataclass(frozen=True)
class LatencyBars(Chart):
    """The slowest layers as bars, coloured by precision."""

    bars: Sequence[Bar]
    title: str = "Slowest layers"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 1.2 + 0.27 * len(self.bars)

    def spots(self) -> list[Spot]:
        """Return the layers."""
        return _layer_spots(self.bars)

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw horizontal bars, slowest on top."""
        axes = figure.add_subplot()
        bars = list(reversed(self.bars))
        fills = [precision_colour(bar.precision, colours) for bar in bars]
        drawn = axes.barh(range(len(bars)), [bar.ms for bar in bars], color=fills, height=0.75)
        for spot, patch in zip(reversed(self.spots()), drawn, strict=True):
            spot.mark(patch)
        axes.set_yticks(range(len(bars)), [short(bar.label) for bar in bars], fontsize=8)
        for at, bar in enumerate(bars):
            label = f"\u00a0{bar.ms:.3f} ({bar.share:.1%})"
            axes.text(bar.ms, at, label, va="center", fontsize=7.5, color=colours.ink)
        axes.set_xlim(0, max((bar.ms for bar in bars), default=1.0) * 1.22 or 1.0)
        axes.set_ylim(-0.6, max(len(bars), 1) - 0.4)
        axes.set_xlabel("average latency (ms, share of the layers' sum)")
        axes.set_title(self.title)
        axes.tick_params(axis="y", length=0)
        precision_legend(axes, [bar.precision for bar in self.bars], colours)


@dataclass(frozen=True)
class LatencyOrder(Chart):
    """Every layer's latency in execution order, coloured by precision."""

    bars: Sequence[Bar]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 2.6

    def spots(self) -> list[Spot]:
        """Return the layers."""
        return _layer_spots(self.bars)

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw one upright bar a layer."""
        axes = figure.add_subplot()
        fills = [precision_colour(bar.precision, colours) for bar in self.bars]
        drawn = axes.bar(range(1, len(self.bars) + 1), [bar.ms for bar in self.bars], color=fills, width=0.85)
        for spot, patch in zip(self.spots(), drawn, strict=True):
            spot.mark(patch)
        axes.set_xlim(0.4, max(len(self.bars), 1) + 0.6)
        axes.set_xlabel("layer, in execution order")
        axes.set_ylabel("latency (ms)")
        axes.set_title("Latency in execution order")
        precision_legend(axes, [bar.precision for bar in self.bars], colours)


@dataclass(frozen=True)
class LatencyTreemap(Chart):
    """Where the time goes: an area a layer, grouped."""

    cells: Sequence[Rectangle]
    title: str

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 5.4

    def spots(self) -> list[Spot]:
        """Return the layers."""
        return _layer_spots(self.cells)

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw rectangles coloured by precision; groups are parted by thick lines and named."""
        from matplotlib.patches import Rectangle

        axes = figure.add_subplot()
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], title=self.title)
        axes.spines[:].set_visible(False)
        total = sum(cell.ms for cell in self.cells) or 1.0
        for spot, cell in zip(self.spots(), self.cells, strict=True):
            fill = precision_colour(cell.precision, colours)
            corner = (cell.x, cell.y)
            patch = Rectangle(corner, cell.width, cell.height, fc=fill, ec=colours.paper, lw=0.8, alpha=0.92)
            spot.mark(axes.add_patch(patch))
        for group in dict.fromkeys(cell.group for cell in self.cells):
            inside = [cell for cell in self.cells if cell.group == group]
            left, low = min(c.x for c in inside), min(c.y for c in inside)
            wide = max(c.x + c.width for c in inside) - left
            high = max(c.y + c.height for c in inside) - low
            axes.add_patch(Rectangle((left, low), wide, high, fill=False, ec=colours.paper, lw=3.5))
            share = sum(cell.ms for cell in inside) / total
            words = f"{group} {share:.0%}"
            # A letter is about 0.009 of the width at this size; a name that does not fit is left to the table.
            if wide > 0.011 * len(words) and high > 0.05:
                box = {"facecolor": colours.panel, "edgecolor": "none", "pad": 1.5, "alpha": 0.9}
                place = (left + 0.008, low + high - 0.012)
                axes.text(
                    *place, words, va="top", fontsize=8.5, weight="bold", color=colours.ink, bbox=box, clip_on=True
                )
        for cell in self.cells:
            letters = int(cell.width / 0.0085)
            if cell.height > 0.085 and letters >= 8:
                ink = on_fill(precision_colour(cell.precision, colours), colours)
                name = short(cell.label, min(letters, 40))
                axes.text(
                    cell.x + 0.007, cell.y + 0.012, f"{name}\n{cell.ms:.3f} ms", fontsize=6.5, color=ink, va="bottom"
                )
        precision_legend(axes, [cell.precision for cell in self.cells], colours, below=True)


def _layer_spots(layers: Sequence[Bar | Rectangle]) -> list[Spot]:
    return [Spot(str(at), f"{one.label}: {one.ms:.4f} ms, {one.precision}", one.nodes) for at, one in enumerate(layers)]


@dataclass(frozen=True)
class PrecisionShare(Chart):
    """How many layers, and how much of the time, run in each precision."""

    shares: Sequence[PrecisionTotal]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 2.3

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw two stacked bars: layers and time."""
        axes = figure.add_subplot()
        rows = [("layers", [float(share.layers) for share in self.shares], "{:.0f}")]
        if any(share.ms is not None for share in self.shares):
            rows.append(("time (ms)", [share.ms or 0.0 for share in self.shares], "{:.3f}"))
        for at, (_, values, form) in enumerate(rows):
            total, left = sum(values) or 1.0, 0.0
            for share, value in zip(self.shares, values, strict=True):
                fill = precision_colour(share.precision, colours)
                part = value / total
                axes.barh(at, part, left=left, color=fill, edgecolor=colours.paper, height=0.62)
                if part > 0.07:
                    words = f"{share.precision}\n{form.format(value)} ({part:.0%})"
                    ink = on_fill(fill, colours)
                    axes.text(left + part / 2, at, words, ha="center", va="center", fontsize=8, color=ink)
                left += part
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set(xlim=(0, 1), ylim=(-0.5, len(rows) - 0.5), xticks=[], title="Precision of the computing layers")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        precision_legend(axes, [share.precision for share in self.shares], colours, below=True)


@dataclass(frozen=True)
class TransitionMatrix(Chart):
    """Edges between layers by the precision on either side, and what conversions on them cost."""

    data: Transitions

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        count = max(len(self.data.names), 2)
        return 2.9 + 0.95 * count, 1.9 + 0.68 * count

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw a matrix: from (rows) to (columns), shaded by the number of edges."""
        from matplotlib.patches import Rectangle

        names = self.data.names
        axes = figure.add_subplot()
        most = max((count for row in self.data.edges for count in row), default=1) or 1
        for i, row in enumerate(self.data.edges):
            for j, count in enumerate(row):
                fill = ramp((count / most) ** 0.5) if count else colours.panel
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc=fill, ec=colours.paper, lw=2))
                cost = self.data.conversion_ms[i][j]
                words = f"{count}" if not cost else f"{count}\n{cost:.3f} ms"
                ink = on_fill(fill, colours) if count else colours.muted
                axes.text(j, i, words, ha="center", va="center", fontsize=8.5, color=ink)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("to\nedges; below, ms in reformats, Q/DQ and casts", fontsize=8.5)
        axes.set_ylabel("from")
        axes.set_title("Precision transitions", fontsize=11)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)


@dataclass(frozen=True)
class MemoryTimeline(Chart):
    """Activation memory alive while each layer runs."""

    use: ActivationMemory

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 2.9

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw the two parts stacked, and mark the peak."""
        axes = figure.add_subplot()
        steps = range(1, len(self.use.layers) + 1)
        live = [size / 2**20 for size in self.use.live]
        ends = [size / 2**20 for size in self.use.ends]
        axes.bar(steps, live, width=1.0, color=OKABE_ITO["blue"], label="between layers")
        axes.bar(steps, ends, bottom=live, width=1.0, color=OKABE_ITO["sky"], label="engine inputs and outputs")
        if live:
            at = live.index(max(live))
            words = f"peak {live[at]:.1f} MiB between layers, in {short(self.use.layers[at], 40)}"
            axes.axhline(live[at], color=colours.muted, lw=0.8, ls="--")
            axes.set_title(f"Activation memory: {words}", fontsize=10)
        axes.set_xlim(0.5, max(len(live), 1) + 0.5)
        axes.set_ylim(0, max([a + b for a, b in zip(live, ends, strict=True)], default=1.0) * 1.25 or 1.0)
        note = f" ({len(self.use.unknown)} tensors of unknown size not counted)" if self.use.unknown else ""
        axes.set_xlabel(f"layer, in execution order{note}")
        axes.set_ylabel("MiB alive")
        axes.legend(fontsize=8, loc="upper right", ncols=2)


@dataclass(frozen=True)
class LayerMemory(Chart):
    """Bytes of weights, inputs and outputs of every layer, in execution order; what is not told is marked."""

    layers: Sequence[tuple[int | None, int | None, int | None]]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 3.0

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw one stacked bar a layer."""
        axes = figure.add_subplot()
        places = range(1, len(self.layers) + 1)
        below = [0.0] * len(self.layers)
        parts = (("weights", OKABE_ITO["orange"]), ("inputs", OKABE_ITO["sky"]), ("outputs", OKABE_ITO["blue"]))
        for part, (label, fill) in enumerate(parts):
            sizes = [(layer[part] or 0) / 2**20 for layer in self.layers]
            axes.bar(places, sizes, bottom=below, width=0.85, color=fill, label=label)
            below = [a + b for a, b in zip(below, sizes, strict=True)]
        gaps = [at for at, layer in zip(places, self.layers, strict=True) if None in layer]
        if gaps:
            label = f"not all told: {len(gaps)} layers"
            axes.plot(gaps, [below[at - 1] for at in gaps], "v", ms=4, color=colours.muted, ls="", label=label)
        axes.set_xlim(0.4, max(len(self.layers), 1) + 0.6)
        axes.set_ylim(0, max(below, default=1.0) * 1.22 or 1.0)
        axes.set_xlabel("layer, in execution order")
        axes.set_ylabel("MiB")
        axes.set_title("Memory of each layer")
        axes.legend(fontsize=8, loc="upper right", ncols=4)


@dataclass(frozen=True)
class Roofline(Chart):
    """Operations a second over operations a byte, under a GPU's limits."""

    dots: Sequence[Dot]
    limits: GpuLimits

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _WIDTH, 4.6

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw a dot a layer, its area by its time, and the roof of each precision in use."""
        import numpy as np

        axes = figure.add_subplot()
        used = list(dict.fromkeys(dot.precision for dot in self.dots))
        lows = [dot.intensity for dot in self.dots] or [1.0]
        knees = [self.limits.peak[name] / self.limits.bandwidth for name in used if name in self.limits.peak]
        edges = np.geomspace(min(lows) / 3, max([*lows, *knees]) * 4, 200)
        for name in used:
            if name in self.limits.peak:
                roof = np.minimum(edges * self.limits.bandwidth, self.limits.peak[name]) / 1e12
                axes.plot(edges, roof, color=precision_colour(name, colours), lw=1.6, zorder=1)
                words = f"{name} {self.limits.peak[name] / 1e12:.0f} TOP/s"
                axes.text(edges[-1], roof[-1], words, fontsize=7.5, ha="right", va="bottom", color=colours.ink)
        most = max((dot.ms for dot in self.dots), default=1.0)
        for dot in self.dots:
            fill = precision_colour(dot.precision, colours)
            area = 12 + 160 * dot.ms / most
            axes.scatter(
                dot.intensity, dot.rate / 1e12, s=area, color=fill, ec=colours.ink, lw=0.5, alpha=0.85, zorder=2
            )
        for dot in self._named():
            spot = (dot.intensity, dot.rate / 1e12)
            words = short(dot.label, 30)
            axes.annotate(words, spot, xytext=(7, -9), textcoords="offset points", fontsize=7, color=colours.muted)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel("operations a byte moved (inputs, outputs and weights once each)")
        axes.set_ylabel("10¹² operations a second")
        axes.set_title(f"Roofline under {self.limits.name}: {self.limits.bandwidth / 1e9:.0f} GB/s", fontsize=10)
        axes.grid(visible=True, which="major", lw=0.4, alpha=0.6)
        precision_legend(axes, used, colours)

    def _named(self) -> list[Dot]:
        """Return the slowest layers whose names would not lie over one another."""
        chosen: list[Dot] = []
        for dot in sorted(self.dots, key=lambda one: -one.ms):
            near = [one for one in chosen if abs(math.log(dot.rate / one.rate)) < 0.25]
            if all(abs(math.log(dot.intensity / one.intensity)) > 2 for one in near):
                chosen.append(dot)
            if len(chosen) == 4:
                break
        return chosen


def on_fill(fill: str, colours: Theme) -> str:
    """Return text colour for a fill: the theme's own upon a colour that changes with it, else a hair off that."""
    return colours.ink if fill == colours.unknown else {"#ffffff": "#fefefe"}.get(ink_on(fill), "#1a1e23")


def precision_legend(axes: Axes, names: Iterable[str], colours: Theme, *, below: bool = False) -> None:
    """Say which colour is which precision, in the chart or below it."""
    from matplotlib.patches import Patch

    handles = [Patch(color=precision_colour(name, colours), label=name) for name in dict.fromkeys(names)]
    if below and handles:
        axes.legend(
            handles=handles, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(handles), frameon=False
        )
    elif handles:
        axes.legend(handles=handles, fontsize=8)
