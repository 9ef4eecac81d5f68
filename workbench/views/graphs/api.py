"""Views of a model's graph, as a notebook asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.views.kit import of_opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.graphs.diff import SideBySide
    from workbench.views.graphs.live import Column
    from workbench.views.graphs.surgery_view import Surgery
    from workbench.views.graphs.view import GraphView

__all__ = ["graph", "side_by_side", "surgery"]


@of_opened
def graph(
    model: Workbench | Model,
    columns: pd.DataFrame | Mapping[str, Column] | None = None,
    *,
    title: str | None = None,
    height: int = 520,
) -> GraphView:
    """Show a model's graph, live in a notebook: to look at, to search, to select in, to colour by what was measured.

    Parameters
    ----------
    model
        A workbench, whose model is followed as it is edited, or a model.
    columns
        More columns to colour and size by than the model's costs: a DataFrame whose index is node names, or overlays by
        name.
    title
        The line above the picture; the model's name where left out.
    height
        Of the drawing area, in CSS pixels.
    """
    from workbench.views.graphs.view import GraphView

    return GraphView(model, columns, title=title, height=height)


@of_opened
def surgery(wb: Workbench, *, height: int = 460) -> Surgery:
    """Show the graph with the edits that apply to what is selected; each one done is a step of the recipe.

    Parameters
    ----------
    wb
        The workbench.
    height
        Of the drawing area, in CSS pixels.
    """
    from workbench.views.graphs.surgery_view import Surgery

    return Surgery(wb, height=height)


@of_opened
def side_by_side(
    before: Workbench | Model,
    after: Workbench | Model,
    *,
    titles: tuple[str, str] = ("before", "after"),
    height: int = 520,
) -> SideBySide:
    """Show two models in one view, what differs in colour.

    Parameters
    ----------
    before, after
        Models, or workbenches, whose models are followed as they are edited.
    titles
        What to call the sides.
    height
        Of the drawing area, in CSS pixels.
    """
    from workbench.views.graphs.diff import SideBySide

    return SideBySide(before, after, titles=titles, height=height)
