"""The plans that a search tries: what is in floating point, with which ranges, and what came out."""

from __future__ import annotations

import math
from dataclasses import replace
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
    from workbench.precision.search.goal import Evaluator, Goal, Score
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
        How many may be made; None where nobody counts them.
    target, overflow, unranged
        See `PrecisionPlan.resolve`.
    earlier
        Trials of the same that need no second evaluation.
    race
        Evaluate plans on few samples where these tell enough, and those on all that `verify` is asked for.

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
        most: int | None,
        target: Target | None = None,
        overflow: Mapping[str, float] | None = None,
        unranged: Mapping[str, str] | None = None,
        earlier: Sequence[Trial] = (),
        *,
        race: bool = False,
    ) -> None:
        self._target, self._overflow, self._unranged = target, overflow, unranged
        self.model, self.goal, self.ranges = model, goal, ranges
        self._evaluate, self._costs, self._plan, self._fallback = evaluate, costs, plan, fallback
        self._most, self._earlier = most, tuple(earlier)
        self.races = race and evaluate.races
        """Whether plans are evaluated on few samples first."""
        self._optimism = 0.0  # by how much few samples look better than all
        self.all: list[Trial] = []
        self.resolution = self._resolve(plan)
        """The plan to start from, on the model."""
        self.candidates = self.resolution.nodes("int8")
        if not self.candidates:
            raise PrecisionError("the plan makes no node INT8", where=model.name, fix="Add a rule that does.")
        self.slower = self._slower()
        """Candidates that INT8 makes slower, as only measured costs can say: after the first trial never in INT8."""

    @property
    def exhausted(self) -> bool:
        """Whether no more trials may be made."""
        return self._most is not None and len(self.all) >= self._most

    def reaches(self, trial: Trial) -> bool:
        """Say whether a plan reaches the goal; of one that raced only, whether it should by what is known."""
        if trial.on_all:
            return trial.passed
        return self.goal.holds(trial.measured.figure - self._optimism)

    def merit(self, trial: Trial) -> tuple[float, float]:
        """Return what is more for the better of two plans, on the same samples for all."""
        return self.goal.merit(trial.raced or trial.measured)

    def best(self) -> Trial:
        """Return the cheapest plan that reaches the goal; of equally cheap ones the most accurate."""
        reaching = [trial for trial in self.all if self.reaches(trial)]
        return min(reaching, key=lambda t: (t.cost_ms, *(-x for x in self.merit(t))))

    def verify(self, trial: Trial) -> Trial:
        """Evaluate on all samples what raced only. What that tells of few samples counts for other plans, too."""
        if trial.on_all:
            return trial
        measured = self._evaluate(lower(self.model, self._resolve(trial.plan), trial.ranges).model)
        optimism = trial.measured.figure - measured.figure
        self._optimism = optimism if math.isfinite(optimism) else self._optimism
        full = replace(
            trial,
            move=trial.move.removesuffix(self._few(trial.measured)),
            measured=measured,
            passed=self.goal.holds(measured.figure),
        )
        self.all[self.all.index(trial)] = full
        self._tell()
        return full

    def _few(self, raced: Score) -> str:
        return f" (on {raced.samples} of {self._evaluate.count} samples)"

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
        before = self._resolve(trial.plan)
        edit = bias_shifts(self.model, before.nodes("int8"), trial.ranges, calibration, batch=batch, resolution=before)
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
        lowered = lower(self.model, resolution, self.ranges).model
        measured = self._evaluate.race(lowered) if self.races else self._evaluate(lowered)
        raced = measured if self.races else None
        passed = raced is None and self.goal.holds(measured.figure)
        what = move if raced is None else f"{move}{self._few(raced)}"
        share, cost = self._costs.share(int8), self._costs.total(resolution)
        self.all.append(Trial(what, plan, dict(self.ranges), out, cost, share, measured, passed, raced=raced))
        self._tell()
        return self.all[-1]

    def _known_trial(self, among: Sequence[Trial], out: frozenset[str]) -> Trial | None:
        return next((t for t in among if t.demoted == out and t.ranges == self.ranges and not t.edits), None)

    def _tell(self) -> None:
        reaching = any(self.reaches(trial) for trial in self.all)
        best = self.best() if reaching else max(self.all, key=self.merit)
        reached = "" if reaching else ", not there yet"
        figures = f"{self.goal.name} {best.measured.figure:.4g}, {percent(best.share)} of the MACs in INT8{reached}"
        # Where nobody counts plans, engines are built of some, and the best is the fastest of these.
        report("searching", len(self.all), self._most, "" if self._most is None else figures)
