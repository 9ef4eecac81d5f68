"""Views of an engine, as a notebook asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.engine import EngineReport, EngineSummary
    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.engines.fusion_view import FusionView
    from workbench.views.engines.picture import EngineGraph
    from workbench.views.engines.view import CompareView, EngineView

__all__ = ["compare", "engine", "engine_graph", "fusion"]


def engine(
    engine: EngineSummary | EngineReport,
    model: Workbench | Model | None = None,
    *,
    color: str = "precision",
    profile: int = 0,
    height: int = 460,
) -> EngineView:
    """Show an engine's layers as a table, on the source graph and as a graph of their own, with one selection.

    Parameters
    ----------
    engine
        A report, or a summary of one.
    model
        The model it was built from, or a workbench whose tuned model it was; a summary knows its own.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.view import EngineView

    return EngineView(_summary(engine, model), color=color, profile=profile, height=height)


def compare(
    *engines: EngineSummary | EngineReport, model: Workbench | Model | None = None, height: int = 460
) -> CompareView:
    """Show two or more engines of one model side by side, with one selection.

    Parameters
    ----------
    *engines
        Reports, or summaries of them; the first is what the others are compared with.
    model
        The model whose nodes align them.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.view import CompareView

    return CompareView([_summary(one, None) for one in engines], _model(model), height=height)


def fusion(
    engine: EngineSummary | EngineReport,
    model: Workbench | Model | None = None,
    *,
    color: str = "precision",
    profile: int = 0,
    height: int = 520,
) -> FusionView:
    """Show a model's graph with an outline around the nodes of each layer.

    Parameters
    ----------
    engine
        A report, or a summary of one.
    model
        The model it was built from, or a workbench whose tuned model it was; a summary knows its own.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.fusion_view import FusionView

    return FusionView(_summary(engine, model), color=color, profile=profile, height=height)


def engine_graph(
    engine: EngineSummary | EngineReport, *, color: str = "precision", profile: int = 0, height: int = 520
) -> EngineGraph:
    """Show an engine's own layers as a graph.

    Parameters
    ----------
    engine
        A report, or a summary of one.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.picture import EngineGraph

    return EngineGraph(_summary(engine, None), color=color, profile=profile, height=height)


def _summary(engine: EngineSummary | EngineReport, model: Workbench | Model | None) -> EngineSummary:
    from workbench.engine import EngineReport, summarize

    source = _model(model)
    if isinstance(engine, EngineReport):
        return summarize(engine, source)
    return engine if source is None else summarize(engine.report, source)


def _model(of: Workbench | Model | None) -> Model | None:
    from workbench.session import Workbench

    return of.tuned if isinstance(of, Workbench) else of
