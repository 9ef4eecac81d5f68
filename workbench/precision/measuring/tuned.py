"""Whether one tuned model pays: its engine beside that of the model in floating point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import BackendError
from workbench.precision.measuring.candidates import Maker
from workbench.precision.measuring.runner import Runner
from workbench.precision.measuring.store import open_store
from workbench.precision.measuring.work import TimingTask
from workbench.precision.placement import Pays
from workbench.progress import phases

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.graph import Model
    from workbench.precision.measuring.options import MeasureOptions
    from workbench.precision.plan import PrecisionPlan
    from workbench.precision.targets import Target

__all__ = ["measure_tuned"]


def measure_tuned(
    model: Model,
    plan: PrecisionPlan,
    ranges: Mapping[str, float],
    options: MeasureOptions,
    *,
    target: Target | None = None,
    overflow: Mapping[str, float] | None = None,
    unranged: Mapping[str, str] | None = None,
) -> Pays:
    """Build a model in floating point and by a plan, and time the two engines in turns.

    A plan that makes the very graph that it would be compared with is not measured: they would differ by chance alone.

    Parameters
    ----------
    model
        The model after its edits.
    plan, ranges
        What it is tuned by.
    options
        The backend, and how.
    target, overflow, unranged
        What the plan is resolved with; see `PrecisionPlan.resolve`.

    Raises
    ------
    BackendError
        The backend cannot build here, or one of the two could not be built and timed.
    """
    with open_store(options.folder, options.capabilities()) as store, phases(f"measuring {model.name}") as show:
        maker = Maker(
            options.batched(model), ranges, options, store, target=target, overflow=overflow, unranged=unranged
        )
        runner = Runner(options, store, show)
        floating, by_plan = maker.floating(), maker.of(plan, "tuned", "the model as tuned", "int8")
        if by_plan.model.digest == floating.model.digest and by_plan.build == floating.build:
            return Pays(reason=f"the plan makes the graph that is {floating.move}, so there is nothing to compare")
        both = [floating, by_plan]
        tasks = [
            TimingTask(
                each.name, options.backend, options.timing, each.model.to_bytes(), each.build, limit_s=runner.limit_s()
            )
            for each in both
        ]
        done = runner.run(tasks)
        engines = {}
        for each in both:
            outcome = done.get(each.name)
            if outcome is None or outcome.engine is None:
                reason = "it was stopped" if outcome is None else outcome.reason
                raise BackendError(f"{each.name} was not built: {reason}", where=model.name)
            engines[each.name] = outcome.engine
        task = TimingTask("comparison", options.backend, options.timing, beside=engines, loadings=options.loadings)
        outcomes = runner.run([task])
        timings = (
            {name: one.timing for name, one in outcomes["comparison"].measured.items() if one.timing is not None}
            if outcomes
            else {}
        )
        if len(timings) < len(both):
            reasons = "; ".join(str(d.reason) for d in outcomes.values() if d.reason) or "it was stopped"
            raise BackendError(f"the engines were not timed: {reasons}", where=model.name)
        return Pays.of(timings["tuned"], {floating.name: timings[floating.name]})
