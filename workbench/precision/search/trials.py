"""The plans that a search tries: what is in floating point, with which ranges, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph.select import compact
from workbench.names import percent
from workbench.precision.lowering import lower
from workbench.precision.measured_edits import bias_shifts
from workbench.precision.plan import PrecisionPlan, Rule
from workbench.precision.search.result import Trial
from workbench.progress import report

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.names import Precision
    from workbench.precision.plan import Resolution
    from workbench.precision.search.cost import NodeCosts
    from workbench.precision.search.goal import Evaluator, Goal
    from workbench.precision.targets import Target

__all__ = ["Trials"]


class Trials:
    """What a search knows: the ranges in use, and every trial so far.

    Parameters
    ----------
    model
        The model after its edits.
    goal
        What is asked for.
    evaluate
        The real evaluation.
    costs
        What nodes cost.
    plan
        Where to start.
    fallback
        What a node gets that is not in INT8.
    ranges
        Where to start.
    most
        How many may be made.
    target, overflow, unranged
        See `PrecisionPlan.resolve`.
    earlier
        Trials of the same that need no second evaluation.

    Raises
    ------
    PrecisionError
        The plan makes no node INT8.
    """

    def __init__(
        self,
        model: Model,
        goal: Goal,
        evaluate: Evaluator,
        costs: NodeCosts,
        plan: PrecisionPlan,
        fallback: Precision,
        ranges: dict[str, float],
        most: int,
        target: Target | None = None,
        overflow: Mapping[str, float] | None = None,
        unranged: Mapping[str, str] | None = None,
        earlier: Sequence[Trial] = (),
    ) -> None:
        self._target, self._overflow, self._unranged = target, overflow, unranged
        self.model, self.goal, self.ranges = model, goal, ranges
        self._evaluate, self._costs, self._plan, self._fallback = evaluate, costs, plan, fallback
        self._most, self._earlier = most, tuple(earlier)
        self.all: list[Trial] = []
        self.candidates = self._resolve(plan).nodes("int8")
        if not self.candidates:
            raise PrecisionError("the plan makes no node INT8", where=model.name, fix="Add a rule that does.")
        self.slower = self._slower()
        """Candidates that INT8 makes slower, as only measured costs can say: after the first trial never in INT8."""

    @property
    def exhausted(self) -> bool:
        """Whether no more trials may be made."""
        return len(self.all) >= self._most

    def saving(self, node: str) -> float:
        """Return the milliseconds that INT8 saves on a node."""
        return self._costs.of(node, self._fallback) - self._costs.of(node, "int8")

    def everything(self, move: str) -> Trial:
        """Evaluate the plan with all candidates in INT8."""
        return self._try(frozenset(), move)

    def without(self, demoted: Collection[str], move: str) -> Trial:
        """Evaluate the plan with some candidates in floating point and the ranges in use; never twice."""
        return self._try(frozenset(demoted) | self.slower, move)

    def corrected(self, trial: Trial, calibration: Samples, batch: int) -> Trial:
        """Evaluate a plan again, with the mean error of INT8 taken out of the biases."""
        nodes = self._resolve(trial.plan).nodes("int8")
        edit = bias_shifts(self.model, nodes, trial.ranges, calibration, batch=batch)
        result = edit(self.model)
        resolution = self._resolve(trial.plan, result.model)
        measured = self._evaluate(lower(result.model, resolution, trial.ranges).model)
        passed, move = self.goal.holds(measured.figure), f"{trial.move}; biases corrected"
        edits = (edit,) if result.changed else ()
        self.all.append(
            Trial(move, trial.plan, trial.ranges, trial.demoted, trial.cost_ms, trial.share, measured, passed, edits)
        )
        return self.all[-1]

    def _slower(self) -> frozenset[str]:
        """Return what the plan is faster without: a node may take others with it, as a convolution its residual Add."""
        out: frozenset[str] = frozenset()
        best = self._costs.total(self._resolve(self._plan))
        losing = sorted((node for node in self.candidates if self.saving(node) < 0), key=self.saving)
        for node in losing:
            cost = self._costs.total(self._resolve(self._plan_without(out | {node})))
            if cost < best:
                out, best = out | {node}, cost
        return out

    def _plan_without(self, out: frozenset[str]) -> PrecisionPlan:
        kept = [node for node in self.candidates if node not in out]
        rules = [Rule(select=each, precision=self._fallback) for each in compact(self.model, out, kept)]
        return PrecisionPlan(rules=(*self._plan.rules, *rules))

    def _resolve(self, plan: PrecisionPlan, model: Model | None = None) -> Resolution:
        model = model or self.model
        return plan.resolve(model, target=self._target, overflow=self._overflow, unranged=self._unranged)

    def _try(self, out: frozenset[str], move: str) -> Trial:
        earlier = self._known_trial(self.all, out)
        if earlier is not None:
            return earlier
        before = self._known_trial(self._earlier, out)
        if before is not None:
            self.all.append(before)
            return before
        plan = self._plan_without(out)
        resolution = self._resolve(plan)
        int8 = resolution.nodes("int8")
        measured = self._evaluate(lower(self.model, resolution, self.ranges).model)
        passed = self.goal.holds(measured.figure)
        share, cost = self._costs.share(int8), self._costs.total(resolution)
        self.all.append(Trial(move, plan, dict(self.ranges), out, cost, share, measured, passed))
        self._tell()
        return self.all[-1]

    def _known_trial(self, among: Sequence[Trial], out: frozenset[str]) -> Trial | None:
        return next((t for t in among if t.demoted == out and t.ranges == self.ranges and not t.edits), None)

    def _tell(self) -> None:
        passed = [trial for trial in self.all if trial.passed]
        best = (
            min(passed, key=lambda trial: trial.cost_ms)
            if passed
            else max(self.all, key=lambda trial: self.goal.merit(trial.measured))
        )
        reached = "" if best.passed else ", not there yet"
        figures = f"{self.goal.name} {best.measured.figure:.4g}, {percent(best.share)} of the MACs in INT8{reached}"
        report("searching", len(self.all), None, figures)
