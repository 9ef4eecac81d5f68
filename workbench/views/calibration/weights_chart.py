"""The weights of one node, channel by channel: why one scale for all of them is not enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import SelectorError
from workbench.views.kit import OKABE_ITO, Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.graph import Model
    from workbench.views.kit import Theme

__all__ = ["WeightsChart", "weights_chart", "weights_of"]

_VALUE_BINS, _MOST_COLUMNS = 81, 512


@dataclass(frozen=True)
class WeightsChart(Chart):
    """Largest weight and distribution of each output channel, and what per-channel scales are worth.

    Attributes
    ----------
    name
        The weight.
    amax
        float64 array (channels,): the largest magnitude of each channel, ascending.
    density
        float64 array (value bins, columns): the distribution of each channel (of a few neighbours where there are
        more than 512), its highest bin being 1. Values run from -limit to limit.
    limit
        The largest magnitude of all.
    per_tensor_db, per_channel_db
        SQNR of INT8 with one scale, and with one scale a channel.
    """

    name: str
    amax: NDArray[np.float64] = field(repr=False)
    density: NDArray[np.float64] = field(repr=False)
    limit: float
    per_tensor_db: float
    per_channel_db: float

    @property
    def size(self) -> tuple[float, float]:
        return 8.0, 4.6

    def draw(self, figure: Figure, colours: Theme) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
        channels = len(self.amax)
        name = self.name if len(self.name) <= 36 else f"...{self.name[-33:]}"
        top.stairs(
            self.amax, np.arange(channels + 1), fill=True, color=OKABE_ITO["sky"], label="each channel's largest"
        )
        top.axhline(self.limit, color=colours.accent, linewidth=1.3, label="the tensor's largest")
        top.set_ylim(0, self.limit * 1.15)
        top.set_ylabel("magnitude")
        top.set_title(
            f"{name}: INT8 SQNR {self.per_tensor_db:.1f} dB with one scale, "
            f"{self.per_channel_db:.1f} dB with one a channel",
            fontsize=9,
            loc="left",
        )
        # Ascending bars leave this corner free.
        top.legend(fontsize=8, loc="center left", frameon=False)
        shown = np.ma.masked_equal(self.density, 0)
        image = bottom.imshow(
            shown,
            aspect="auto",
            origin="lower",
            extent=(0, channels, -self.limit, self.limit),
            cmap="viridis",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        bottom.set_facecolor(colours.panel)
        step = self.limit / 127
        bottom.axhspan(-step / 2, step / 2, facecolor="none", edgecolor=colours.accent, linewidth=0.8)
        bottom.set_ylabel("weight")
        bottom.set_xlabel(f"{channels} output channels by largest magnitude (outlined: rounded to 0 with one scale)")
        figure.colorbar(image, ax=bottom, label="share of the\nchannel's mode", shrink=0.9)


def weights_chart(model: Model, node: str) -> WeightsChart:
    """Gather what the picture of a node's weights shows.

    Parameters
    ----------
    model
        The model, in floating point.
    node
        Name of a node with constant weights that quantization gives one scale a channel: Conv, ConvTranspose, Gemm,
        MatMul.

    Raises
    ------
    SelectorError
        There is no such node, or it has no such weights.
    """
    from workbench.graph import content_of
    from workbench.precision.operators import weight_axis, weights

    if node not in model.top_nodes:
        raise SelectorError("there is no such node", where=node, fix="See wb.graph.nodes().")
    edge = next(iter(weights(model, [node])), None)
    axis = None if edge is None else weight_axis(model.top_nodes[node], edge.position)
    if edge is None or axis is None:
        raise SelectorError(
            "it has no constant weights with one scale a channel", where=node, fix="Choose a Conv, Gemm or MatMul."
        )
    return weights_of(edge.tensor, content_of(model.initializers[edge.tensor]).numpy(), axis)


def weights_of(name: str, weights: NDArray[Any], axis: int) -> WeightsChart:
    """Gather the same from an array.

    Parameters
    ----------
    name
        What to call it.
    weights
        Any shape.
    axis
        The axis of output channels.
    """
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)
    rows = rows[np.argsort(np.abs(rows).max(1), kind="stable")]
    amax = np.abs(rows).max(1)
    limit = float(amax.max()) or 1.0
    edges = np.linspace(-limit, limit, _VALUE_BINS + 1)
    columns = np.array_split(np.arange(len(rows)), min(len(rows), _MOST_COLUMNS))
    density = np.stack([np.histogram(rows[c], edges)[0] for c in columns], axis=1).astype(np.float64)
    density /= np.maximum(density.max(0), 1)
    one, each = np.full(len(rows), limit), np.where(amax > 0, amax, 1.0)
    return WeightsChart(name, amax, density, limit, _sqnr(rows, one), _sqnr(rows, each))


def _sqnr(rows: NDArray[np.float64], amax: NDArray[np.float64]) -> float:
    scale = amax[:, None] / 127
    error = ((rows - np.rint(rows / scale) * scale) ** 2).sum()
    return float(10 * np.log10((rows**2).sum() / error)) if error > 0 else float("inf")
