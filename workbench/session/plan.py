"""The precision plan of a workbench: look at it, change it, have it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from workbench.calibration import labels_for
from workbench.display import Card, Shown
from workbench.errors import PrecisionError
from workbench.graph.select import select as find
from workbench.names import QUANTIZED
from workbench.precision import parse_target
from workbench.precision.placement import Pays
from workbench.precision.plan import import_trtexec, preset
from workbench.precision.search import MOST_TRIALS, Goal, search
from workbench.precision.sensitivity import axis_lengths
from workbench.recipe import Gate, ranges_hash
from workbench.recipe.steps import PlanStep, PrecisionStep
from workbench.runtime import on_device
from workbench.session.editing import conversion_steps, edit
from workbench.session.evaluation import reference_of
from workbench.session.samples import samples_for
from workbench.session.searching import CostSource, check_start, costs_of, with_equalization
from workbench.session.thresholds import calibration

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from workbench.graph.edits import EditResult
    from workbench.names import BackendName, Precision
    from workbench.precision.measuring import MeasureOptions
    from workbench.precision.plan import PrecisionPlan, Resolution, Rule
    from workbench.precision.search import SearchResult, Trial
    from workbench.precision.sensitivity import TaskMetric
    from workbench.session.history import History
    from workbench.session.samples import PreprocessingLike

__all__ = ["Plan"]


class Plan(Shown):
    """The precision plan of a workbench.

    Parameters
    ----------
    history
        Whose plan it is; changes go to its recipe.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def _card(self) -> Card:
        idle = self.rules.idle(self._history.state.model)
        rows = tuple((at, str(rule), "selects nothing" * (at in idle)) for at, rule in enumerate(self.rules.rules))
        some = f"{len(rows)} rules; the last that selects a node decides"
        return Card(some if rows else "no rules yet: tune() starts from the best practice", ("", "rule", ""), rows)

    @property
    def rules(self) -> PrecisionPlan:
        """The rules, in order."""
        return self._history.state.plan

    def set(self, select: str, precision: Precision, **options: Any) -> None:
        """Add a rule: what `select` selects gets `precision`. Later rules win.

        Parameters
        ----------
        select
            A selector in its text form.
        precision
            ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``.
        **options
            See `workbench.precision.plan.plan.Rule`.

        Raises
        ------
        SelectorError
            The selector cannot be read, or selects no node.
        PrecisionError
            There is no such precision or option, they do not go together, or the target cannot have this precision.
        """
        state = self._history.state
        find(state.model, select)
        try:
            step = PrecisionStep(select=select, precision=precision, **options)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise PrecisionError(
                f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, "),
                where=select,
                fix="See the options of a rule: help(workbench.precision.plan.plan.Rule).",
            ) from error
        # What the target cannot have is refused here, before it is a rule, and not when the plan is lowered.
        self.resolve_with(step.rule)
        self._history.do(step)

    def use(self, preset_name: str) -> None:
        """Add the rules of a preset (see `workbench.precision.plan.presets`), those that select something here.

        Raises
        ------
        PrecisionError
            There is no such preset; it is ``original``, and the model has no quantization of its own; or the target
            cannot have one of its precisions.
        """
        rules = preset(preset_name, self._history.state.model).rules
        self.resolve_with(*rules)
        self.add(*rules)

    def add(self, *rules: Rule) -> None:
        """Add rules that are known to be right, one step each."""
        for rule in rules:
            self._history.do(PrecisionStep(**rule.model_dump()))

    def set_target(self, target: str | None) -> None:
        """Say what the model is tuned for: ``rtx@sm89``, ``tensorrt-8.6``, ...; ``None`` for any.

        Raises
        ------
        PrecisionError
            There is no such target; see `workbench.precision.targets.TARGETS`.
        """
        self._history.set_target(None if target is None else parse_target(target))

    def correct_bias(self, samples: object = None, *, preprocessing: PreprocessingLike = None) -> EditResult:
        """Take out of each bias what INT8, by the plan as it is, adds to the mean of its channel.

        See `workbench.graph.edits.correct_bias.CorrectBias`. The last step before `tune`: it fits these ranges and
        rules alone.

        Parameters
        ----------
        samples, preprocessing
            What to measure on; the calibration's samples where left out.

        Raises
        ------
        RecipeError
            Nothing was calibrated.
        """
        from workbench.precision.measured_edits import bias_shifts

        calibration(self._history)
        state = self._history.state
        data, batch = samples_for(self._history, samples, preprocessing)
        resolution = state.resolve()
        nodes = resolution.nodes("int8")
        shifts = bias_shifts(state.model, nodes, state.ranges, data, batch=batch, resolution=resolution)
        return edit(self._history, shifts)

    def import_trtexec(self, command: str) -> tuple[str, ...]:
        """Add the rules of a trtexec command line's ``--layerPrecisions`` and ``--layerOutputTypes``.

        Returns
        -------
        tuple of str
            One sentence for each entry that is no rule here; see `workbench.precision.plan.trtexec`.

        Raises
        ------
        PrecisionError
            The options cannot be read, or there are none.
        """
        imported = import_trtexec(command, self._history.state.model)
        self.add(*imported.plan.rules)
        return imported.notes

    def resolve(self) -> Resolution:
        """Return what the rules decide for each node."""
        return self._history.state.resolve()

    def resolve_with(self, *rules: Rule) -> Resolution:
        """Return what the rules would decide with more of them at the end; PrecisionError where the target cannot."""
        state = self._history.state
        return state.resolve(self.rules.with_rules(*rules))

    def explain(self, node: str) -> str:
        """Say which rule decided on a node, and what changed its verdict."""
        return self.resolve().explain(node)

    @property
    def precisions(self) -> dict[str, Precision]:
        """The precision of every node that a rule decides, by address: what is asked of an engine."""
        decisions = self.resolve().decisions.values()
        return {decision.node: decision.precision for decision in decisions if decision.rule is not None}

    def table(self) -> pd.DataFrame:
        """Return one row a node: what was requested, what it gets, the deciding rule, and why."""
        import pandas as pd

        rows = [
            {
                "node": decision.node,
                "op": decision.op_type,
                "requested": decision.requested,
                "precision": decision.precision,
                "floating": decision.floating,
                "rule": decision.rule,
                "reason": "; ".join(decision.reasons),
            }
            for decision in self.resolve().decisions.values()
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        table["rule"] = table["rule"].astype("Int64")
        return table

    def search(
        self,
        metric: Literal["sqnr_db", "top1_drop"] | TaskMetric,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        samples: object = None,
        labels: str | os.PathLike[str] | npt.NDArray[np.int64] | None = None,
        batch: int | None = None,
        preprocessing: PreprocessingLike = None,
        sensitivity: Literal["quick", "exact"] = "quick",
        cost: CostSource = None,
        fallback: Precision | None = None,
        equalize: bool = False,
        correct_bias: bool = False,
        most_trials: int = MOST_TRIALS,
        device: str | None = None,
        measure: BackendName | MeasureOptions | None = None,
    ) -> SearchResult:
        """Find the cheapest plan that reaches a goal, and append it to the recipe as one step.

        Starts from the rules there are (not from what an earlier search set last), or from the best practice. Q/DQ is
        computed as written. With an SQNR to reach and twelve runs or more, plans race on four runs that lie evenly
        among all; what is taken is evaluated on all. The goal becomes a gate of the recipe if it is a metric of one.

        Parameters
        ----------
        metric, at_least, at_most
            The goal, as for `require`; or a function of the outputs of all runs, in the order of the samples.
        samples
            What to evaluate on; the calibration's samples where left out.
        labels
            One class index a sample, for ``top1_drop``.
        batch
            Samples a run for a model of dynamic batch; the calibration's where left out.
        preprocessing
            For a folder of images.
        sensitivity
            ``quick`` (a few forward passes a sample) or ``exact``.
        cost
            An engine report with the times of its layers, several of them (one in FP16, one in INT8; by precision where
            Myelin made regions of it, see `workbench.precision.search.engine.engine_costs`), or measured milliseconds:
            node to precision to time. What they do not tell is modelled, and `SearchResult.costs` says
            what. Where left out, bytes and MACs decide.
        fallback
            What a node gets that cannot be INT8; the floating type of the plan's last rule of one, else FP32.
        equalize
            Search again with equalized channels (`Workbench.equalize`); where the plan found is cheaper, or as cheap
            and more accurate, the edit and the new calibration enter the recipe.
        correct_bias
            Try corrected biases on the best plan, and on cheaper ones that just fail; where they help, the edit is
            part of the plan's step.
        most_trials
            Evaluations after which the best plan found is taken.
        device
            ``cuda``, ``cuda:1`` or ``cuda:0+tf32`` evaluate on a GPU; see `Workbench.calibrate`.
        measure
            A backend, or all that a measurement can be asked for: engines are built and timed, and the fastest plan
            that reaches the goal is taken; "stay in floating point" is one. Its target is taken where none is set.

        Returns
        -------
        SearchResult
            Interrupted, it is what was evaluated until then, and the best plan that reaches the goal, if one does, is
            taken. The same search again goes on from there.

        Raises
        ------
        PrecisionError
            Not even `fallback` everywhere reaches the goal, or the goal is no goal; nothing can be quantized; a report
            without times.
        RecipeError
            There are no samples, or nothing was calibrated.
        ReportError
            A report of another model.
        """
        history = self._history
        check_start(history)
        data, used = samples_for(history, samples, preprocessing)
        size = batch or used
        indices = None if labels is None else labels_for(labels, data, history.state.model)
        goal = Goal(metric, at_least=at_least, at_most=at_most, labels=indices)
        if measure is not None:
            from workbench.session.measuring import measured_plan

            result = measured_plan(history, goal, measure, data, batch=size)
            history.keep("search", search=result, searched=None)
            self.take(result.chosen)
            self._require(goal)
            return result
        about = (history.without_plan()[1].model, metric, at_least, at_most, data, size, fallback, cost, sensitivity)
        before = history.figures
        again = before.search is not None and before.search.stopped and labels is None and before.searched == about
        earlier = before.search.trials if again and before.search is not None else ()

        def run() -> SearchResult:
            state = history.state
            return search(
                state.model,
                data,
                goal,
                ranges=state.ranges,
                costs=costs_of(state.model, cost, axis_lengths(state.model, data)),
                statistics=history.measured.statistics,
                plan=rules,
                fallback=fallback or _floating(rules),
                sensitivity=sensitivity,
                correct_bias=samples_for(history, None)[0] if correct_bias else None,
                reference=reference_of(history),
                batch=size,
                most_trials=most_trials,
                target=state.target,
                overflow=state.overflow,
                unranged=state.unranged,
                earlier=earlier,
            )

        with history.attempt(), on_device(device):
            history.drop_plan()
            rules = self.rules if self.rules.rules else preset("int8", history.state.model)
            for step, state in conversion_steps(history.state, rules):
                history.append(step, state)
            result = run()
            if equalize:
                result = with_equalization(history, result, run)
        measured = result.sensitivity or history.figures.sensitivity
        history.keep("search", search=result, searched=about, sensitivity=measured)
        if not result.chosen.passed:
            return result  # it was stopped before a plan reached the goal
        self.take(result.chosen)
        self._require(goal)
        return result

    def _require(self, goal: Goal) -> None:
        if isinstance(goal.metric, str):
            self._history.require(Gate(metric=goal.metric, at_most=goal.at_most, at_least=goal.at_least))

    def keep_what_pays(self, measure: BackendName | MeasureOptions) -> Pays:
        """Build engines of the plan and in floating point, time them in turns, and let the recipe stay with what pays.

        Raises
        ------
        BackendError
            The backend cannot measure here, or one of the engines could not be built and timed.
        """
        from workbench.session.measuring import step_that_pays

        self._history.do(step := step_that_pays(self._history, measure))
        return step.pays or Pays()

    def take(self, trial: Trial) -> None:
        """Set the plan that a search tried, for example one of its Pareto front: one step of the recipe.

        The step overrules all rules before it, and takes the place of the last step if that is such a one.

        Parameters
        ----------
        trial
            Out of `SearchResult.front` or `SearchResult.trials`, of a search on this model.
        """
        if not self.is_taken(trial):
            self._history.do(self._step(trial))

    def is_taken(self, trial: Trial) -> bool:
        """Say whether the recipe's last step set this very plan."""
        steps = self._history.recipe.steps
        return bool(steps) and isinstance(steps[-1], PlanStep) and steps[-1] == self._step(trial)

    def _step(self, trial: Trial) -> PlanStep:
        before = self._history.without_plan()[1].ranges
        ranges = {tensor: amax for tensor, amax in trial.ranges.items() if amax != before.get(tensor)}
        return PlanStep(
            move=trial.move,
            edits=trial.edits,
            ranges=ranges,
            sha256=ranges_hash(ranges),
            rules=trial.plan.rules,
            pays=trial.pays,
            engines=trial.engines or None,
        )


def _floating(plan: PrecisionPlan) -> Precision:
    """Return the floating type that a plan's nodes have where they are not quantized, by its last rule of one."""
    return next((rule.precision for rule in reversed(plan.rules) if rule.precision not in QUANTIZED), "fp32")
