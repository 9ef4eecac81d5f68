"""The precision view: what each layer is asked to be, and every change one rule of the recipe."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.errors import PrecisionError, WorkbenchError
from workbench.names import PRECISIONS
from workbench.precision.operators import activations
from workbench.precision.plan import Rule
from workbench.session import history_of
from workbench.views.kit import Pictured, escape
from workbench.views.plans.chart import PrecisionChart
from workbench.views.plans.data import Sources, estimate, front_points, rows, selector_of, sources
from workbench.views.plans.page import PrecisionPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from workbench.engine import EngineReport
    from workbench.names import Precision
    from workbench.precision.search import SearchResult
    from workbench.precision.sensitivity import Sensitivity
    from workbench.session import Workbench
    from workbench.views.calibration import ThresholdView
    from workbench.views.graphs import LiveGraph
    from workbench.views.kit import ThemeName
    from workbench.views.plans.data import Estimate, FrontPoint, PrecisionRow

__all__ = ["PrecisionView", "precision"]


class PrecisionView(Pictured):
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

    def __init__(
        self,
        wb: Workbench,
        sensitivity: Sensitivity | None = None,
        search: SearchResult | None = None,
        engine: EngineReport | None = None,
    ) -> None:
        self.workbench = wb
        self.sensitivity = sensitivity or (search.sensitivity if search is not None else None)
        self.search = search
        self.engine = engine
        self._known: Sources | None = None
        self._selected: tuple[str, ...] = ()
        self._selector: str | None = None
        self._watchers: list[Callable[[list[str]], object]] = []
        self._front: tuple[object, tuple[FrontPoint, ...]] = (None, ())
        self._page = PrecisionPage(self)

    def __repr__(self) -> str:
        return f"<PrecisionView {self.workbench.model.name}: {self.estimate().text()}>"

    # What there is to show

    @property
    def rows(self) -> tuple[PrecisionRow, ...]:
        """One row a node, under the plan as it is now."""
        return rows(self._sources(), self.workbench.plan.resolve())

    def estimate(self) -> Estimate:
        """Return what the plan as it is now is expected to cost; nothing is run."""
        return estimate(self._sources(), self.workbench.plan.resolve())

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
        return estimate(self._sources(), wb.plan.resolve_with(rule))

    def table(self) -> pd.DataFrame:
        """Return the layers as a table, those that hurt most first where that is known."""
        import pandas as pd

        layers = [row for row in self.rows if row.layer]
        layers.sort(key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db)
        columns = ["node", "op", "shape", "macs", "latency", "sqnr_db", "requested", "gets", "realized"]
        columns += ["rule", "why"]
        table: pd.DataFrame = pd.DataFrame([asdict(row) for row in layers], columns=columns)
        table["rule"] = table["rule"].astype("Int64")
        known: pd.DataFrame = table.dropna(axis="columns", how="all")
        return known

    @property
    def chart(self) -> PrecisionChart:
        """The still picture of the plan as it is now."""
        layers = tuple(row for row in self.rows if row.layer)
        metric = "" if self.search is None else self.search.goal.name
        about = self.estimate().text()
        if self.engine is not None:
            about += f"\n{self.engine.name} has {len(self.differing)} layers in another precision than the plan"
            if untold := sum(row.macs > 0 and row.realized is None for row in self.rows):
                about += f", and does not tell it of {untold} that multiply"
        return PrecisionChart(self.workbench.model.name, about, layers, self.front, metric)

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""
        return self.chart.svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG."""
        return self.chart.png(theme)

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
        return list(self._selected)

    @selected.setter
    def selected(self, nodes: Iterable[str]) -> None:
        self._select(nodes, None)

    def select(self, selector: str) -> list[str]:
        """Select nodes by a selector; a rule made of them says it in these words.

        Raises
        ------
        SelectorError
            It cannot be read, or nothing matches.
        """
        from workbench.graph.select import select

        self._select(select(self.workbench.model, selector), selector)
        return self.selected

    @property
    def selector(self) -> str:
        """The selector that means what is selected: as it was written, else the shortest that is exact.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        """
        if not self._selected:
            raise WorkbenchError("nothing is selected", where="precision view", fix="Select rows, or write a selector.")
        return self._selector or selector_of(self.workbench.model, self._selected)

    def on_select(self, watcher: Callable[[list[str]], object]) -> None:
        """Call a function with the addresses whenever the selection has changed, whoever changed it."""
        self._watchers.append(watcher)

    def link(self, graph: LiveGraph) -> None:
        """Let this view and a graph view have one selection, whichever it is made in."""

        def shown(nodes: Iterable[str]) -> list[str]:
            return [node for node in nodes if node in self.workbench.model.nodes]

        def from_graph(nodes: list[str]) -> None:
            if set(shown(nodes)) != set(self._selected):
                self.selected = nodes

        def to_graph(nodes: list[str]) -> None:
            if set(nodes) != set(shown(graph.selected)):
                graph.choose(nodes)

        graph.on_select(from_graph)
        self.on_select(to_graph)

    def tensor(self) -> str | None:
        """Return the tensor that the first selected node reads through a Q/DQ pair if it is INT8 and was observed."""
        able = [node for node in self._selected[:1] if node in self._sources().able]
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
        self.refresh()

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
        self.refresh()

    def undo(self) -> None:
        """Take the recipe's last step back, whoever made it.

        Raises
        ------
        RecipeError
            There is none.
        """
        self.workbench.undo()
        self.refresh()

    # The live side

    def widget(self) -> Any:
        """Return the Jupyter widget; it is made when it is first asked for."""
        return self._page.widget()

    def refresh(self) -> None:
        """Show the plan as it is now; needed only where it was changed elsewhere."""
        self._page.refresh()

    def handle(self, request: Mapping[str, Any]) -> None:
        """Do what the page asks for; what is refused is said there."""
        self._page.handle(request)

    def _sources(self) -> Sources:
        if self._known is None or self._known.model is not self.workbench.model:
            measured = None if self.search is None else self.search.costs.measured
            self._known = sources(self.workbench.model, self.sensitivity, measured, self.engine)
            self._selected = tuple(node for node in self._selected if node in self.workbench.model.nodes)
        return self._known

    def _select(self, nodes: Iterable[str], selector: str | None) -> None:
        wanted = set(nodes)
        self._selected = tuple(node for node in self.workbench.model.nodes if node in wanted)
        self._selector = selector
        self._page.mark()
        for watcher in self._watchers:
            watcher(self.selected)


def precision(
    wb: Workbench,
    sensitivity: Sensitivity | None = None,
    search: SearchResult | None = None,
    engine: EngineReport | None = None,
) -> PrecisionView:
    """Show the precision of every layer of a workbench's model, to look at and to change; see `PrecisionView`."""
    return PrecisionView(wb, sensitivity, search, engine)
