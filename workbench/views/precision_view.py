"""The precision view: what each layer is asked to be, and every change one rule of the recipe."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from workbench.errors import PrecisionError, WorkbenchError
from workbench.precision.placement import activations
from workbench.precision.targets import Precision
from workbench.views.mime import Pictured
from workbench.views.precision_chart import COLOURS, PrecisionChart
from workbench.views.precision_data import Sources, estimate, front_points, rows, selector_of, sources
from workbench.views.theme import DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from workbench.calibration.statistics import TensorStatistics
    from workbench.precision.search_result import SearchResult
    from workbench.precision.sensitivity_result import Sensitivity
    from workbench.session import Workbench
    from workbench.views.calibration_threshold import ThresholdView
    from workbench.views.graph_live import LiveGraph
    from workbench.views.precision_data import Estimate, PrecisionRow
    from workbench.views.theme import ThemeName

__all__ = ["PrecisionView", "precision"]

_STATIC = Path(__file__).with_name("static")
PRECISIONS = get_args(Precision)
_FIELDS: dict[str, set[str]] = {
    "select": {"nodes"},
    "toggle": {"node"},
    "find": {"selector"},
    "preview": {"precision"},
    "set": {"precision"},
    "take": {"point"},
    "undo": set(),
}


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
    latencies
        Node to measured milliseconds; those of the search where it had some.
    """

    def __init__(
        self,
        wb: Workbench,
        sensitivity: Sensitivity | None = None,
        search: SearchResult | None = None,
        latencies: Mapping[str, float] | None = None,
    ) -> None:
        self._wb = wb
        self.sensitivity = sensitivity or (search.sensitivity if search is not None else None)
        self.search = search
        self._latencies = latencies
        self._known: Sources | None = None
        self._selected: tuple[str, ...] = ()
        self._selector: str | None = None
        self._watchers: list[Callable[[list[str]], object]] = []
        self._drawn: tuple[object, dict[str, str]] = (None, {})
        self._widget: Any = None

    def __repr__(self) -> str:
        return f"<PrecisionView {self._wb.model.name}: {self.estimate().text()}>"

    # What there is to show

    @property
    def rows(self) -> tuple[PrecisionRow, ...]:
        """One row a node, under the plan as it is now."""
        return rows(self._sources(), self._wb.plan.resolve())

    def estimate(self) -> Estimate:
        """Return what the plan as it is now is expected to cost; nothing is run."""
        return estimate(self._sources(), self._wb.plan.resolve())

    def estimate_with(self, precision: Precision) -> Estimate:
        """Return what the plan would cost with the selected nodes in another precision; nothing is changed.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        PrecisionError
            There is no such precision, or the target cannot have it.
        """
        wb = self._wb
        if precision not in PRECISIONS:
            raise PrecisionError("there is no such precision", where=precision, fix=f"Use {', '.join(PRECISIONS)}.")
        plan = wb.plan.rules.with_rule(self.selector, precision)
        return estimate(self._sources(), plan.resolve(wb.model, target=wb.state.target, overflow=wb.state.overflow))

    def table(self) -> pd.DataFrame:
        """Return the layers as a table, those that hurt most first where that is known."""
        import pandas as pd

        layers = [row for row in self.rows if row.layer]
        layers.sort(key=lambda row: math.inf if row.sqnr_db is None else row.sqnr_db)
        columns = ["node", "op", "shape", "macs", "latency", "sqnr_db", "requested", "gets", "rule", "why"]
        table: pd.DataFrame = pd.DataFrame([asdict(row) for row in layers], columns=columns)
        table["rule"] = table["rule"].astype("Int64")
        known: pd.DataFrame = table.dropna(axis="columns", how="all")
        return known

    @property
    def chart(self) -> PrecisionChart:
        """The still picture of the plan as it is now."""
        layers = tuple(row for row in self.rows if row.layer)
        front = () if self.search is None else front_points(self.search)
        metric = "" if self.search is None else self.search.goal.name
        return PrecisionChart(self._wb.model.name, self.estimate().text(), layers, front, metric)

    def svg(self, theme: ThemeName = "auto") -> str:
        """Return the picture as an SVG document."""
        return self.chart.svg(theme)

    def png(self, theme: ThemeName = "light") -> bytes:
        """Return the picture as a PNG."""
        return self.chart.png(theme)

    def html(self, theme: ThemeName = "light") -> str:
        """Return the picture and the table as a piece of HTML, without any script."""
        table = self.table().to_html(index=False, na_rep="", border=0, float_format=lambda value: f"{value:.3g}")
        rules = "".join(f"<li value={at}>{escape(str(rule))}</li>" for at, rule in enumerate(self._rules()))
        return f"<figure>{self.svg(theme)}</figure><ol start=0>{rules}</ol>{table}"

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
        from workbench.graph.selectors import select

        self._select(select(self._wb.model, selector), selector)
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
        return self._selector or selector_of(self._wb.model, self._selected)

    def on_select(self, watcher: Callable[[list[str]], object]) -> None:
        """Call a function with the addresses whenever the selection has changed, whoever changed it."""
        self._watchers.append(watcher)

    def link(self, graph: LiveGraph) -> None:
        """Let this view and a graph view have one selection, whichever it is made in."""

        def shown(nodes: Iterable[str]) -> list[str]:
            return [node for node in nodes if node in self._wb.model.nodes]

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
        seen = self._wb.statistics
        return next(
            (edge.tensor for edge in activations(self._wb.model, able) if seen is not None and edge.tensor in seen),
            None,
        )

    def threshold(self) -> ThresholdView:
        """Return the distribution of what the first selected node reads, with a range to drag into the recipe.

        Raises
        ------
        WorkbenchError
            Nothing was observed of it.
        """
        from workbench.views.calibration_threshold import ThresholdView

        tensor, seen = self.tensor(), self._wb.statistics
        if tensor is None or seen is None:
            raise WorkbenchError("nothing was observed of what it reads", where=str(self.selected), fix="Calibrate.")
        return ThresholdView.of(tensor, seen[tensor], self._wb.set_range, amax=self._wb.ranges.get(tensor))

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
        self._wb.plan.set(self.selector, precision)
        self.refresh()

    def take(self, point: int) -> None:
        """Take a plan of the search's Pareto front, by its position: its ranges and rules become the recipe's.

        Raises
        ------
        WorkbenchError
            There is no such point.
        """
        if self.search is None or not 0 <= point < len(self.search.front):
            raise WorkbenchError("there is no such plan", where=f"point {point}", fix="Give a search with a front.")
        self._wb.plan.take(self.search.front[point])
        self.refresh()

    def undo(self) -> None:
        """Take the recipe's last step back, whoever made it.

        Raises
        ------
        RecipeError
            There is none.
        """
        self._wb.undo()
        self.refresh()

    # The live side

    def widget(self) -> Any:
        """Return the Jupyter widget; it is made when it is first asked for."""
        if self._widget is None:
            self._widget = _widget_class()(scene=self.scene(), marks=self.marks())
            self._widget.on_msg(lambda _widget, content, _buffers: self.handle(content))
        return self._widget

    def refresh(self) -> None:
        """Show the plan as it is now; needed only where it was changed elsewhere."""
        if self._widget is not None:
            scene, marks = self.scene(), self.marks()
            self._widget.scene, self._widget.marks = scene, marks

    def scene(self) -> dict[str, Any]:
        """Return what the page draws: rows, rules, estimate and front, as plain values."""
        layers = [_plain(asdict(row)) for row in self.rows]
        search = self.search
        front = [] if search is None else front_points(search)
        points = [_plain(asdict(p)) | {"text": p.text(search.goal.name)} for p in front] if search is not None else []
        return {
            "title": self._wb.model.name,
            "estimate": self.estimate().text(),
            "rows": layers,
            "rules": [str(rule) for rule in self._rules()],
            "front": points,
            "metric": "" if search is None else search.goal.name,
            "colours": COLOURS,
            "themes": {"light": asdict(LIGHT), "dark": asdict(DARK)},
        }

    def marks(self, precision: Precision | None = None) -> dict[str, Any]:
        """Return what depends on the selection: its selector, what a change would do, and the first node's story."""
        marks: dict[str, Any] = {"selected": list(self._selected), "selector": "", "line": "", "preview": ""}
        if not self._selected:
            return marks
        first, tensor, seen = self._selected[0], self.tensor(), self._wb.statistics
        marks |= {"selector": self.selector, "explain": self._wb.plan.explain(first)}
        if precision is not None:
            marks["line"] = f'wb.plan.set("{self.selector}", "{precision}")'
            marks["preview"] = self.estimate_with(precision).text()
        if tensor is not None and seen is not None:
            marks["distribution"] = self._distribution(tensor, seen[tensor], self._wb.ranges.get(tensor))
        return marks

    def _distribution(self, tensor: str, seen: TensorStatistics, amax: float | None) -> dict[str, str]:
        """Draw what a node reads, in both themes; drawing takes longer than all else, so the last one is kept."""
        from workbench.calibration.methods import at
        from workbench.views.calibration_distribution import distribution_chart

        if self._drawn[0] != (tensor, id(seen), amax):
            chart = distribution_chart(tensor, seen, chosen=None if amax is None else at(seen, amax))
            self._drawn = (tensor, id(seen), amax), {"light": chart.svg("light"), "dark": chart.svg("dark")}
        return self._drawn[1]

    def handle(self, request: Mapping[str, Any]) -> None:
        """Do what the page asks for; what is refused is said there."""
        try:
            self._answer(request)
        except WorkbenchError as error:
            if self._widget is not None:
                self._widget.send({"type": "error", "text": str(error)})

    def _answer(self, request: Mapping[str, Any]) -> None:
        kind = request.get("type")
        if kind not in _FIELDS or not _FIELDS[kind] <= set(request):
            raise WorkbenchError("the page asked for something unknown", where=repr(dict(request)))
        if kind == "select":
            self.selected = [str(node) for node in request["nodes"]]
        elif kind == "toggle":
            self.selected = set(self._selected) ^ {str(request["node"])}
        elif kind == "find":
            self.select(str(request["selector"]))
        elif kind == "preview":
            self._mark(request["precision"] or None)
        elif kind == "set":
            self.set(request["precision"])
        elif kind == "take":
            self.take(int(request["point"]))
        else:
            self.undo()

    def _sources(self) -> Sources:
        if self._known is None or self._known.model is not self._wb.model:
            self._known = sources(self._wb.model, self.sensitivity, self._measured())
            self._selected = tuple(node for node in self._selected if node in self._wb.model.nodes)
        return self._known

    def _measured(self) -> Mapping[str, float] | None:
        """Return the latencies: those given, else those of the search, each node in the slowest precision it has."""
        if self._latencies is not None or self.search is None or not self.search.costs.measured:
            return self._latencies
        return {node: max(times.values()) for node, times in self.search.costs.milliseconds.items() if times}

    def _rules(self) -> tuple[object, ...]:
        return self._wb.plan.rules.rules

    def _select(self, nodes: Iterable[str], selector: str | None) -> None:
        wanted = set(nodes)
        self._selected = tuple(node for node in self._wb.model.nodes if node in wanted)
        self._selector = selector
        self._mark(None)
        for watcher in self._watchers:
            watcher(self.selected)

    def _mark(self, precision: Precision | None) -> None:
        marks = self.marks(precision)
        if self._widget is not None:
            self._widget.marks = marks


def precision(
    wb: Workbench,
    sensitivity: Sensitivity | None = None,
    search: SearchResult | None = None,
    latencies: Mapping[str, float] | None = None,
) -> PrecisionView:
    """Show the precision of every layer of a workbench's model, to look at and to change; see `PrecisionView`."""
    return PrecisionView(wb, sensitivity, search, latencies)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: what makes no error, or has no figure, is said as None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class PrecisionWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        _esm = _STATIC / "precision.js"
        _css = _STATIC / "precision.css"
        scene = traitlets.Dict().tag(sync=True)
        marks = traitlets.Dict().tag(sync=True)

    return PrecisionWidget
