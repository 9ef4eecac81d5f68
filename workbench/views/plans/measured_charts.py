"""What was measured of a plan, to point at and select: the nodes that lose most, the plans that a search offers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import RecipeError
from workbench.names import QUANTIZED
from workbench.precision import front_points
from workbench.precision.plan import preset
from workbench.session import history_of
from workbench.views.kit import Chart, Spot, of_opened, precision_colour
from workbench.views.plans.chart import draw_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.precision import FrontPoint
    from workbench.precision.search import SearchResult, Trial
    from workbench.precision.sensitivity import NodeError
    from workbench.session import Workbench
    from workbench.views.kit import Theme

__all__ = ["FrontChart", "SensitivityChart", "front", "sensitivity"]

TAIL = 40
"""Letters of a name beside its bar; the end tells nodes apart."""


@dataclass(frozen=True)
class SensitivityChart(Chart):
    """SQNR of the outputs with one node alone in INT8, a bar a node, what hurts most on top.

    Attributes
    ----------
    errors
        The nodes with their precision in the plan as it is.
    left_out
        How many nodes are not shown.
    """

    errors: tuple[tuple[NodeError, str], ...]
    left_out: int = 0

    @property
    def size(self) -> tuple[float, float]:
        return 9.0, 1.1 + 0.24 * max(len(self.errors), 1)

    def spots(self) -> list[Spot]:
        """Return the nodes."""
        return [
            Spot(str(at), f"{one.node} ({one.op_type}): {one.text} with it alone in INT8; now {precision}", (one.node,))
            for at, (one, precision) in enumerate(self.errors)
        ]

    def draw(self, figure: Figure, colours: Theme) -> None:
        axes = figure.subplots()
        # What changes nothing has no bar, however long.
        values = [one.sqnr_db if math.isfinite(one.sqnr_db) else 0.0 for one, _ in self.errors]
        fills = [precision_colour(precision, colours) for _, precision in self.errors]
        bars = axes.barh(range(len(values)), values, color=fills, height=0.75)
        for spot, bar, (one, _) in zip(self.spots(), bars, self.errors, strict=True):
            spot.mark(bar)
            axes.text(bar.get_width(), bar.get_y() + 0.37, f"\u00a0{one.text}", va="center", fontsize=7.5)
        names = [one.node if len(one.node) <= TAIL else f"…{one.node[1 - TAIL :]}" for one, _ in self.errors]
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0)
        more = f"; {self.left_out:,} nodes lose less" if self.left_out else ""
        axes.set_xlabel(
            f"SQNR of the outputs with this node alone in INT8 [dB]; its colour is its precision now{more}", fontsize=8
        )


@dataclass(frozen=True)
class FrontChart(Chart):
    """What a search offers: accuracy against latency of all engines that were measured, else against INT8's share.

    Attributes
    ----------
    points, floating
        The plans, and of each the nodes that it leaves in floating point where another plan does not.
    metric
        What they were measured by.
    """

    points: tuple[FrontPoint, ...]
    floating: tuple[tuple[str, ...], ...]
    metric: str

    @property
    def size(self) -> tuple[float, float]:
        return 9.0, 3.4

    def spots(self) -> list[Spot]:
        """Return the plans; one selects what it leaves in floating point."""
        return [
            Spot(str(at), f"{point.text(self.metric)}; {len(nodes)} nodes in floating point", nodes)
            for at, (point, nodes) in enumerate(zip(self.points, self.floating, strict=True))
            if point.share
        ]

    def draw(self, figure: Figure, colours: Theme) -> None:
        dots = draw_front(figure.subplots(), [one for one in self.points if one.share], self.metric, colours)
        for spot, dot in zip(self.spots(), dots, strict=True):
            spot.mark(dot)


@of_opened
def sensitivity(wb: Workbench, top: int = 20) -> SensitivityChart:
    """Show which nodes lose most alone in INT8; a bar that is selected is selected in every view of the workbench.

    Parameters
    ----------
    wb
        A workbench whose sensitivity was measured, by `Workbench.sensitivity` or a search.
    top
        Bars at most.

    Raises
    ------
    RecipeError
        Nothing was measured.
    """
    measured = history_of(wb).figures.sensitivity
    if measured is None:
        raise RecipeError("no sensitivity was measured", where=wb.source.name, fix="Call wb.sensitivity() first.")
    errors = sorted((one for one in measured.errors if one.node in wb.model.nodes), key=lambda one: -one.noise)
    start = () if wb.plan.rules.rules else preset("int8", wb.model).rules  # what tuning starts from
    decided = wb.plan.resolve_with(*start).decisions
    shown = tuple((one, decided[one.node].precision) for one in errors[:top] if one.node in decided)
    return SensitivityChart(shown, len(errors) - len(shown)).within(wb)


@of_opened
def front(wb: Workbench) -> FrontChart:
    """Show the plans that the last search offers; one that is selected selects what it leaves in floating point.

    Parameters
    ----------
    wb
        A workbench with a search.

    Raises
    ------
    RecipeError
        There was no search.
    """
    history = history_of(wb)
    search = history.figures.search
    if search is None:
        raise RecipeError("nothing was searched", where=wb.source.name, fix="Call wb.plan.search(...) first.")
    model = history.without_plan()[1].model
    trials = search.front if search.measured is None else _timed(search)
    resolved = [trial.plan.resolve(model).decisions for trial in trials]
    narrow = [{node for node, one in plan.items() if one.precision in QUANTIZED} for plan in resolved]
    ever: set[str] = set().union(*narrow)
    floating = tuple(tuple(node for node in model.nodes if node in ever - one) for one in narrow)
    return FrontChart(front_points(search, model, trials), floating, search.goal.name).within(wb)


def _timed(search: SearchResult) -> list[Trial]:
    """Return the plans of which an engine was timed, the fastest first."""
    ratios = [(trial.pays.ratio, at) for at, trial in enumerate(search.trials) if trial.pays and trial.pays.ratio]
    return [search.trials[at] for _, at in sorted(ratios)]
