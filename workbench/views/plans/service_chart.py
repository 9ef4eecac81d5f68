"""Latency against the service level, and throughput and memory against the batch: what a customer asks of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.views.kit import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.views.kit import Theme

__all__ = ["BatchChart", "LatencyChart"]


@dataclass(frozen=True)
class LatencyChart(Chart):
    """The distribution of latencies, with percentiles, and with the service level as a line.

    Parameters
    ----------
    latencies_ms
        Label to the latencies of single inferences, in milliseconds.
    levels
        Service levels: what they are on (``p95``), the bound in milliseconds, and whether it is met.
    title
        What was measured, and where.
    """

    latencies_ms: tuple[tuple[str, tuple[float, ...]], ...]
    levels: tuple[tuple[str, float, bool], ...]
    title: str

    @property
    def size(self) -> tuple[float, float]:
        return 8.0, 1.4 + 1.1 * len(self.latencies_ms) + 0.25 * len(self.levels)

    def draw(self, figure: Figure, colours: Theme) -> None:
        import numpy as np

        axes = figure.subplots(len(self.latencies_ms), 1, sharex=True, squeeze=False)[:, 0]
        highest = max(max(values) for _, values in self.latencies_ms)
        edges = np.linspace(0.0, 1.05 * max([highest, *(bound for _, bound, _ in self.levels)]), 81)
        for axis, (label, values) in zip(axes, self.latencies_ms, strict=True):
            axis.hist(values, bins=edges, color=colours.accent)
            shares = {f"p{share}": float(np.percentile(values, share)) for share in (50, 95, 99)}
            for value, style in zip(shares.values(), (":", "--", "-."), strict=True):
                axis.axvline(value, color=colours.ink, linewidth=0.8, linestyle=style)
            for name, bound, met in self.levels:
                line = axis.axvline(bound, color=colours.good if met else colours.bad, linewidth=1.6)
                if axis is axes[0]:
                    line.set_label(f"{name} <= {bound:g} ms: {'passed' if met else 'FAILED'}")
            # Beside the lines their names would lie on each other, and on the bars.
            words = ", ".join(f"{name} {value:.3g}" for name, value in shares.items())
            axis.set_title(f"{label}: {words} ms (dotted, dashed, dash-dotted)", loc="left", fontsize=9)
            axis.set_ylabel("inferences", fontsize=8)
        axes[-1].set_xlabel("milliseconds an inference")
        figure.suptitle(self.title, fontsize=10)
        if self.levels:
            figure.legend(loc="outside lower center", fontsize=8, ncols=2)


@dataclass(frozen=True)
class BatchChart(Chart):
    """Throughput and memory against the batch.

    Parameters
    ----------
    batches
        Samples an inference.
    throughput
        Samples a second, one a batch.
    memory_mib
        Memory in MiB, one a batch; empty where it is not known.
    memory_label
        Which memory that is.
    title
        What was measured, and where.
    """

    batches: tuple[int, ...]
    throughput: tuple[float, ...]
    memory_mib: tuple[float, ...]
    memory_label: str
    title: str

    @property
    def size(self) -> tuple[float, float]:
        return 8.0, 3.0

    def draw(self, figure: Figure, colours: Theme) -> None:
        both = bool(self.memory_mib)
        axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
        drawn = [(axes[0], self.throughput, "samples a second")]
        drawn += [(axes[1], self.memory_mib, f"{self.memory_label} [MiB]")] if both else []
        for axis, values, label in drawn:
            axis.plot(range(len(values)), values, marker="o", color=colours.accent)
            axis.set_xticks(range(len(self.batches)), [str(batch) for batch in self.batches])
            axis.set_ylim(bottom=0)
            axis.set_xlabel("samples an inference")
            axis.set_ylabel(label, fontsize=8)
        figure.suptitle(self.title, fontsize=10)
