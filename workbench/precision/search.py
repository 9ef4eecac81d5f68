"""Find the cheapest plan that reaches a goal, each step verified by a real evaluation.

Errors of single nodes do not add up to the error of a plan, so they only say in which order to try:

1. everything in INT8, with the ranges of every method, and with the best method for each tensor;
2. sensitivity, and again every choice of ranges without the worst tenth of the nodes;
3. the fewest nodes taken back to floating point, once those first that make most error, once those that make most for
   the time that INT8 saves on them: by doubling, then bisection;
4. of the cheaper of both, every group and then every node that can go to INT8 after all, by halving.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workbench.calibration.methods import METHODS
from workbench.calibration.methods import ranges as ranges_of
from workbench.errors import PrecisionError
from workbench.graph.selectors import nodes
from workbench.precision.lowering import activation_tensors, lower
from workbench.precision.plan import BEST_PRACTICE, PrecisionPlan, Rule
from workbench.precision.search_goal import Evaluator
from workbench.precision.search_rules import compact
from workbench.precision.sensitivity import DEFAULT_MEMORY, exact
from workbench.precision.sensitivity_quick import local_noise, quick

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import pandas as pd

    from workbench.calibration.samples import Samples
    from workbench.calibration.statistics import Statistics
    from workbench.graph.model import Model
    from workbench.precision.plan import Precision
    from workbench.precision.search_cost import NodeCosts
    from workbench.precision.search_goal import Goal, Measured
    from workbench.precision.sensitivity_result import Sensitivity

__all__ = ["MOST_TRIALS", "SearchResult", "Trial", "pareto_front", "search"]

MOST_TRIALS = 80
"""Evaluations a search makes before it settles for the best plan found."""

PERCENTILES = (99.9, 99.99, 99.999)

MIXED = "the best method for each tensor"


@dataclass(frozen=True)
class Trial:
    """A plan that was evaluated on all samples.

    Parameters
    ----------
    move
        What was tried.
    plan
        The rules.
    ranges
        The thresholds it was lowered with.
    demoted
        The candidates that are not in INT8.
    cost_ms
        Time of all nodes by the cost in use.
    share
        Share of the multiply-accumulates in INT8, 0 to 1.
    measured
        What came out.
    passed
        Whether the goal is reached.
    """

    move: str
    plan: PrecisionPlan
    ranges: Mapping[str, float] = field(repr=False)
    demoted: frozenset[str]
    cost_ms: float
    share: float
    measured: Measured
    passed: bool


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    goal
        What was asked for.
    chosen
        The cheapest plan that reaches it.
    front
        The trials that no other trial beats in both cost and error, cheapest first.
    trials
        All of them, in order.
    sensitivity
        What decided the order; `None` where everything in INT8 reached the goal.
    costs
        What nodes cost.
    seconds
        Wall time.
    """

    goal: Goal
    chosen: Trial
    front: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    sensitivity: Sensitivity | None
    costs: NodeCosts
    seconds: float

    def table(self) -> pd.DataFrame:
        """Return one row a trial, in order."""
        import pandas as pd

        rows = [
            {
                "move": trial.move,
                self.goal.name: trial.measured.figure,
                "sqnr_db": trial.measured.sqnr_db,
                "int8_macs": trial.share,
                "cost_ms": trial.cost_ms,
                "in float": len(trial.demoted),
                "passed": trial.passed,
                "front": trial in self.front,
                "chosen": trial is self.chosen,
            }
            for trial in self.trials
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the ranges as plain values; infinite figures as ``None``."""
        return {
            "goal": str(self.goal),
            "costs": "measured" if self.costs.measured else "bytes and MACs",
            "chosen": self.trials.index(self.chosen),
            "front": [self.trials.index(trial) for trial in self.front],
            "trials": [
                {
                    "move": trial.move,
                    "figure": _plain(trial.measured.figure),
                    "sqnr_db": _plain(trial.measured.sqnr_db),
                    "int8_macs": trial.share,
                    "cost_ms": trial.cost_ms,
                    "in_float": sorted(trial.demoted),
                    "passed": trial.passed,
                }
                for trial in self.trials
            ],
            "rules": [str(rule) for rule in self.chosen.plan.rules],
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """Say in a few lines what was found and what the rules are."""
        kind = "measured" if self.costs.measured else "by the model of bytes and MACs"
        first, chosen = self.trials[0], self.chosen
        figures = f"{chosen.measured.figure:.4g} (everything in INT8: {first.measured.figure:.4g})"
        lines = [
            f"goal {self.goal}: {figures}, with {chosen.share:.1%} of the MACs in INT8",
            f"{chosen.cost_ms:.4g} ms {kind}; {len(self.trials)} evaluations in {self.seconds:.0f} s",
            *(f"{position}. {rule}" for position, rule in enumerate(chosen.plan.rules)),
        ]
        return "\n".join(lines)


def _plain(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def pareto_front(trials: Sequence[Trial], merit: Callable[[Measured], tuple[float, float]]) -> tuple[Trial, ...]:
    """Return the trials that no other beats in cost without being worse, cheapest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.cost_ms, *(-x for x in merit(t.measured)))):
        if not front or merit(trial.measured) > merit(front[-1].measured):
            front.append(trial)
    return tuple(front)


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
    reference: Model | None = None,
    batch: int = 1,
    memory: int = DEFAULT_MEMORY,
    most_trials: int = MOST_TRIALS,
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
        What nodes cost; see `workbench.precision.search_cost`.
    statistics
        What calibration saw: other methods are tried for all tensors and for single ones. Without them `ranges` stay.
    plan
        Where to start; it says which nodes may be INT8.
    fallback
        What a node gets that cannot be INT8.
    sensitivity
        How the order is found.
    reference
        What is compared with; the model itself where left out.
    batch
        Samples a run for a model of dynamic batch.
    memory
        Bytes of activations to keep in memory.
    most_trials
        Evaluations after which the best plan found is taken.

    Raises
    ------
    PrecisionError
        The plan makes no node INT8, or not even `fallback` everywhere reaches the goal.
    """
    began = time.perf_counter()
    with Evaluator(reference or model, samples, goal, batch=batch, memory=memory) as evaluate:
        state = _Search(model, goal, evaluate, costs, plan, fallback, dict(ranges), most_trials)
        best = state.try_(frozenset(), "everything in INT8, ranges as calibrated")
        ways = {"as calibrated": state.ranges}
        if statistics is not None and not best.passed:
            ways = _ways(state, statistics, samples, batch)
            best = _try_ranges(state, ways, ())
        found: Sensitivity | None = None
        if not best.passed:
            # Of all ways the one of least noise node by node shows best which nodes hurt with any.
            state.ranges = ways.get(MIXED, state.ranges)
            if sensitivity == "exact":
                found = exact(model, state.candidates, state.ranges, samples, batch=batch, memory=memory)
            else:
                found = quick(model, state.candidates, state.ranges, samples, batch=batch)
            _demote(state, {error.node: error.noise for error in found.errors}, ways)
    passed = [trial for trial in state.trials if trial.passed]
    chosen = min(passed, key=lambda t: (t.cost_ms, *(-x for x in goal.merit(t.measured))))
    front = pareto_front(state.trials, goal.merit)
    return SearchResult(goal, chosen, front, tuple(state.trials), found, costs, time.perf_counter() - began)


class _Search:
    """What a search knows: the ranges in use, and every trial so far."""

    def __init__(
        self,
        model: Model,
        goal: Goal,
        evaluate: Evaluator,
        costs: NodeCosts,
        plan: PrecisionPlan,
        fallback: Precision,
        ranges: dict[str, float],
        most_trials: int,
    ) -> None:
        self.model, self.goal, self.ranges = model, goal, ranges
        self._evaluate, self._costs, self._plan, self._fallback = evaluate, costs, plan, fallback
        self._left = most_trials
        self.candidates = plan.resolve(model).nodes("int8")
        self.trials: list[Trial] = []
        if not self.candidates:
            raise PrecisionError("the plan makes no node INT8", where=model.name, fix="Add a rule that does.")

    @property
    def exhausted(self) -> bool:
        """Whether no more trials may be made."""
        return self._left <= 0

    def saving(self, node: str) -> float:
        """Return the milliseconds that INT8 saves on a node."""
        return self._costs.of(node, self._fallback) - self._costs.of(node, "int8")

    def try_(self, demoted: Collection[str], move: str) -> Trial:
        """Evaluate the plan with some candidates in floating point and the ranges in use; never twice."""
        out = frozenset(demoted)
        known = next((t for t in self.trials if t.demoted == out and t.ranges == self.ranges), None)
        if known is not None:
            return known
        kept = [node for node in self.candidates if node not in out]
        rules = [Rule(select=each, precision=self._fallback) for each in compact(self.model, out, kept)]
        plan = PrecisionPlan(rules=(*self._plan.rules, *rules))
        resolution = plan.resolve(self.model)
        int8 = resolution.nodes("int8")
        measured = self._evaluate(lower(self.model, resolution, self.ranges).model)
        passed = self.goal.holds(measured.figure)
        share, cost = self._costs.share(int8), self._costs.total(resolution)
        trial = Trial(move, plan, dict(self.ranges), out, cost, share, measured, passed)
        self.trials.append(trial)
        self._left -= 1
        return trial


def _ways(state: _Search, statistics: Statistics, samples: Samples, batch: int) -> dict[str, dict[str, float]]:
    """Return the ranges of every method, and those that take for each tensor the method of least local noise."""
    ways: dict[str, dict[str, float]] = {"as calibrated": state.ranges}
    for method in METHODS:
        for percentile in PERCENTILES if method == "percentile" else (99.99,):
            found = ranges_of(statistics, method, percentile=percentile)
            name = f"{method} {percentile:g}" if method == "percentile" else method
            ways[name] = {**state.ranges, **{tensor: chosen.amax for tensor, chosen in found.items()}}
    noise = {
        way: local_noise(state.model, state.candidates, these, samples, batch=batch) for way, these in ways.items()
    }
    mixed = dict(state.ranges)
    for tensor, readers in _readers(state).items():
        best = min(ways, key=lambda way: sum(noise[way][node] for node in readers))
        mixed[tensor] = ways[best][tensor]
    return {**ways, MIXED: mixed}


def _try_ranges(state: _Search, ways: Mapping[str, dict[str, float]], demoted: Collection[str]) -> Trial:
    """Evaluate one plan with every way to choose ranges, and go on with the best."""
    trials = {}
    for way, these in ways.items():
        state.ranges = these
        plan = f"{len(demoted)} in floating point" if demoted else "everything in INT8"
        trials[way] = state.try_(demoted, f"{plan}, ranges: {way}")
    best = max(trials, key=lambda way: state.goal.merit(trials[way].measured))
    state.ranges = ways[best]
    return trials[best]


def _demote(state: _Search, noise: Mapping[str, float], ways: Mapping[str, dict[str, float]]) -> None:
    """Take the fewest nodes back to floating point."""
    if not state.try_(state.candidates, "nothing in INT8").passed:
        raise PrecisionError(
            f"not even floating point reaches {state.goal}", where=state.model.name, fix="Ask for less."
        )
    by_noise = sorted(state.candidates, key=lambda node: -noise[node])
    by_worth = sorted(state.candidates, key=lambda node: -_worth_in_float(noise[node], state.saving(node)))
    if len(ways) > 1:
        # With broken nodes in INT8 they alone decide which ranges look best; so compare without the worst tenth.
        _try_ranges(state, ways, by_noise[: max(1, len(by_noise) // 10)])
    starts = [
        _shortest(state, by_noise, "by the error they make"),
        _shortest(state, by_worth, "by error a millisecond saved"),
    ]
    _restore(state, min(starts, key=lambda demoted: sum(state.saving(node) for node in demoted)))


def _readers(state: _Search) -> dict[str, list[str]]:
    """Return the candidates that read each quantized tensor."""
    readers: dict[str, list[str]] = {}
    for node in state.candidates:
        alone = PrecisionPlan(rules=(Rule(select=str(nodes(node)), precision="int8"),))
        for tensor in activation_tensors(state.model, alone.resolve(state.model)):
            readers.setdefault(tensor, []).append(node)
    return readers


def _worth_in_float(noise: float, saving: float) -> float:
    """Return the noise that goes away for each millisecond lost; what saves nothing in INT8 goes first."""
    return noise / saving if saving > 0 else float("inf")


def _shortest(state: _Search, order: Sequence[str], name: str) -> list[str]:
    """Return the shortest beginning of an order that has to be in floating point, found by doubling, then halving.

    Doubling, because a task's figure is no smooth function of the plan: what holds with few nodes in floating point may
    fail with more of them.
    """
    fails, holds = 0, 1
    while holds < len(order) and not state.exhausted:
        if state.try_(order[:holds], f"the first {holds} in floating point, {name}").passed:
            break
        fails, holds = holds, min(2 * holds, len(order))
    while holds - fails > 1 and not state.exhausted:
        middle = (fails + holds) // 2
        if state.try_(order[:middle], f"the first {middle} in floating point, {name}").passed:
            holds = middle
        else:
            fails = middle
    return list(order[:holds])


def _restore(state: _Search, demoted: list[str]) -> None:
    """Put back into INT8 what can go there after all: large groups first, halved where they cannot."""
    out = set(demoted)
    groups = [list(reversed(demoted))]
    while groups and not state.exhausted:
        group = groups.pop(0)
        if len(group) < len(demoted) and state.try_(out - set(group), f"{len(group)} of them back in INT8").passed:
            out -= set(group)
        elif len(group) > 1:
            half = len(group) // 2
            groups[:0] = [group[:half], group[half:]]
