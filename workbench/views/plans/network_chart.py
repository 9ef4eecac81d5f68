"""What a tuning did, along the network: precision of each node, range and expected error of each tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.views.kit import Chart, Spot, of_opened, precision_colour
from workbench.views.plans.chart import draw_strip, plain_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from workbench.calibration import Statistics
    from workbench.graph import Model
    from workbench.precision.plan import Resolution
    from workbench.session import Workbench
    from workbench.views.kit import Theme

__all__ = ["NetworkNode", "NetworkTensor", "TuningChart", "tuning", "tuning_chart"]


@dataclass(frozen=True)
class NetworkNode:
    """A node: its address and place in graph order, what was asked for, what it got, and its MACs where known."""

    node: str
    place: int
    requested: str
    precision: str
    macs: int | None


@dataclass(frozen=True)
class NetworkTensor:
    """A quantized tensor: its first reader and its place, the largest magnitude, the threshold, the SQNR in dB."""

    name: str
    reader: str
    place: int
    seen: float
    amax: float
    sqnr_db: float


@dataclass(frozen=True)
class TuningChart(Chart):
    """Three strips over the network from input to output: precision, ranges, expected error."""

    title: str
    nodes: tuple[NetworkNode, ...]
    tensors: tuple[NetworkTensor, ...]

    @property
    def size(self) -> tuple[float, float]:
        return 9.0, 5.6 if self.tensors else 2.4

    def spots(self) -> list[Spot]:
        """Return the nodes, and the tensors by their first readers."""
        nodes = [Spot(f"node-{node.place}", _node_text(node), (node.node,)) for node in self.nodes]
        return nodes + [
            Spot(f"tensor-{at}", f"{one.name}: {one.sqnr_db:.1f} dB, range {one.amax:.4g}", (one.reader,))
            for at, one in self._finite
        ]

    @property
    def _finite(self) -> list[tuple[int, NetworkTensor]]:
        return [(at, one) for at, one in enumerate(self.tensors) if math.isfinite(one.sqnr_db)]

    def draw(self, figure: Figure, colours: Theme) -> None:
        figure.suptitle(self.title, color=colours.ink, fontsize=11)
        rows = 3 if self.tensors else 1
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=[1.1, 1.4, 1.4][:rows])[:, 0]
        self._draw_precision(axes[0], colours)
        if self.tensors:
            self._draw_ranges(axes[1], colours)
            self._draw_sqnr(axes[2], colours)
        axes[-1].set_xlabel("node, in the order they run")
        axes[-1].set_xlim(-1, max(len(self.nodes), 1))
        figure.align_ylabels()

    def _draw_precision(self, axes: Axes, colours: Theme) -> None:
        bars = draw_strip(
            axes, [(node.place, node.requested, node.precision, node.macs or 0) for node in self.nodes], colours
        )
        for spot, node in zip(self.spots(), self.nodes, strict=False):
            spot.mark(bars[node.place])
        axes.set_ylabel("MACs")
        axes.tick_params(labelcolor=colours.muted)

    def _draw_ranges(self, axes: Axes, colours: Theme) -> None:
        places = [tensor.place for tensor in self.tensors]
        seen = np.array([max(tensor.seen, 1e-12) for tensor in self.tensors])
        amax = np.array([tensor.amax for tensor in self.tensors])
        axes.vlines(places, np.minimum(seen, amax), np.maximum(seen, amax), color=colours.line, linewidth=1)
        axes.plot(places, seen, "_", color=colours.muted, label="largest magnitude seen")
        axes.plot(places, amax, "o", ms=3, color=precision_colour("int8", colours), label="range (clipping threshold)")
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
        axes.set_ylabel("magnitude")
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.22), ncols=2, frameon=False, fontsize=8, borderpad=0)

    def _draw_sqnr(self, axes: Axes, colours: Theme) -> None:
        shown = [tensor for _, tensor in self._finite]
        if not shown:
            return
        for spot, tensor in zip(self.spots()[len(self.nodes) :], shown, strict=True):
            (dot,) = axes.plot(tensor.place, tensor.sqnr_db, "o", ms=3, color=precision_colour("int8", colours))
            spot.mark(dot)
        axes.set_ylabel("SQNR [dB]")
        lowest = min(shown, key=lambda t: t.sqnr_db)
        title = "expected error of each quantized tensor on its own; the lowest is "
        axes.set_title(f"{title}{lowest.name}, {lowest.sqnr_db:.1f} dB", fontsize=8, loc="left")
        axes.plot([lowest.place], [lowest.sqnr_db], "o", ms=7, mfc="none", color=colours.accent)
        axes.grid(axis="y", linewidth=0.5)
        axes.margins(y=0.15)


def _node_text(node: NetworkNode) -> str:
    asked = "" if node.requested == node.precision else f", asked for {node.requested}"
    return f"{node.node}: {node.precision}{asked}" + ("" if node.macs is None else f", {node.macs:,} MACs")


def tuning_chart(
    model: Model, resolution: Resolution, ranges: Mapping[str, float], statistics: Statistics | None
) -> TuningChart:
    """Gather what the chart shows.

    Parameters
    ----------
    model
        The model after its edits, in floating point.
    resolution
        The plan, resolved on it.
    ranges
        Thresholds in force.
    statistics
        What calibration saw; without it only precision is shown.
    """
    from workbench.calibration import at
    from workbench.graph import batch_of_one, costs
    from workbench.precision.operators import activations

    # A dynamic batch counts as one sample, so that the bars have a height.
    table = costs(model, batch_of_one(model))
    place = {address: position for position, address in enumerate(model.nodes)}
    nodes = tuple(
        NetworkNode(d.node, place[d.node], d.requested, d.precision, table[d.node].macs)
        for d in resolution.decisions.values()
    )
    tensors: dict[str, NetworkTensor] = {}
    for edge in activations(model, resolution.nodes("int8")):
        if statistics is None or edge.tensor in tensors or edge.tensor not in statistics:
            continue
        seen = statistics[edge.tensor]
        chosen = at(seen, ranges[edge.tensor])
        tensors[edge.tensor] = NetworkTensor(
            edge.tensor, edge.node, place[edge.node], seen.amax, ranges[edge.tensor], chosen.sqnr_db
        )
    title = f"{model.name}: {len(resolution.nodes('int8'))} of {len(nodes)} nodes in INT8"
    return TuningChart(title, nodes, tuple(tensors.values()))


@of_opened
def tuning(wb: Workbench) -> TuningChart:
    """Show what a tuning did along the network: precision of each node, range and expected error of each tensor.

    Parameters
    ----------
    wb
        The workbench; without statistics only precision is shown.
    """
    return tuning_chart(wb.model, wb.plan.resolve(), wb.ranges, wb.ranges.statistics).within(wb)
