"""The precision view: what each layer is asked to be, and every change one rule of the recipe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import PrecisionError, WorkbenchError
from workbench.names import PRECISIONS, Precision
from workbench.precision import Sources, estimate_of, front_points, rows, selector_of, sources
from workbench.precision.operators import activations
from workbench.precision.plan import Rule
from workbench.session import history_of
from workbench.views.kit import Table, escape, linked, of_opened, page, request
from workbench.views.plans.chart import PrecisionChart
from workbench.views.plans.page import COLUMNS, scene_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pandas as pd

    from workbench.calibration import TensorStatistics
    from workbench.engine import EngineReport
    from workbench.precision import Estimate, FrontPoint, PrecisionRow
    from workbench.precision.search import SearchResult
    from workbench.precision.sensitivity import Sensitivity
    from workbench.session import Workbench
    from workbench.views.calibration import ThresholdView
    from workbench.views.graphs import LiveGraph
    from workbench.views.kit import Pictured, ThemeName

__all__ = ["PrecisionView", "precision"]


class PrecisionView(Table):
    """A table of layers with their precision, live in a notebook and as a picture everywhere else.

    Select rows (Shift for a range, Ctrl for one more) or write a selector, choose a precision, see what it would cost,
    apply. Whatever is applied is a step of the workbench's recipe; nothing is remembered here but the selection.

    Parameters
    ----------
    wb
        The workbench whose plan it is.
    sensitivity
        What each node alone costs; that of the search where left out.
    search
        A search whose Pareto front is offered.
    engine
        An engine built from the model or from the lowered one: what its compiler made of each layer stands beside what
        the plan says, and its profile tells each layer's share of the time. Without one, times are those that the
        search was given.
    """

    _esm, _css = page(*(Path(__file__).with_name(f"page.{kind}") for kind in ("js", "css")))

    def __init__(
        self,
        wb: Workbench,
        sensitivity: Sensitivity | None = None,
        search: SearchResult | None = None,
        engine: EngineReport | None = None,
    ) -> None:
        super().__init__(wb, order=("place", False))
        self.workbench = wb
        self.sensitivity = sensitivity or (search.sensitivity if search is not None else None)
        self.search = search
        self.engine = engine
        self._cached: Sources | None = None
        self.everything = False
        """Whether the table has every node, or the layers: where precision matters."""
        self._selector: str | None = None
        self._previewed: Precision | None = None
        self._pictured: tuple[object, dict[str, str]] = (None, {})
        self._front: tuple[object, tuple[FrontPoint, ...]] = (None, ())

    def __repr__(self) -> str:
        return f"<PrecisionView {self.workbench.model.name}: {self.estimate().text()}>"

    # What there is to show

    @property
    def rows(self) -> tuple[PrecisionRow, ...]:
        """One row a node, under the plan as it is now."""
        return rows(self._sources(), self.workbench.plan.resolve())

    def estimate(self) -> Estimate:
        """Return what the plan as it is now is expected to cost; nothing is run."""
        return estimate_of(self._sources(), self.workbench.plan.resolve())

    def estimate_with(self, precision: Precision) -> Estimate:
        """Return what the plan would cost with the selected nodes in another precision; nothing is changed.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        PrecisionError
            There is no such precision, or the target cannot have it.
        """
        wb = self.workbench
        if precision not in PRECISIONS:
            raise PrecisionError("there is no such precision", where=precision, fix=f"Use {', '.join(PRECISIONS)}.")
        rule = Rule(select=self.selector, precision=precision)
        return estimate_of(self._sources(), wb.plan.resolve_with(rule))

    def table(self) -> pd.DataFrame:
        """Return the layers as a table, those that hurt most first where that is known."""
        import pandas as pd

        layers = [row for row in self.rows if row.layer]
        layers.sort(key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db)
        columns = ["node", "op", "shape", "macs", "latency", "sqnr_db", "requested", "gets", "realized"]
        columns += ["rule", "why"]
        table: pd.DataFrame = pd.DataFrame([row._asdict() for row in layers], columns=columns)
        table["rule"] = table["rule"].astype("Int64")
        filled: pd.DataFrame = table.dropna(axis="columns", how="all")
        return filled

    @property
    def chart(self) -> PrecisionChart:
        """The still picture of the plan as it is now."""
        layers = tuple(row for row in self.rows if row.layer)
        metric = "" if self.search is None else self.search.goal.name
        about = self.estimate().text()
        if self.engine is not None:
            about += f"\n{self.engine.name} has {len(self.differing)} layers in another precision than the plan"
            if untold := sum(bool(row.macs) and row.realized is None for row in self.rows):
                about += f", and does not tell it of {untold} that multiply"
        return PrecisionChart(self.workbench.model.name, about, layers, self.front, metric)

    def still(self) -> Pictured:
        """Return the picture that stands for the view."""
        return self.chart

    def html(self, theme: ThemeName = "light") -> str:
        """Return the picture and the table as a piece of HTML, without any script."""
        table = self.table().to_html(index=False, na_rep="", border=0, float_format=lambda value: f"{value:.3g}")
        rules = "".join(
            f"<li value={at}>{escape(str(rule))}</li>" for at, rule in enumerate(self.workbench.plan.rules.rules)
        )
        return f"<figure>{self.svg(theme)}</figure><ol start=0>{rules}</ol>{table}"

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """The points of the search's Pareto front, the cheapest plan first."""
        if self.search is not None and self._front[0] is not self.search:
            self._front = self.search, front_points(self.search, history_of(self.workbench).without_plan()[1].model)
        return self._front[1]

    @property
    def point(self) -> int | None:
        """Which point of the front the recipe's plan is, ``None`` where it is none."""
        plan = self.workbench.plan
        trials = () if self.search is None else self.search.front
        return next((at for at, trial in enumerate(trials) if plan.is_taken(trial)), None)

    @property
    def differing(self) -> list[str]:
        """Layers that the engine runs in another precision than the plan says."""
        return [row.node for row in self.rows if row.differs]

    # Selecting

    @property
    def selected(self) -> list[str]:
        """Addresses of the selected nodes, in graph order; assign to select."""
        return list(self._chosen)

    @selected.setter
    def selected(self, nodes: Iterable[str]) -> None:
        self.choose(nodes)

    @property
    def selected_nodes(self) -> list[str]:
        """Addresses of the selected nodes."""
        return self.selected

    def choose_nodes(self, nodes: list[str]) -> None:
        """Select nodes."""
        self.choose(nodes)

    def choose(self, ids: Iterable[str], selector: str | None = None) -> None:
        """Select nodes by their addresses, in graph order; `selector` is what a rule says them with."""
        chosen = set(ids)
        self._selector, self._previewed = selector, None
        super().choose(node for node in self.workbench.model.nodes if node in chosen)

    def ids(self) -> Collection[str]:
        """Return the addresses of the nodes."""
        return self.workbench.model.nodes

    def sortable(self) -> list[str]:
        """Return the keys of the columns."""
        return [column.key for column in COLUMNS]

    def downwards(self, column: str) -> bool:  # noqa: ARG002 - they are all alike
        """Say that what hurts most, which is low, comes first."""
        return False

    def select(self, selector: str) -> list[str]:
        """Select nodes by a selector; a rule made of them says it in these words.

        Raises
        ------
        SelectorError
            It cannot be read, or nothing matches.
        """
        from workbench.graph.select import select

        self.choose(select(self.workbench.model, selector), selector)
        return self.selected

    @property
    def selector(self) -> str:
        """The selector that means what is selected: as it was written, else the shortest that is exact.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        """
        if not self._chosen:
            raise WorkbenchError("nothing is selected", where="precision view", fix="Select rows, or write a selector.")
        return self._selector or selector_of(self.workbench.model, self._chosen)

    def link(self, graph: LiveGraph) -> None:
        """Let this view and a graph view have one selection, whichever it is made in."""
        linked(self, graph.choose, graph, self.choose)

    def tensor(self) -> str | None:
        """Return the tensor that the first selected node reads through a Q/DQ pair if it is INT8 and was observed."""
        able = [node for node in self._chosen[:1] if node in self._sources().able]
        seen = self.workbench.ranges.statistics
        return next(
            (
                edge.tensor
                for edge in activations(self.workbench.model, able)
                if seen is not None and edge.tensor in seen
            ),
            None,
        )

    def threshold(self) -> ThresholdView:
        """Return the distribution of what the first selected node reads, with a range to drag into the recipe.

        Raises
        ------
        WorkbenchError
            Nothing was observed of it.
        """
        from workbench.views.calibration import distribution

        tensor, seen = self.tensor(), self.workbench.ranges.statistics
        if tensor is None or seen is None:
            raise WorkbenchError("nothing was observed of what it reads", where=str(self.selected), fix="Calibrate.")
        return distribution(self.workbench, tensor)

    # Changing

    def set(self, precision: Precision) -> None:
        """Give the selected nodes a precision: one `wb.plan.set`, one rule of the recipe.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        PrecisionError
            There is no such precision, or the target cannot have it.
        """
        self.workbench.plan.set(self.selector, precision)

    def take(self, point: int) -> None:
        """Set a plan of the search's Pareto front, by its position: one step of the recipe, see `Plan.take`.

        Raises
        ------
        WorkbenchError
            There is no such point.
        """
        if self.search is None or not 0 <= point < len(self.search.front):
            raise WorkbenchError("there is no such plan", where=f"point {point}", fix="Give a search with a front.")
        self.workbench.plan.take(self.search.front[point])

    # The page

    def scene_state(self) -> dict[str, Any]:
        """Return what the page draws: rows, rules, estimate and front."""
        rules = [str(rule) for rule in self.workbench.plan.rules.rules]
        metric = "" if self.search is None else self.search.goal.name
        more = {"title": self.workbench.model.name, "estimate": self.estimate().text(), "rules": rules}
        return scene_of(self.rows, self.front, metric, everything=self.everything, point=self.point, **more)

    def mark_state(self) -> dict[str, Any]:
        """Return what depends on the selection: its selector, what a change would do, and the first node's story."""
        wb = self.workbench
        marks = super().mark_state() | {"selector": "", "line": "", "preview": "", "precision": self._previewed or ""}
        marks |= self.history_state()
        if not self._chosen:
            return marks
        marks |= {"selector": self.selector, "explain": wb.plan.explain(self._chosen[0])}
        if self._previewed is not None:
            marks["line"] = f'wb.plan.set("{self.selector}", "{self._previewed}")'
            marks["preview"] = self.estimate_with(self._previewed).text()
        tensor, seen = self.tensor(), wb.ranges.statistics
        if tensor is not None and seen is not None:
            marks["distribution"] = self._distribution(tensor, seen[tensor], wb.ranges.get(tensor))
        return marks

    def renew(self) -> None:
        """Forget what was previewed, and what is no longer there."""
        self._previewed = None
        chosen = tuple(node for node in self._chosen if node in self.workbench.model.nodes)
        if chosen != self._chosen:
            self._chosen, self._selector = chosen, None

    def _distribution(self, tensor: str, seen: TensorStatistics, amax: float | None) -> dict[str, str]:
        """Draw what a node reads, in both themes; drawing takes longer than all else, so the last one is kept."""
        from workbench.calibration import at
        from workbench.views.calibration import distribution_chart

        if self._pictured[0] != (tensor, id(seen), amax):
            chart = distribution_chart(tensor, seen, chosen=None if amax is None else at(seen, amax))
            self._pictured = (tensor, id(seen), amax), dict(zip(("light", "dark"), chart.svgs(), strict=True))
        return self._pictured[1]

    @request
    def _on_find(self, selector: str) -> None:
        self.select(selector)

    @request
    def _on_all(self, on: bool) -> None:
        self.everything = on
        self.draw()

    @request
    def _on_preview(self, precision: Precision | Literal[""]) -> None:
        self.estimate_with(precision or "fp32")
        self._previewed = precision or None
        self.mark()

    @request(current=True)
    def _on_set(self, precision: Precision) -> None:
        self.set(precision)

    @request
    def _on_take(self, point: int) -> None:
        self.take(point)

    def _sources(self) -> Sources:
        if self._cached is None or self._cached.model is not self.workbench.model:
            measured = None if self.search is None else self.search.costs.measured
            self._cached = sources(self.workbench.model, self.sensitivity, measured, self.engine)
        return self._cached


@of_opened
def precision(
    wb: Workbench,
    sensitivity: Sensitivity | None = None,
    search: SearchResult | None = None,
    engine: EngineReport | None = None,
) -> PrecisionView:
    """Show the precision of every layer of a workbench's model, to look at and to change.

    Parameters
    ----------
    wb
        The workbench whose plan it is; what is changed here is a step of its recipe.
    sensitivity
        What each node alone costs; that of the search where left out.
    search
        A search whose Pareto front is offered, by a slider; where left out the last one, if the plan is of it.
    engine
        An engine of the model: what its compiler made of each layer stands beside what the plan says.
    """
    return PrecisionView(wb, sensitivity, search or _whose_plan_it_is(wb), engine)


def _whose_plan_it_is(wb: Workbench) -> SearchResult | None:
    """Return the last search, where the recipe's plan is one that it offers."""
    search = history_of(wb).figures.search
    offered = () if search is None else (search.chosen, *search.front)
    return search if any(wb.plan.is_taken(trial) for trial in offered) else None
