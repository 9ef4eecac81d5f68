"""The steps at the top of the screen: how far each is, its one figure, and which is sensible next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.display import counted
from workbench.evaluate import sqnr_text
from workbench.graph.edits import Edit
from workbench.names import percent
from workbench.precision.lowering import needed_opset
from workbench.precision.plan import all_int8
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep
from workbench.session import LOW_SQNR, history_of
from workbench.views.kit import shown

if TYPE_CHECKING:
    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts

__all__ = ["next_step", "step_states"]


@dataclass(frozen=True)
class StageFacts:
    """One of the steps: whether it is done, and its figure."""

    name: str
    done: bool
    figure: str
    title: str = ""


def step_states(wb: Workbench, node_facts: NodeFacts) -> list[dict[str, Any]]:
    """Return the steps as the page draws them."""
    stages = [
        _look(wb, node_facts),
        _edit(wb),
        _calibrate(wb),
        _precision(wb, node_facts),
        _tune(wb),
        _compare(wb),
        _engine(wb),
    ]
    return [
        {"name": one.name, "done": one.done, "figure": shown(one.figure), "title": one.title or one.figure}
        for one in stages
    ]


def next_step(wb: Workbench, *, prepared: bool) -> dict[str, str]:
    """Return the next sensible thing: which step it belongs to, what the button says, and what it asks for.

    Parameters
    ----------
    wb
        The workbench.
    prepared
        Whether `Workbench.prepare` is known to change nothing more.
    """
    figures = history_of(wb).figures
    if not prepared and (not wb.ranges or needed_opset(wb.model, all_int8(wb.model)) is not None):
        return {"step": "Edit", "text": "Prepare the graph", "ask": "prepare"}
    if not wb.ranges:
        return {"step": "Calibrate", "text": "Calibrate…", "ask": "form"}
    if figures.sensitivity is None and wb.ranges.samples is not None and wb.recipe.tuned is None:
        return {"step": "Precision", "text": "Measure sensitivity", "ask": "sensitivity"}
    if wb.recipe.tuned is None:
        return {"step": "Tune", "text": "Tune", "ask": "tune"}
    if not _is_current(wb):
        able = wb.ranges.samples is not None
        return {"step": "Compare", "text": "Compare" if able else "Compare…", "ask": "compare" if able else "form"}
    worst = figures.comparison.worst_sqnr_db if figures.comparison else math.nan
    if worst < LOW_SQNR and (figures.search is None or not figures.search.chosen.passed):
        return {"step": "Tune", "text": "Search…", "ask": "form"}
    if figures.engine is None or figures.built is not history_of(wb).state:
        return {"step": "Engine", "text": "Build engine", "ask": "build"}
    return {"step": "Engine", "text": "Save", "ask": "save"}


def _look(wb: Workbench, node_facts: NodeFacts) -> StageFacts:
    macs, unknown = node_facts.macs()
    nodes = len([node for node in wb.model.nodes.values() if node.op_type != "Constant"])
    title = f"{counted(nodes, 'node')}, {macs:,} MACs"
    return StageFacts("Look", True, f"{counted(nodes, 'node')} · {_count(macs)}{'+' * bool(unknown)}", title)


def _edit(wb: Workbench) -> StageFacts:
    edits = wb.recipe.of_kind(Edit)
    if not edits:
        return StageFacts("Edit", False, "—", "no edits yet")
    more = len(wb.model.nodes) - len(wb.source.nodes)
    unchecked = history_of(wb).unchecked
    checked = f"{len(unchecked)} unchecked" if unchecked else "equal"
    if not any(edit.equivalent for edit in edits):
        checked = f"{len(edits)} edits"
    title = "\n".join(unchecked) or f"{len(edits)} edits, {checked}"
    # The field's minus sign is wider than a hyphen, and reads as one.
    changed = (
        f"{more:+,} {'node' if abs(more) == 1 else 'nodes'}".replace("-", "\N{MINUS SIGN}")
        if more
        else counted(len(edits), "edit")
    )
    return StageFacts("Edit", True, f"{changed} · {checked}", title)


def _calibrate(wb: Workbench) -> StageFacts:
    steps = [step for step in wb.recipe.steps if isinstance(step, (CalibrateStep, ChooseStep, CacheStep))]
    if not steps:
        return StageFacts("Calibrate", False, "—", "not calibrated yet")
    last = steps[-1]
    if isinstance(last, CacheStep):
        return StageFacts("Calibrate", True, f"{counted(len(last.ranges), 'range')} of a cache")
    counts = [step.samples.count for step in steps if isinstance(step, CalibrateStep)]
    of = counted(counts[-1], "sample") if counts else "statistics"
    manual = sum(origin == "manual" for origin in wb.ranges.origins.values())
    return StageFacts("Calibrate", True, f"{of} · {last.method}" + (f" · {manual} by hand" if manual else ""))


def _precision(wb: Workbench, node_facts: NodeFacts) -> StageFacts:
    ruled = bool(wb.plan.rules.rules)
    estimate = node_facts.estimate()
    text = estimate.text() if ruled else f"no rules yet: the best practice; {estimate.text()}"
    if estimate.sqnr_db is None or estimate.sqnr_db == math.inf:
        return StageFacts("Precision", ruled, f"{percent(estimate.share)} in 8 bits", text)
    return StageFacts("Precision", ruled, f"{percent(estimate.share)} · est. {sqnr_text(estimate.sqnr_db)}", text)


def _tune(wb: Workbench) -> StageFacts:
    search = history_of(wb).figures.search
    if wb.recipe.tuned is None:
        stopped = search is not None and search.stopped and not search.chosen.passed
        return StageFacts(
            "Tune",
            False,
            f"{counted(len(search.trials), 'plan')} tried" if stopped and search else "—",
            "not tuned yet",
        )
    pairs = sum(node.op_type == "QuantizeLinear" for node in wb.tuned.nodes.values())
    pays = wb.recipe.pays
    title = f"tuned.onnx {wb.recipe.tuned.sha256[:12]}; against floating point: {pays}"
    if search is not None and wb.plan.is_taken(search.chosen):
        title += f"; {counted(len(search.trials), 'plan')} tried"
    written = pays.stay.partition(":")[0] or counted(pairs, "Q/DQ pair")
    return StageFacts("Tune", True, f"{written} · {pays.verdict}", title)


def _is_current(wb: Workbench) -> bool:
    """Say whether the last comparison is of the state as it is."""
    history = history_of(wb)
    return history.figures.comparison is not None and history.figures.compared is history.state


def _compare(wb: Workbench) -> StageFacts:
    comparison = history_of(wb).figures.comparison
    if comparison is None:
        return StageFacts("Compare", False, "—", "not compared yet")
    if comparison.accuracy is not None:
        figure = f"top-1 {-comparison.accuracy.drop:+.2f} points"
    else:
        figure = sqnr_text(comparison.worst_sqnr_db)
    if not _is_current(wb):
        return StageFacts("Compare", False, f"{figure} before the last change")
    return StageFacts("Compare", True, f"{figure} · {counted(comparison.samples, 'sample')}")


def _engine(wb: Workbench) -> StageFacts:
    figures = history_of(wb).figures
    engine = figures.engine
    if engine is None:
        return StageFacts("Engine", False, "not built", "no engine was built or read yet")
    if figures.built is not history_of(wb).state:
        return StageFacts("Engine", False, f"{counted(len(engine.report.layers), 'layer')} before the last change")
    count = len(engine.findings)
    return StageFacts(
        "Engine",
        True,
        f"{counted(len(engine.report.layers), 'layer')} · {counted(count, 'finding')}",
        engine.report.name,
    )


def _count(value: float) -> str:
    for unit, step in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= step:
            return f"{value / step:.3g}{unit}"
    return f"{value:g}"
