"""Views of a model's graph, as a notebook asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.graphs.diff import SideBySide
    from workbench.views.graphs.surgery_view import Surgery
    from workbench.views.graphs.view import GraphView

__all__ = ["graph", "side_by_side", "surgery"]


def graph(model: Workbench | Model, **options: Any) -> GraphView:
    """Return a model's graph, live in a notebook; `options` as in `graph_widget.GraphView`."""
    from workbench.views.graphs.view import GraphView

    return GraphView(_model(model), **options)


def surgery(wb: Workbench, **options: Any) -> Surgery:
    """Return the graph with the edits that apply to what is selected; each one done is a step of the recipe."""
    from workbench.views.graphs.surgery_view import Surgery

    return Surgery(wb, **options)


def side_by_side(before: Workbench | Model, after: Workbench | Model, **options: Any) -> SideBySide:
    """Return two models in one view, what differs in colour; `options` as in `graph_diff.SideBySide`."""
    from workbench.views.graphs.diff import SideBySide

    return SideBySide(_model(before), _model(after), **options)


def _model(of: Workbench | Model) -> Model:
    from workbench.session import Workbench

    return of.model if isinstance(of, Workbench) else of
