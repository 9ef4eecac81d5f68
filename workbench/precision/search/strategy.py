"""Find the cheapest plan that reaches a goal, by real evaluations.

Errors of single nodes do not add up to the error of a plan, so they only say in which order to try:

1. everything in INT8, then without what INT8 makes slower by measured costs; with the ranges of every method, and with
   the best method for each tensor;
2. sensitivity, and again every choice of ranges without the worst tenth of the nodes;
3. the fewest nodes taken back to floating point, once those first that make most error, once those that make most for
   the time that INT8 saves on them: by doubling, then bisection;
4. of the cheaper of both, every group and then every node that can go to INT8 after all, by halving;
5. where it is asked for, the mean error of INT8 taken out of the biases: of cheaper plans that just failed, and of the
   best.

Where the goal is an SQNR, plans race on few samples, evenly taken from all. Only the best is evaluated on all of them;
by how much few looked better then is asked for more of every other plan, and the way is gone again until the best plan
is one that reaches the goal on all samples.
"""

from __future__ import annotations

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from workbench.calibration import Statistics, first_samples
from workbench.errors import PrecisionError
from workbench.graph import collector_spared
from workbench.precision.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.search.goal import FEW, Evaluator
from workbench.precision.search.ranges import CALIBRATED, MIXED, try_ways, ways_to_choose
from workbench.precision.search.result import SearchResult, pareto_front
from workbench.precision.search.trials import Trials
from workbench.precision.sensitivity import DEFAULT_MEMORY, exact, quick
from workbench.progress import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.calibration import Samples
    from workbench.evaluate import Reference
    from workbench.graph import Model
    from workbench.names import Precision
    from workbench.precision.search.cost import NodeCosts
    from workbench.precision.search.goal import Goal
    from workbench.precision.search.result import Trial
    from workbench.precision.sensitivity import Sensitivity
    from workbench.precision.targets import Target

__all__ = ["MOST_TRIALS", "check_floating", "search"]

MOST_TRIALS = 80
"""Evaluations a search makes before it settles for the best plan found."""

_ROUNDS = 6
"""How often the way is gone again with what evaluations on all samples told of few."""

MOST_CORRECTED = 3
"""Cheaper plans that failed and are tried again with corrected biases."""


def search(
    model: Model,
    samples: Samples,
    goal: Goal,
    *,
    ranges: Mapping[str, float],
    costs: NodeCosts,
    statistics: Statistics | None = None,
    plan: PrecisionPlan = BEST_PRACTICE,
    fallback: Precision = "fp32",
    sensitivity: Literal["quick", "exact"] = "quick",
    correct_bias: Samples | None = None,
    reference: Model | Reference | None = None,
    batch: int = 1,
    memory: int = DEFAULT_MEMORY,
    most_trials: int = MOST_TRIALS,
    target: Target | None = None,
    overflow: Mapping[str, float] | None = None,
    unranged: Mapping[str, str] | None = None,
    earlier: Sequence[Trial] = (),
) -> SearchResult:
    """Find the cheapest plan that reaches a goal.

    Parameters
    ----------
    model
        The model after its edits.
    samples
        What every trial is evaluated on.
    goal
        What is asked for.
    ranges
        Tensor name to clipping threshold, as calibrated.
    costs
        What nodes cost; see `workbench.precision.search.cost`.
    statistics
        What calibration saw: other methods are tried for all tensors and for single ones. Without them `ranges` stay.
    plan
        Where to start; it says which nodes may be INT8.
    fallback
        What a node gets that cannot be INT8.
    sensitivity
        How the order is found.
    correct_bias
        Try bias correction too, measured on these samples: those of the calibration.
    reference
        What is compared with; the model itself where left out.
    batch
        Samples a run for a model of dynamic batch.
    memory
        Bytes of activations to keep in memory.
    most_trials
        Plans evaluated until the best one is taken; those with corrected biases come on top.
    target, overflow, unranged
        What plans are resolved with; see `PrecisionPlan.resolve`.
    earlier
        Trials of a search of the same that was stopped: they need no second evaluation.

    Returns
    -------
    SearchResult
        Of a search that is stopped (by a person who watches, or interrupted), what was evaluated until then.

    Raises
    ------
    PrecisionError
        The plan makes no node INT8, or not even `fallback` everywhere reaches the goal.
    """
    began = time.perf_counter()
    about = (reference or model, samples, goal)
    with collector_spared(), Evaluator(*about, batch=batch, memory=memory) as evaluate:
        trials = Trials(
            model,
            goal,
            evaluate,
            costs,
            plan,
            fallback,
            dict(ranges),
            most_trials,
            target,
            overflow,
            unranged,
            earlier,
            race=True,
        )
        walk, stopped = _Walk(trials, samples, statistics, sensitivity, batch, memory), False
        try:
            walk.settle()
            if correct_bias is not None:
                _correct(trials, correct_bias, batch)
        except (Stopped, KeyboardInterrupt):
            stopped = True
            if not trials.all:
                raise
    front = pareto_front(trials.all, goal.merit)
    seconds = time.perf_counter() - began
    return SearchResult(goal, _best(trials), front, tuple(trials.all), walk.measured, costs, seconds, stopped=stopped)


class _Walk:
    """The way from plan to plan, which may be gone again by what is known meanwhile: nothing is evaluated twice."""

    def __init__(
        self,
        trials: Trials,
        samples: Samples,
        statistics: Statistics | None,
        sensitivity: Literal["quick", "exact"],
        batch: int,
        memory: int,
    ) -> None:
        self._trials, self._samples, self._statistics = trials, samples, statistics
        self._kind, self._batch, self._memory = sensitivity, batch, memory
        self._calibrated = trials.ranges
        self.measured: Sensitivity | None = None
        """The sensitivity that decided the order, if one was needed."""

    def settle(self) -> None:
        """Try plans until the best of them is known on all samples."""
        trials = self._trials
        for _ in range(_ROUNDS):
            self._go()
            best = trials.best()
            if best.on_all:
                return
            trials.verify(best)
        while not (best := trials.best()).on_all:
            trials.verify(best)

    def _go(self) -> None:
        trials = self._trials
        trials.ranges = self._calibrated
        best = trials.everything("everything in INT8, ranges as calibrated")
        if trials.slower:
            best = trials.without((), f"{len(trials.slower)} that INT8 makes slower in floating point")
        ways = {CALIBRATED: trials.ranges}
        if self._statistics is not None and not trials.reaches(best):
            ways = self._ways
            best = try_ways(trials, ways, ())
        if not trials.reaches(best):
            # Of all ways the one of least noise node by node shows best which nodes hurt with any.
            trials.ranges = ways.get(MIXED, trials.ranges)
            self.measured = self.measured or self._sensitivity()
            _demote(trials, {error.node: error.noise for error in self.measured.errors}, ways)

    @cached_property
    def _ways(self) -> dict[str, dict[str, float]]:
        samples = self._samples
        if self._trials.races:  # which method is the best for a tensor, few samples say too
            samples = first_samples(samples, FEW * self._batch)
        return ways_to_choose(self._trials, self._statistics or Statistics(), samples, self._batch)

    def _sensitivity(self) -> Sensitivity:
        trials, samples = self._trials, self._samples
        about = (trials.model, trials.candidates, trials.ranges, samples)
        if self._kind == "quick":
            return quick(*about, batch=self._batch, resolution=trials.resolution)
        return exact(*about, batch=self._batch, memory=self._memory, resolution=trials.resolution)


def _best(trials: Trials) -> Trial:
    """Return the cheapest plan that reaches the goal; of equally cheap ones, and where none does, the most accurate."""
    passed = [trial for trial in trials.all if trial.passed]
    if not passed:  # it was stopped before
        return max(trials.all, key=lambda trial: trials.goal.merit(trial.measured))
    return min(passed, key=lambda t: (t.cost_ms, *(-x for x in trials.goal.merit(t.measured))))


def check_floating(trials: Trials) -> None:
    """Refuse a goal that no plan reaches.

    Raises
    ------
    PrecisionError
        What stays in floating point everywhere misses it, too.
    """
    floating = trials.without(trials.candidates, "nothing in INT8")
    if not trials.reaches(floating) and not (whole := trials.verify(floating)).passed:
        if trials.goal.metric == "sqnr_db" and math.isnan(whole.measured.sqnr_db):
            raise PrecisionError(
                f"there is nothing floating-point in the outputs to measure {trials.goal} of",
                where=trials.model.name,
                fix="Give labels and --max-drop where the model's scores are an output (wb.edit('mark_output', ...)).",
            )
        raise PrecisionError(
            f"not even floating point reaches {trials.goal}", where=trials.model.name, fix="Ask for less."
        )


def _demote(trials: Trials, noise: Mapping[str, float], ways: Mapping[str, dict[str, float]]) -> None:
    """Take the fewest nodes back to floating point."""
    check_floating(trials)
    able = [node for node in trials.candidates if node not in trials.slower]
    by_noise = sorted(able, key=lambda node: -noise.get(node, 0.0))
    by_worth = sorted(able, key=lambda node: -_worth_in_float(noise.get(node, 0.0), trials.saving(node)))
    if len(ways) > 1:
        # With broken nodes in INT8 they alone decide which ranges look best; so compare without the worst tenth.
        try_ways(trials, ways, by_noise[: max(1, len(by_noise) // 10)])
    starts = [
        _shortest(trials, by_noise, "by the error they make"),
        _shortest(trials, by_worth, "by error a millisecond saved"),
    ]
    _restore(trials, min(starts, key=lambda demoted: sum(trials.saving(node) for node in demoted)))


def _worth_in_float(noise: float, saving: float) -> float:
    """Return the noise that goes away for each millisecond lost; what saves nothing in INT8 goes first."""
    return noise / saving if saving > 0 else float("inf")


def _shortest(trials: Trials, order: Sequence[str], name: str) -> list[str]:
    """Return the shortest beginning of an order that has to be in floating point, found by doubling, then halving.

    Doubling, because a task's figure is no smooth function of the plan: what holds with few nodes in floating point may
    fail with more of them.
    """
    fails, holds = 0, 1
    while holds < len(order) and not trials.exhausted:
        if trials.reaches(trials.without(order[:holds], f"the first {holds} in floating point, {name}")):
            break
        fails, holds = holds, min(2 * holds, len(order))
    while holds - fails > 1 and not trials.exhausted:
        middle = (fails + holds) // 2
        if trials.reaches(trials.without(order[:middle], f"the first {middle} in floating point, {name}")):
            holds = middle
        else:
            fails = middle
    return list(order[:holds])


def _restore(trials: Trials, demoted: list[str]) -> None:
    """Put back into INT8 what can go there after all: large groups first, halved where they cannot."""
    out = set(demoted)
    groups = [list(reversed(demoted))]
    while groups and not trials.exhausted:
        group = groups.pop(0)
        back = None
        if len(group) < len(demoted):
            back = trials.without(out - set(group), f"{len(group)} of them back in INT8")
        if back is not None and trials.reaches(back):
            out -= set(group)
        elif len(group) > 1:
            half = len(group) // 2
            groups[:0] = [group[:half], group[half:]]


def _correct(trials: Trials, calibration: Samples, batch: int) -> None:
    """Try corrected biases on the best plan, and on cheaper ones that failed by least: the cheapest of them first."""
    best = _best(trials)
    failed = [trial for trial in trials.all if not trials.reaches(trial) and trial.cost_ms < best.cost_ms]
    failed.sort(key=trials.merit, reverse=True)
    for trial in sorted(failed[:MOST_CORRECTED], key=lambda t: t.cost_ms):
        if trials.corrected(trial, calibration, batch).passed:
            return
    trials.corrected(best, calibration, batch)
