"""What a search in a workbench starts from: costs out of whatever was measured, and equalized channels if they help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from workbench.engine.report import EngineReport
from workbench.precision.lowering import lower
from workbench.precision.search_cost import measured_costs, modelled_costs
from workbench.precision.search_engine import engine_costs
from workbench.precision.search_goal import Evaluator
from workbench.precision.sensitivity import DEFAULT_MEMORY

if TYPE_CHECKING:
    from workbench.calibration.samples import Samples
    from workbench.graph.model import Model
    from workbench.precision.plan import PrecisionPlan
    from workbench.precision.search_cost import NodeCosts
    from workbench.precision.search_goal import Goal, Measured
    from workbench.session.workbench import Workbench

__all__ = ["Cost", "costs_of", "try_equalization"]

Cost: TypeAlias = EngineReport | Sequence[EngineReport] | Mapping[str, Mapping[str, float]] | None
"""What was measured: engines, or milliseconds by node and precision; ``None`` where nothing was."""


def costs_of(model: Model, cost: Cost, sizes: Mapping[str, int]) -> NodeCosts:
    """Return what nodes cost by what was measured, else by bytes and MACs.

    Raises
    ------
    PrecisionError
        A report has no times, or a latency is of no node.
    ReportError
        A report is of another model.
    """
    if cost is None:
        return modelled_costs(model, sizes)
    if isinstance(cost, EngineReport):
        return engine_costs(model, [cost], sizes)
    return measured_costs(model, cost, sizes) if isinstance(cost, Mapping) else engine_costs(model, list(cost), sizes)


def try_equalization(wb: Workbench, data: Samples, goal: Goal, plan: PrecisionPlan, batch: int) -> str:
    """Equalize channels if a plan comes nearer to a goal by it, and say what came out.

    The edit and the calibration after it stay in the recipe only where the real evaluation is better with them.
    """
    recipe, state, statistics = wb.recipe, wb.state, wb.statistics
    before = _measure(wb, data, goal, plan, batch)
    if not wb.equalize().changed:
        return "equalization: no channels can be equalized here"
    after = _measure(wb, data, goal, plan, batch)
    helps = goal.merit(after) > goal.merit(before)
    if not helps:
        wb.rewind(recipe, state)
        wb.statistics = statistics
    return (
        f"equalization, with the plan as it starts: {goal.name} {before.figure:.4g} -> {after.figure:.4g}, "
        f"SQNR {before.sqnr_db:.1f} -> {after.sqnr_db:.1f} dB; {'kept' if helps else 'not kept'}"
    )


def _measure(wb: Workbench, data: Samples, goal: Goal, plan: PrecisionPlan, batch: int) -> Measured:
    model, state = wb.model, wb.state
    resolution = plan.resolve(model, target=state.target, overflow=state.overflow)
    with Evaluator(wb.reference_for(model), data, goal, batch=batch, memory=DEFAULT_MEMORY) as evaluate:
        return evaluate(lower(model, resolution, wb.ranges).model)
