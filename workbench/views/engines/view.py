"""An engine, or several, in one view: a table of layers and the graphs they are in, with one selection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.engine import compare_engines, precision_share
from workbench.session import Change, Changes
from workbench.views.engines.charts import LatencyBars, PrecisionShare
from workbench.views.engines.comparison import ComparisonBars, speedup_colour
from workbench.views.engines.data import latency_bars
from workbench.views.engines.fusion_view import FusionView
from workbench.views.engines.picture import EngineGraph
from workbench.views.engines.table import EngineTable, LayerTable
from workbench.views.graphs import GraphView, Overlay
from workbench.views.kit import OKABE_ITO, Stack, tabs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.engine import EngineComparison, EngineSummary, Finding
    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.kit import Chart, Pictured

__all__ = ["CompareView", "EngineView", "speed_columns"]


class _Linked(Stack):
    """A table and the graphs that share its selection; the table's chart stands for them as a still picture."""

    table: LayerTable
    graphs: Mapping[str, GraphView]
    """By what their tabs are called."""

    def still(self) -> Pictured:
        """Return the picture that stands for the view."""
        return self.table

    def boxes(self) -> list[Any]:
        """Return the table, and the graphs behind one another."""
        return [self.table, tabs(self.graphs)]


class EngineView(_Linked):
    """An engine's layers as a table, on the source graph and as a graph of their own; one selection for all three.

    Parameters
    ----------
    summary
        The engine, from `workbench.engine.summary`.
    model
        The model it was built from; the summary's where left out. Without any there is no source graph.
    color
        The column that colours the graphs.
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    session
        The workbench whose plan and selection are followed, if there is one.
    """

    def __init__(
        self,
        summary: EngineSummary,
        model: Model | None = None,
        *,
        color: str = "precision",
        profile: int = 0,
        height: int = 460,
        session: Workbench | None = None,
    ) -> None:
        super().__init__()
        source = model or summary.model
        self.graph = EngineGraph(summary, color=color, profile=profile, height=height, session=session)
        self.fusion = (
            None
            if source is None
            else FusionView(summary, source, color=color, profile=profile, height=height, session=session)
        )
        self.table = EngineTable(summary, _chart(summary), profile, session=session)
        self.graph.part = self.table.part = True  # layers have names of their own: the source graph speaks for them
        both = {"Source graph": self.fusion, "Engine graph": self.graph}
        self.graphs = {title: graph for title, graph in both.items() if graph is not None}
        self._layer: str | None = None
        self._changes = Changes()
        self.table.on_select(self._select)
        for graph in self.graphs.values():
            graph.on_layer(self._select)

    def __repr__(self) -> str:
        return f"<EngineView {self.summary.report.name}: {len(self.table.rows)} layers, {self._layer} selected>"

    @property
    def summary(self) -> EngineSummary:
        """The engine, set against the plan as it is now where a workbench is followed."""
        return self.graph.summary

    @property
    def selected_layer(self) -> str | None:
        """Name of the selected layer, or None; assign to select it everywhere."""
        return self._layer

    @selected_layer.setter
    def selected_layer(self, name: str | None) -> None:
        self.table.selected = name

    def on_layer(self, listener: Callable[[str | None], object]) -> Callable[[], None]:
        """Call a function with the layer's name whenever another one is selected, whatever selected it."""
        return self._changes.on_change(lambda _: listener(self._layer))

    def facts(self) -> list[tuple[str, str]]:
        """Return all that is known of the selected layer."""
        return self.graph.facts()

    def findings(self) -> list[Finding]:
        """Return the findings about the selected layer."""
        return self.graph.findings()

    def _select(self, layer: str | None) -> None:
        if layer == self._layer:
            return
        self._layer = layer
        self.table.selected = layer
        for graph in self.graphs.values():
            if graph.selected_layer != layer:
                graph.selected_layer = layer
                if graph.selected:
                    graph.reveal(graph.selected[0])
        self._changes.tell(Change("selection", layer or "", self))


class CompareView(_Linked):
    """Two or more engines of one model: groups of layers as a table, and each engine's graph; one selection for all.

    Where a model is known, its graph is there too, each node in the color of what its group gained or lost.

    Parameters
    ----------
    summaries
        The engines; the first is what the others are compared with.
    model
        The model whose nodes align them; the first summary's that has one where left out.
    height
        Of the graphs, in CSS pixels.

    Raises
    ------
    ReportError
        There are fewer than two, or two of them share no source node.
    """

    def __init__(self, summaries: Sequence[EngineSummary], model: Model | None = None, *, height: int = 460) -> None:
        super().__init__()
        source = model or next((one.model for one in summaries if one.model is not None), None)
        models = [one.model for one in summaries]
        self.comparison = compare_engines([one.report for one in summaries], source, models=models)
        self.engines = [EngineGraph(one, height=height) for one in summaries]
        self.table = LayerTable.of_groups(self.comparison, ComparisonBars(self.comparison))
        self._group_of = [
            {layer: str(place) for place, group in enumerate(self.comparison.groups) for layer in group.layers[at]}
            for at in range(len(summaries))
        ]
        self.source: GraphView | None = None
        if source is not None:
            title = f"{source.name}: {self.comparison.names[-1]} against {self.comparison.names[0]}"
            self.source = GraphView(source, speed_columns(self.comparison), title=title, height=height)
            self.source.colour(f"speed of {self.comparison.names[-1]}")
            self.source.on_select(self._from_source)
        self._group_of_node = {
            node: str(place) for place, group in enumerate(self.comparison.groups) for node in group.nodes
        }
        self.graphs = {} if self.source is None else {"Source graph": self.source}
        self.graphs |= dict(zip(self.comparison.names, self.engines, strict=True))
        self._changes = Changes()
        self.table.on_select(self._select)
        for at, graph in enumerate(self.engines):
            graph.on_layer(partial(self._from_graph, at))

    def __repr__(self) -> str:
        return f"<CompareView {' against '.join(self.comparison.names)}: {len(self.comparison.groups)} groups>"

    @property
    def selected_group(self) -> int | None:
        """Place of the selected group in `comparison.groups`, or None; assign to select it everywhere.

        Raises
        ------
        ReportError
            There is no such group.
        """
        return None if self.table.selected is None else int(self.table.selected)

    @selected_group.setter
    def selected_group(self, place: int | None) -> None:
        self.table.selected = None if place is None else str(place)

    def on_group(self, listener: Callable[[int | None], object]) -> Callable[[], None]:
        """Call a function with the group's place whenever another one is selected, whatever selected it."""
        return self._changes.on_change(lambda _: listener(self.selected_group))

    def _from_source(self, nodes: list[str]) -> None:
        place = next((self._group_of_node[node] for node in nodes if node in self._group_of_node), None)
        if place is not None:
            self.table.selected = place

    def _from_graph(self, at: int, layer: str | None) -> None:
        place = None if layer is None else self._group_of[at].get(layer)
        if place is not None:
            self.table.selected = place

    def _select(self, row: str | None) -> None:
        group = None if row is None else self.comparison.groups[int(row)]
        for at, graph in enumerate(self.engines):
            layers = () if group is None else group.layers[at]
            if graph.selected_layer not in layers:
                graph.choose(list(layers))
                if layers:
                    graph.reveal(layers[0])
        if self.source is not None:
            nodes = [
                node for node in (group.nodes if group else ()) if node in self.source.picture.scopes.network.index
            ]
            if not set(self.source.selected) & set(nodes):
                self.source.choose(nodes)
        self._changes.tell(Change("selection", row or "", self))


def speed_columns(comparison: EngineComparison) -> dict[str, Overlay]:
    """Return for every engine but the first a column over source nodes: whether their group is faster or slower."""
    words = {OKABE_ITO["blue"]: "faster", OKABE_ITO["sky"]: "within 3%", OKABE_ITO["vermillion"]: "slower"}
    columns = {}
    for at, name in enumerate(comparison.names[1:], start=1):
        values: dict[str, str | float | None] = {}
        for group in comparison.groups:
            first, here = group.ms[0], group.ms[at]
            # Only what both engines have a layer for can be faster or slower.
            timed = first is not None and here is not None and group.layers[0] and group.layers[at]
            word = words[speedup_colour(here or 0.0, first or 0.0)] if timed else None
            values |= dict.fromkeys(group.nodes, word)
        colours = {word: colour for colour, word in words.items()}
        title = f"speed of {name}"
        columns[title] = Overlay(title, values, order=list(words.values()), colours=colours)
    return columns


def _chart(summary: EngineSummary) -> Chart:
    bars = latency_bars(summary.report, 20)
    return LatencyBars(bars) if bars else PrecisionShare(precision_share(summary.report))
