"""What a search in a workbench adds: costs out of whatever was measured, and equalized channels where they help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from workbench.engine import EngineReport
from workbench.errors import PrecisionError, RecipeError
from workbench.names import percent
from workbench.precision.operators import obstacle
from workbench.precision.search import engine_costs, measured_costs, modelled_costs
from workbench.session.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.graph import Model
    from workbench.precision.search import NodeCosts, SearchResult
    from workbench.session.history import History

__all__ = ["CostSource", "check_start", "costs_of", "with_equalization"]

CostSource: TypeAlias = (
    EngineReport | Sequence[EngineReport] | Mapping[str, EngineReport] | Mapping[str, Mapping[str, float]] | None
)
"""What was measured: engines, also by precision, or milliseconds by node and precision; ``None`` where nothing was."""


def check_start(history: History) -> None:
    """Refuse a search that has nothing to start from.

    Raises
    ------
    PrecisionError
        No node of the model can be quantized.
    RecipeError
        Nothing was calibrated.
    """
    model = history.state.model
    if history.state.ranges:
        return
    if all(obstacle(model, address, node) is not None for address, node in model.top_nodes.items()):
        raise PrecisionError(
            "no node of it can be quantized, so there is nothing to search",
            where=history.source.name,
            fix="Choose another preset, as fp16; wb.plan.explain says of a node why not.",
        )
    raise RecipeError(
        "a search needs ranges to start from, and nothing was calibrated",
        where=f"wb.plan.search on {history.source.name}",
        fix="Calibrate first: wb.calibrate(samples), or take a cache: wb.ranges.use_cache(file).",
    )


def costs_of(model: Model, cost: CostSource, sizes: Mapping[str, int]) -> NodeCosts:
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
    if not isinstance(cost, Mapping):
        return engine_costs(model, list(cost), sizes)
    engines = {key: one for key, one in cost.items() if isinstance(one, EngineReport)}
    times = {key: one for key, one in cost.items() if not isinstance(one, EngineReport)}
    return engine_costs(model, engines, sizes) if engines else measured_costs(model, times, sizes)


def with_equalization(history: History, plain: SearchResult, again: Callable[[], SearchResult]) -> SearchResult:
    """Equalize channels, search again, and go on with what came out cheaper; of equally cheap plans the more accurate.

    The edit may add nodes, which take time too, so that more INT8 is not always the cheaper plan. It and the
    calibration after it stay in the recipe only where the plan found with them is the better one.

    Parameters
    ----------
    history
        The session, without a plan.
    plain
        What the search found without.
    again
        Does the same search.
    """
    with history.attempt() as attempt:
        if not Ranges(history).equalize().changed:
            return replace(plain, notes=("equalization: no channels can be equalized here",))
        equalized = again()
        helps = _rank(equalized) < _rank(plain)
        if not helps:
            attempt.discard()
    before, after, name = plain.chosen, equalized.chosen, plain.goal.name
    note = (
        f"equalization: {before.cost_ms:.4g} -> {after.cost_ms:.4g} ms, "
        f"{name} {before.measured.figure:.4g} -> {after.measured.figure:.4g}, "
        f"MACs in INT8 {percent(before.share)} -> {percent(after.share)}; {'kept' if helps else 'not kept'}"
    )
    return replace(equalized if helps else plain, notes=(note,), seconds=plain.seconds + equalized.seconds)


def _rank(result: SearchResult) -> tuple[float, ...]:
    chosen = result.chosen
    return (chosen.cost_ms, *(-x for x in result.goal.merit(chosen.measured)))
