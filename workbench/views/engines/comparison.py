"""Charts of two or more engines side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.engine import kinds_table, precisions_table
from workbench.views.engines.charts import on_fill
from workbench.views.engines.data import short
from workbench.views.kit import OKABE_ITO, PRECISION_COLOURS, Chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from workbench.engine import EngineComparison, EngineReport, LayerGroup
    from workbench.views.kit import Theme

__all__ = ["ComparisonBars", "KindStacks", "TotalBars", "kind_stacks", "speedup_colour"]

_SAME = 0.03
"""Speedups within three percent of 1 are called the same: profiles of one engine differ that much."""


@dataclass(frozen=True)
class ComparisonBars(Chart):
    """The groups with the largest difference, a bar an engine; bars after the first are coloured by speedup."""

    comparison: EngineComparison
    top: int = 15

    @property
    def groups(self) -> list[LayerGroup]:
        """The groups shown, the largest difference first."""
        timed = [group for group in self.comparison.groups if None not in group.ms]
        return sorted(timed, key=_spread, reverse=True)[: self.top]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 9.2, 1.7 + 0.16 * len(self.comparison.names) + (0.16 + 0.17 * len(self.comparison.names)) * max(
            len(self.groups), 1
        )

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw grouped horizontal bars with the speedup beside each."""
        from matplotlib.patches import Patch

        axes = figure.add_subplot()
        groups, names = self.groups, self.comparison.names
        height = 0.8 / len(names)
        for at, group in enumerate(groups):
            for i in range(len(names)):
                ms = group.ms[i] or 0.0
                speedup = group.speedup(i)
                fill = OKABE_ITO["grey"] if i == 0 else speedup_colour(ms, group.ms[0] or 0.0)
                spot = at - 0.4 + height * (i + 0.5)
                axes.barh(spot, ms, height=height * 0.92, color=fill)
                words = group.precision[i] or ("unknown" if group.layers[i] else "absent")
                if i and speedup is not None:
                    words += f" {speedup:.2f}x"
                axes.text(ms, spot, f"\u00a0{words}", va="center", fontsize=7, color=colours.ink)
        axes.set_yticks(range(len(groups)), [short(group.name, 40) for group in groups], fontsize=8)
        axes.set_ylim(len(groups) - 0.5 if groups else 0.5, -0.5)
        axes.set_xlim(0, max((ms or 0 for group in groups for ms in group.ms), default=1.0) * 1.2 or 1.0)
        axes.set_xlabel("milliseconds in the group's layers")
        order = "\n".join(f"{i + 1}. {short(name, 60)}" for i, name in enumerate(names))
        axes.set_title(f"Largest differences; bars from the top:\n{order}", fontsize=9)
        axes.tick_params(axis="y", length=0)
        handles = [
            Patch(color=OKABE_ITO["grey"], label=names[0]),
            Patch(color=OKABE_ITO["blue"], label="faster"),
            Patch(color=OKABE_ITO["sky"], label=f"within {_SAME:.0%}"),
            Patch(color=OKABE_ITO["vermillion"], label="slower"),
        ]
        axes.legend(handles=handles, fontsize=8, loc="lower right")


@dataclass(frozen=True)
class TotalBars(Chart):
    """The sum of all layers' time, a bar an engine."""

    comparison: EngineComparison

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 9.2, 1.2 + 0.42 * len(self.comparison.names)

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw one bar an engine with its ratio to the first."""
        axes = figure.add_subplot()
        totals = self.comparison.totals
        first = totals[0]
        for at, total in enumerate(totals):
            if total is None:
                axes.text(0, at, "\u00a0no profile", va="center", color=colours.muted)
                continue
            fill = OKABE_ITO["grey"] if at == 0 else speedup_colour(total, first or 0.0)
            axes.barh(at, total, color=fill, height=0.66)
            ratio = f"\u00a0{total:.3f} ms" + (f", {first / total:.2f}x" if at and first else "")
            axes.text(total, at, ratio, va="center", fontsize=8.5, color=colours.ink)
        axes.set_yticks(range(len(totals)), [short(name) for name in self.comparison.names])
        axes.set_ylim(len(totals) - 0.5, -0.5)
        axes.set_xlim(0, max((total or 0 for total in totals), default=1.0) * 1.2 or 1.0)
        axes.set_xlabel("sum of the layers' average latency (ms)")
        axes.tick_params(axis="y", length=0)


@dataclass(frozen=True)
class KindStacks(Chart):
    """Each engine's time by kind of layer or by precision, as stacked bars under one another.

    `stacks` holds for each engine its name and milliseconds by kind.
    """

    stacks: Sequence[tuple[str, Mapping[str, float]]]
    title: str
    colours: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 9.2, 1.55 + 0.5 * len(self.stacks)

    def draw(self, figure: Figure, colours: Theme) -> None:
        """Draw one bar an engine; a part with room for it has its milliseconds written in it."""
        from matplotlib.patches import Patch

        axes = figure.add_subplot()
        sums: dict[str, float] = {}
        for _, parts in self.stacks:
            for kind, ms in parts.items():
                sums[kind] = sums.get(kind, 0.0) + ms
        kinds = sorted((kind for kind, ms in sums.items() if ms > 0), key=lambda kind: -sums[kind])
        free = [colour for colour in OKABE_ITO.values() if colour not in self.colours.values()]
        fills = {kind: self.colours.get(kind) or free[at % len(free)] for at, kind in enumerate(kinds)}
        widest = max((sum(parts.values()) for _, parts in self.stacks), default=0.0) or 1.0
        for at, (_, parts) in enumerate(self.stacks):
            left = 0.0
            for kind in kinds:
                ms = parts.get(kind, 0.0)
                axes.barh(at, ms, left=left, height=0.7, color=fills[kind], edgecolor=colours.paper, lw=0.6)
                if ms > 0.06 * widest:
                    ink = on_fill(fills[kind], colours)
                    axes.text(left + ms / 2, at, f"{ms:.3f}", ha="center", va="center", fontsize=8, color=ink)
                left += ms
        axes.set_yticks(range(len(self.stacks)), [short(name) for name, _ in self.stacks])
        axes.set_ylim(len(self.stacks) - 0.5, -0.5)
        axes.set_xlim(0, widest * 1.02)
        axes.set_xlabel("sum of the layers' average latency (ms)")
        axes.set_title(self.title)
        axes.tick_params(axis="y", length=0)
        handles = [Patch(color=fills[kind], label=kind) for kind in kinds]
        if handles:
            figure.legend(
                handles=handles, fontsize=8, ncols=min(len(handles), 8), frameon=False, loc="outside lower center"
            )


def kind_stacks(reports: Sequence[EngineReport], by: Literal["kind", "precision"] = "kind") -> KindStacks:
    """Return the stacked bars of some engines; layers without a time count as nothing."""
    stacks = []
    for report in reports:
        table = (kinds_table(report) if by == "kind" else precisions_table(report)).dropna(subset=["ms"])
        parts = {str(name): float(ms) for name, ms in zip(table[by], table["ms"], strict=True)}
        stacks.append((report.name, parts))
    colours = {} if by == "kind" else {**PRECISION_COLOURS, "unknown": OKABE_ITO["grey"]}
    return KindStacks(stacks, f"Time by {by}", colours)


def speedup_colour(ms: float, first: float) -> str:
    """Return the colour of a time beside that of the first engine: faster, the same within 3%, or slower."""
    if first and abs(ms / first - 1) <= _SAME:
        return OKABE_ITO["sky"]
    return OKABE_ITO["blue"] if ms < first else OKABE_ITO["vermillion"]


def _spread(group: LayerGroup) -> float:
    times = [ms for ms in group.ms if ms is not None]
    return max(times) - min(times)
