"""Graph views in which a layer of an engine is selected: what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from workbench.errors import ReportError
from workbench.views.engines.layers import layer_facts, layers_by_name
from workbench.views.graphs import GraphView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workbench.engine import EngineSummary, Finding
    from workbench.session import Workbench
    from workbench.views.graphs import Column, GraphPicture, Overlay

__all__ = ["LayerGraph", "finding_rows"]


class LayerGraph(GraphView):
    """A graph in which one layer of an engine is selected at a time.

    Parameters
    ----------
    summary
        The engine.
    picture
        The graph that is shown.
    columns
        Columns to colour by.
    profile
        The optimization profile.
    height
        Of the drawing area, in CSS pixels.
    session
        The workbench whose plan the engine is set against, if it is to be followed.
    """

    def __init__(
        self,
        summary: EngineSummary,
        picture: GraphPicture,
        columns: Mapping[str, Column],
        *,
        profile: int = 0,
        height: int = 520,
        session: Workbench | None = None,
    ) -> None:
        super().__init__(picture.scopes.network, columns, height=height)
        self.follow(session)
        self.panes = [picture]
        self.summary, self.profile = summary, profile
        self._layer: str | None = None
        self._layers = layers_by_name(summary.report, profile)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.summary.report.name}: {self.picture.about()}>"

    @abstractmethod
    def engine_columns(self) -> dict[str, Overlay]:
        """Return the columns that the summary gives."""

    def renew(self) -> None:
        """Set the engine against the plan as it is now."""
        if self._session is None:
            return
        summary = self.summary.against(self._session.plan.precisions)
        if summary is not self.summary:
            self.summary = summary
            self.replace_columns(self.engine_columns())

    @abstractmethod
    def nodes_of(self, layer: str) -> list[str]:
        """Return the nodes of the picture that stand for a layer."""

    @abstractmethod
    def layer_of(self, names: Sequence[str]) -> str | None:
        """Return the layer that some nodes of the picture stand for."""

    @property
    def selected_layer(self) -> str | None:
        """Name of the selected layer, or None; assign to select it and its nodes."""
        return self._layer

    @selected_layer.setter
    def selected_layer(self, name: str | None) -> None:
        if name is not None and name not in self._layers:
            raise ReportError(
                f"there is no layer {name!r}",
                where=f"{self.summary.report.name}, profile {self.profile}",
                fix="See report.layers_table() for their names.",
            )
        self._pick([] if name is None else self.nodes_of(name), name)

    def choose(self, names: Sequence[str]) -> None:
        """Select nodes by name, and the layer that does the first of them."""
        self._pick(names, self.layer_of(names))

    def on_layer(self, listener: Callable[[str | None], object]) -> Callable[[], None]:
        """Call a function with the layer's name whenever another one is selected, whatever selected it."""
        return self.on_selection("selected_layer", listener)

    def facts(self) -> list[tuple[str, str]]:
        """Return all that is known of the selected layer, as names and values; empty where none is selected."""
        return [] if self._layer is None else layer_facts(self.summary, self._layer, self.profile)

    def findings(self) -> list[Finding]:
        """Return the findings about the selected layer."""
        layer = self._layers.get(self._layer or "")
        return [] if layer is None else [one for one in self.summary.findings if layer.name in one.layers]

    def mark_state(self, *, reveal: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is marked, with what is known of the selected layer."""
        state = super().mark_state(reveal=reveal)
        if self._layer is not None:
            state["facts"] = {
                "title": f"Layer {self._layer}",
                "rows": [list(fact) for fact in self.facts()],
                "findings": finding_rows(self.findings()),
            }
        return state

    def _pick(self, names: Sequence[str], layer: str | None) -> None:
        changed, self._layer = layer != self._layer, layer
        super().choose(names)
        if changed:
            self.selects("selected_layer")


def finding_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return findings as a page shows them."""
    rows = []
    for one in findings:
        cost = "cost unknown" if one.cost_ms is None else f"{'' if one.bound == 'all' else '≤ '}{one.cost_ms:.4f} ms"
        line = "" if one.suggestion is None else one.suggestion.line
        rows.append({"title": one.title, "cost": cost, "evidence": one.evidence, "fix": one.fix, "line": line})
    return rows
