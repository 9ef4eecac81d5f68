"""What is known of each node of a session: the plan, what was measured, and the tensor that its range is of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from workbench.graph import batch_of_one, costs, total
from workbench.precision import Sources, estimate_of, rows, sources
from workbench.precision.operators import activations
from workbench.precision.plan import preset
from workbench.session import history_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.engine import EngineSummary
    from workbench.graph import Cost
    from workbench.precision import Estimate, PrecisionRow
    from workbench.precision.plan import Resolution, Rule
    from workbench.session import Workbench

__all__ = ["NodeFacts"]

T = TypeVar("T")


class NodeFacts:
    """Gathers it, anew only where the model or a measurement is another.

    Parameters
    ----------
    wb
        The workbench.
    """

    def __init__(self, wb: Workbench) -> None:
        self.wb = wb
        self._kept: dict[str, tuple[tuple[object, ...], object]] = {}

    def _once(self, what: str, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what was made of these very objects before; states and models are never changed, but replaced."""
        kept = self._kept.get(what)
        if kept is None or any(a is not b for a, b in zip(kept[0], key, strict=True)):
            kept = self._kept[what] = key, make()
        return cast("T", kept[1])

    def _costs(self) -> Mapping[str, Cost]:
        model = self.wb.model
        return self._once("costs", (model,), lambda: costs(model, batch_of_one(model)))

    def sources(self) -> Sources:
        """Return what rows are made of besides the plan."""
        figures = history_of(self.wb).figures

        def make() -> Sources:
            measured = None if figures.search is None else figures.search.costs.measured
            costs = sources(self.wb.model, figures.sensitivity, measured, table=self._costs())
            if figures.engine is None:
                return costs
            timed = _with_engine(costs, figures.engine)
            # What became of a plan says nothing of the next one; where the time went does.
            return timed if current else replace(timed, realized=costs.realized)

        current = figures.built is history_of(self.wb).state
        made_of = self.wb.model, figures.sensitivity, figures.search, figures.engine, current
        return self._once("sources", made_of, make)

    def macs(self) -> tuple[int, list[str]]:
        """Return the multiply-accumulates of one run, and the nodes whose are unknown."""
        model = self.wb.model
        return self._once("macs", (model,), lambda: total(model, self._costs()))

    def rows(self) -> tuple[PrecisionRow, ...]:
        """Return one row a node, in the order they run."""
        made_of = self.sources(), self.resolution()
        return self._once("rows", made_of, lambda: rows(*made_of))

    def estimate(self, *more: Rule) -> Estimate:
        """Return what the plan, with more rules at its end, is expected to cost; nothing is run."""
        made_of = self.sources(), self.resolution(*more)
        return estimate_of(*made_of) if more else self._once("estimate", made_of, lambda: estimate_of(*made_of))

    def resolution(self, *more: Rule) -> Resolution:
        """Return what the plan decides, with more rules at its end; where it has none, what tuning starts from."""
        state = history_of(self.wb).state
        plan = state.plan
        if not plan.rules:
            plan = self._once("start", (state.model,), lambda: preset("int8", state.model))
        if more:
            return state.resolve(plan.with_rules(*more))
        return self._once("resolution", (state,), lambda: state.resolve(plan))

    def reads(self) -> Mapping[str, str]:
        """Return, for each node that can be INT8, the first tensor that it would read through a Q/DQ pair."""
        model = self.wb.model
        able = self.sources().able

        def make() -> Mapping[str, str]:
            first: dict[str, str] = {}
            for edge in activations(model, [node for node in model.top_nodes if node in able]):
                first.setdefault(edge.node, edge.tensor)
            return first

        return self._once("reads", (model,), make)

    def tensor_of(self, node: str) -> str | None:
        """Return the tensor whose range and distribution stand for a node: what it reads, else what it makes."""
        if node in self.reads():
            return self.reads()[node]
        seen = () if self.wb.ranges.statistics is None else self.wb.ranges.statistics
        maker = self.wb.model.top_nodes.get(node)
        names = [] if maker is None else [str(value.name) for value in maker.outputs if value.name]
        return next((name for name in names if name in seen), None)


def _with_engine(costs: Sources, engine: EngineSummary) -> Sources:
    """Return it with what an engine of the tuned model tells: its nodes keep the names that they have in the source.

    The time of a layer is shared by those of its nodes that multiply, by their MACs, else equally.
    """
    from workbench.engine import realized_precision

    realized = realized_precision(engine.report, engine.fusion).values()
    spent: dict[str, float] = {}
    for layer in engine.report.layers:
        group = engine.fusion.by_layer.get(layer.name)
        nodes = [] if group is None else [node for node in group.nodes if node in costs.model.nodes]
        work = [costs.macs.get(node) or 0.0 for node in nodes]
        for node, macs in zip(nodes, work, strict=True):
            share = macs / sum(work) if any(work) else 1 / len(nodes)
            spent[node] = spent.get(node, 0.0) + (layer.ms or 0.0) * share
    whole = sum(spent.values())
    return replace(
        costs,
        realized={one.node: one.precision for one in realized if one.precision is not None},
        latency={node: ms / whole for node, ms in spent.items()} if whole else {},
    )
