"""What a search found: every plan it tried, the Pareto front of them, and the one it chose."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from workbench.display import Card, Shown, counted
from workbench.names import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from workbench.graph.edits import CorrectBias
    from workbench.precision.placement import Pays, Speed
    from workbench.precision.plan import PrecisionPlan
    from workbench.precision.search.cost import NodeCosts
    from workbench.precision.search.goal import Goal, Score
    from workbench.precision.sensitivity import Sensitivity

__all__ = ["EngineSearch", "SearchResult", "Trial", "pareto_front"]


class EngineSearch(Protocol):
    """What a search that built engines knows of them; see `workbench.precision.measuring.result.MeasuredResult`."""

    @property
    def resumed(self) -> int:
        """How many builds and comparisons a journal knew."""

    def text(self) -> str:
        """Say what was found, in lines."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""

    def _card(self) -> Card: ...


@dataclass(frozen=True)
class Trial:
    """A plan that was evaluated on all samples, or on few of them.

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
        What came out, and of how many samples.
    passed
        Whether the goal is reached on all samples.
    edits
        What was done to the model before it was lowered: biases corrected for this plan.
    pays
        What its engine took beside floating point; None where none was built.
    engines
        All engines of the front that it was chosen from.
    raced
        What came out on few samples, where it was tried on those first; `measured` is this where all never followed.
    """

    move: str
    plan: PrecisionPlan
    ranges: Mapping[str, float] = field(repr=False)
    demoted: frozenset[str]
    cost_ms: float
    share: float | None
    measured: Score
    passed: bool
    edits: tuple[CorrectBias, ...] = ()
    pays: Pays | None = None
    engines: tuple[Speed, ...] = ()
    raced: Score | None = None

    @property
    def on_all(self) -> bool:
        """Whether it was evaluated on all samples."""
        return self.measured is not self.raced


@dataclass(frozen=True)
class SearchResult(Shown):
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
    notes
        What was tried before, and whether it was kept: a sentence each.
    stopped
        Whether it was ended early: `chosen` may then reach the goal or not.
    measured
        The engines, where some were built: they chose then, and not `costs`.
    """

    goal: Goal
    chosen: Trial
    front: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    sensitivity: Sensitivity | None
    costs: NodeCosts
    seconds: float
    notes: tuple[str, ...] = ()
    stopped: bool = False
    measured: EngineSearch | None = None

    def table(self) -> pd.DataFrame:
        """Return one row a trial, in order."""
        import pandas as pd

        rows = [
            {
                "move": trial.move,
                self.goal.name: trial.measured.figure,
                "sqnr_db": trial.measured.sqnr_db,
                "samples": trial.measured.samples,
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
            "costs": list(self.costs.about),
            "notes": list(self.notes),
            "chosen": self.trials.index(self.chosen),
            "front": [self.trials.index(trial) for trial in self.front],
            "trials": [
                {
                    "move": trial.move,
                    "figure": _plain(trial.measured.figure),
                    "sqnr_db": _plain(trial.measured.sqnr_db),
                    "samples": trial.measured.samples,
                    "int8_macs": trial.share,
                    "cost_ms": trial.cost_ms,
                    "in_float": sorted(trial.demoted),
                    "passed": trial.passed,
                    "edits": [edit.model_dump(mode="json") for edit in trial.edits],
                }
                for trial in self.trials
            ],
            "rules": [str(rule) for rule in self.chosen.plan.rules],
            "seconds": self.seconds,
            "measured": None if self.measured is None else self.measured.to_dict(),
        }

    def text(self) -> str:
        """Say in a few lines what was found and what the rules are."""
        if self.measured is not None:
            return self.measured.text()
        kind = "by measured latencies" if self.costs.measured else "by the model of bytes and MACs"
        first, chosen = self.trials[0], self.chosen
        of = "" if first.on_all else f" on {first.measured.samples} of {chosen.measured.samples} samples"
        figure, everywhere = (self.goal.with_unit(trial.measured.figure) for trial in (chosen, first))
        figures = f"{figure} (everything in INT8: {everywhere}{of})"
        lines = [
            f"goal {self.goal}: {figures}, with {percent(chosen.share)} of the MACs in INT8",
            f"{chosen.cost_ms:.4g} ms {kind}; {self._evaluations()} in {self.seconds:.0f} s",
            *(f"costs: {sentence}" for sentence in self.costs.about if self.costs.measured),
            *self.notes,
            *self._ended(),
            *(f"first {edit.do} (a step of the recipe)" for edit in chosen.edits),
            *(f"{position}. {rule}" for position, rule in enumerate(chosen.plan.rules)),
        ]
        return "\n".join(lines)

    def _evaluations(self) -> str:
        few = [trial.raced for trial in self.trials if trial.raced is not None]
        everywhere = sum(trial.on_all for trial in self.trials)
        if not few:
            return counted(everywhere, "evaluation")
        return f"{counted(len(few), 'evaluation')} on {few[0].samples} samples, {everywhere} on all,"

    def _ended(self) -> tuple[str, ...]:
        if not self.stopped:
            return ()
        reached = "the best so far" if self.chosen.passed else "none of them reaches the goal yet"
        tried = counted(len(self.trials), "evaluation")
        return (f"stopped after {tried}: {reached}; in this session the same search goes on from here",)

    def _card(self) -> Card:
        if self.measured is not None:
            return self.measured._card()  # noqa: SLF001 - a result of the same kind
        headline, *notes = self.text().splitlines()
        rows = tuple((one.measured.figure, percent(one.share), one.cost_ms, one.move) for one in self.front)
        return Card(headline, (self.goal.name, "MACs in INT8", "cost, ms", "what was tried"), rows, tuple(notes))


def _plain(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def pareto_front(trials: Sequence[Trial], merit: Callable[[Score], tuple[float, float]]) -> tuple[Trial, ...]:
    """Return the trials that no other beats in cost without being worse, cheapest first."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.cost_ms, *(-x for x in merit(t.measured)))):
        if not front or merit(trial.measured) > merit(front[-1].measured):
            front.append(trial)
    return tuple(front)
