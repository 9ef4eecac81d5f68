"""The verdict on a comparison: one sentence that says whether it is good, and one next step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from workbench.recipe import METRICS, Gate, check_gates
from workbench.recipe.steps import CalibrateStep, PlanStep
from workbench.session.closing import LOW_SQNR, remarks
from workbench.session.workbench import history_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.evaluate import Comparison
    from workbench.recipe import GateResult
    from workbench.session.workbench import Workbench

__all__ = ["GOOD_SQNR", "Judgement", "verdict"]

GOOD_SQNR = 30.0
"""In dB: above it the error of an output has less than a thousandth of its power."""
LOST_POINTS = 1.0
"""Percentage points of top-1 that are noticed."""
FEW_DIFFERING = 0.01
"""Of whole numbers: the share that may differ."""
EVALUATIONS = 20
"""Of the plans of a search, for an estimate of its time; see the searches in docs/measured.md."""

Kind = Literal["good", "fair", "bad"]


@dataclass(frozen=True)
class Judgement:
    """What a comparison comes to.

    Parameters
    ----------
    kind
        Whether it is ``good``, ``fair`` (look at the task's own figure) or ``bad``.
    headline
        One sentence with the figure.
    next
        One thing to do next, a sentence.
    ask
        The same for a page: ``search``, ``calibrate``, ``precision``, ``inspect``, ``build``.
    notes
        What limits the verdict, a sentence each.
    """

    kind: Kind
    headline: str
    next: str
    ask: str
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it as two lines and its notes."""
        return "\n".join([f"{self.kind}: {self.headline}", f"next: {self.next}", *self.notes])


def verdict(wb: Workbench, comparison: Comparison, gates: Sequence[GateResult] | None = None) -> Judgement:
    """Judge a comparison: nothing is good that misses a gate.

    Parameters
    ----------
    wb
        What was compared.
    comparison
        Its figures.
    gates
        What came of the recipe's gates; of those on a comparison, where left out, what it says itself.
    """
    judgement = _of_figures(wb, comparison)
    if gates is None:
        asked = [gate for gate in wb.recipe.gates if METRICS[gate.metric].source == "comparison"]
        gates = check_gates(asked, comparison)
    missed = [gate for gate in gates if not gate.passed]
    if not missed:
        return judgement
    more = f" ({len(missed)} gates are missed)" if len(missed) > 1 else ""
    headline = f"{judgement.headline}; gate {missed[0]}{more}"
    step = (judgement.next, judgement.ask)
    if judgement.ask not in {"inspect", "precision"}:
        step = _towards(wb, comparison, Gate.parse(missed[0].gate)) or step
    return replace(judgement, kind="bad", headline=headline, next=step[0], ask=step[1])


def _towards(wb: Workbench, comparison: Comparison, gate: Gate) -> tuple[str, str] | None:
    """Return what may reach a gate that was missed; None where it is on something else that nobody searches for."""
    if gate.metric == "sqnr_db" and gate.at_least is not None:
        return _try(wb, comparison, gate.at_least)
    if gate.metric == "top1_drop" and gate.at_most is not None and comparison.accuracy is not None:
        return _bound(comparison, gate.at_most)
    if gate.metric == "speedup" and wb.recipe.pays.where is None:
        return "Have engines built and timed where it will run: the same with --measure BACKEND.", "build"
    return None


def _of_figures(wb: Workbench, comparison: Comparison) -> Judgement:
    searched = wb.recipe.newest(PlanStep) is not None
    notes = _limits(wb, comparison)
    warnings = [one for one in remarks(wb, comparison) if one.startswith(("nothing", "the plan changed nothing"))]
    if comparison.nonfinite:
        count = f"{comparison.nonfinite:,} values became NaN or infinite"
        return Judgement(
            "bad", count, "Take the nodes that make them back to FP32 or BF16: see the note.", "inspect", notes
        )
    if warnings:
        step = "Choose another preset or rules that select what multiplies."
        if searched:
            step = "Lower its goal, or take --preset fp16, which loses less than INT8."
        return Judgement("fair", warnings[0], step, "precision", notes)
    if comparison.accuracy is not None:
        lost = comparison.accuracy.drop
        headline = f"top-1 {comparison.accuracy.original:.2%} -> {comparison.accuracy.tuned:.2%}"
        if lost <= LOST_POINTS:
            return Judgement(
                "good", f"{headline}: {'nothing' if lost <= 0 else f'{lost:.2f} points'} lost", *_build(wb), notes
            )
        return Judgement("bad", f"{headline}: {lost:.2f} points lost", *_bound(comparison, LOST_POINTS), notes)
    worst = comparison.worst_sqnr_db
    if math.isnan(worst):
        differing = max((output.differing for output in comparison.outputs), default=0.0)
        kind: Kind = "good" if differing <= FEW_DIFFERING else "bad"
        return Judgement(
            kind,
            f"{differing:.2%} of the whole numbers differ",
            *(_build(wb) if kind == "good" else _try(wb, comparison)),
            notes,
        )
    if worst < LOW_SQNR:
        return Judgement("bad", f"{worst:.1f} dB at the worst output is too low", *_try(wb, comparison), notes)
    if worst < GOOD_SQNR and not searched:
        headline = f"{worst:.1f} dB at the worst output: look at the task's own figure"
        return Judgement("fair", headline, *_try(wb, comparison, GOOD_SQNR), notes)
    figure = "equal to the original" if math.isinf(worst) else f"{worst:.1f} dB at the worst output"
    return Judgement("good" if worst >= GOOD_SQNR else "fair", figure, *_build(wb), notes)


def _build(wb: Workbench) -> tuple[str, str]:
    pays = wb.recipe.pays
    if pays.where is not None:
        outcome = f"{pays.stay} ({pays.verdict}; {pays.where})" if pays.stay else f"It was built and timed: {pays}"
        return f"{outcome}. Time it again where it will run, if that is elsewhere.", "build"
    if pays.stay:
        return f"{pays.stay}.", "search"
    return "Build an engine where it will run, and time it there.", "build"


def _bound(comparison: Comparison, points: float) -> tuple[str, str]:
    return f"Try {_search(f'--max-drop {points:g}', comparison)}.", "search"


def _try(wb: Workbench, comparison: Comparison, goal: float = LOW_SQNR) -> tuple[str, str]:
    step = wb.recipe.newest(CalibrateStep)
    # It makes the least error of each tensor; of five real models it lost to another on one, by 0.3 dB.
    other = step is not None and step.method != "mse"
    if math.isnan(comparison.worst_sqnr_db):  # a search measures floating-point outputs, or top-1
        if other:
            return "Try --method mse, or leave in floating point what wb.sensitivity() names first.", "calibrate"
        return "Leave in floating point what wb.sensitivity() names first.", "precision"
    return (
        f"Try {'--method mse, or ' if other else ''}{_search(f'--min-sqnr {goal:g}', comparison)}.",
        "search",
    )


def _search(bound: str, comparison: Comparison) -> str:
    return f"workbench search in place of tune, with {bound}{_about(comparison)}"


def _about(comparison: Comparison) -> str:
    """Return about how long a search takes, by how long running the models took."""
    if not comparison.seconds > 0:
        return ""
    seconds = comparison.seconds / 2 * EVALUATIONS
    return f" (about {max(seconds, 1):.0f} s)" if seconds < 90 else f" (about {seconds / 60:.0f} min)"


def _limits(wb: Workbench, comparison: Comparison) -> tuple[str, ...]:
    own = ("Compared on the calibration's samples: others may fare worse.",) if comparison.calibrated else ()
    return (*own, *(f"Not checked: {sentence}" for sentence in history_of(wb).unchecked))
