"""Views of an engine, as a notebook asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from workbench.errors import ReportError
from workbench.views.kit import of_opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.engine import EngineComparison, EngineReport, EngineSummary
    from workbench.graph import Model
    from workbench.session import Workbench
    from workbench.views.engines.fusion_view import FusionView
    from workbench.views.engines.picture import EngineGraph
    from workbench.views.engines.view import CompareView, EngineView
    from workbench.views.kit import Chart

__all__ = ["compare", "engine", "engine_chart", "engine_graph", "fusion"]


@of_opened
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
        The model it was built from, or a workbench whose tuned model it was; a summary knows its own. Of a workbench
        the view follows the plan, which the engine is set against, and what is selected in other views.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.view import EngineView

    summary, session = _summary(engine, model), _session(model)
    return EngineView(summary, color=color, profile=profile, height=height, session=session)


@of_opened
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


@of_opened
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
        The model it was built from, or a workbench whose tuned model it was; a summary knows its own. Of a workbench
        the view follows the plan, which the engine is set against, and what is selected in other views.
    color
        The column that colours: "precision", "latency", "kind", "findings", ...
    profile
        The optimization profile.
    height
        Of the graphs, in CSS pixels.
    """
    from workbench.views.engines.fusion_view import FusionView

    summary, session = _summary(engine, model), _session(model)
    return FusionView(summary, color=color, profile=profile, height=height, session=session)


@of_opened
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

    session = _session(model)
    if isinstance(engine, EngineReport):
        summary = summarize(engine, _model(model))
    elif model is None or (session is not None and engine.model is not None):
        summary = engine
    else:
        summary = summarize(engine.report, _model(model))
    return summary if session is None else summary.against(session.plan.precisions)


def _session(of: Workbench | Model | None) -> Workbench | None:
    from workbench.session import Workbench

    return of if isinstance(of, Workbench) else None


def _model(of: Workbench | Model | None) -> Model | None:
    from workbench.session import Workbench

    return of.tuned if isinstance(of, Workbench) else of


@of_opened
def engine_chart(
    engine: EngineSummary | EngineReport | EngineComparison,
    what: Literal[
        "latency", "treemap", "sunburst", "precision", "transitions", "memory", "roofline", "totals"
    ] = "latency",
    *,
    gpu: str = "H200 SXM",
    top: int = 10,
    wb: Workbench | None = None,
) -> Chart:
    """Draw one chart of an engine.

    Parameters
    ----------
    engine
        A report, a summary of one, or for ``totals`` a comparison of several.
    what
        ``latency``: the slowest layers. ``treemap``, ``sunburst``: time by scope of the source. ``precision``: how much
        runs in which. ``transitions``: edges by the precision on either side. ``memory``: activations that live while
        each layer runs. ``roofline``: against what a GPU can do. ``totals``: engines side by side.
    gpu
        For the roofline; `workbench.engine.GPU_LIMITS` has the names.
    top
        Layers in the latency chart.
    wb
        The workbench whose other views show, and make, the selection of the live twin: layers select their nodes.

    Raises
    ------
    ReportError
        There is no such chart, or no such GPU.
    """
    from workbench.engine import (
        GPU_LIMITS,
        EngineComparison,
        EngineSummary,
        memory_timeline,
        precision_share,
        roofline_dots,
        transitions,
    )
    from workbench.views.engines import charts, data
    from workbench.views.engines.comparison import TotalBars
    from workbench.views.engines.sunburst import Sunburst, sunburst_arcs

    if isinstance(engine, EngineComparison):
        if what != "totals":
            raise ReportError(f"a comparison has no chart {what!r}", fix="Ask for totals, or give one engine.")
        return TotalBars(engine).within(wb)
    report = engine.report if isinstance(engine, EngineSummary) else engine
    fusion = engine.fusion if isinstance(engine, EngineSummary) else None
    if gpu not in GPU_LIMITS:
        raise ReportError(f"no limits are known of {gpu!r}", fix=f"Use one of {', '.join(GPU_LIMITS)}.")
    by_scope: Literal["scope", "type"] = "scope" if fusion is not None else "type"
    drawn: dict[str, Callable[[], Chart]] = {
        "latency": lambda: charts.LatencyBars(data.latency_bars(report, top, fusion), "Slowest layers"),
        "treemap": lambda: charts.LatencyTreemap(data.layer_cells(report, by_scope, fusion), f"Time by {by_scope}"),
        "sunburst": lambda: Sunburst(
            sunburst_arcs(report, by_scope, fusion), f"Time by {by_scope}, and the layers in each"
        ),
        "precision": lambda: charts.PrecisionShare(precision_share(report)),
        "transitions": lambda: charts.TransitionMatrix(transitions(report)),
        "memory": lambda: charts.MemoryTimeline(memory_timeline(report)),
        "roofline": lambda: charts.Roofline(roofline_dots(report), GPU_LIMITS[gpu]),
    }
    if what not in drawn:
        raise ReportError(f"one engine has no chart {what!r}", fix=f"It has {', '.join(drawn)}.")
    return drawn[what]().within(wb)
