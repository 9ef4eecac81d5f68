"""A search that builds engines: what it needs of a session, and what of it becomes the recipe's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.precision import target_of
from workbench.precision.measuring import MeasureOptions, measure_tuned, measured_search
from workbench.precision.placement import Pays, Speed
from workbench.precision.plan import Rule, preset
from workbench.precision.search import (
    CALIBRATED,
    Evaluator,
    SearchResult,
    Trials,
    check_floating,
    modelled_costs,
    try_ways,
    ways_to_choose,
)
from workbench.precision.sensitivity import DEFAULT_MEMORY, axis_lengths
from workbench.recipe import ranges_hash
from workbench.recipe.steps import PlanStep
from workbench.session.editing import conversion_steps
from workbench.session.evaluation import reference_of

if TYPE_CHECKING:
    from workbench.calibration import Samples
    from workbench.names import BackendName
    from workbench.precision.measuring import MeasuredResult
    from workbench.precision.search import Goal, Trial
    from workbench.session.history import History

__all__ = ["measured_plan", "step_that_pays"]


def measured_plan(
    history: History, goal: Goal, measure: BackendName | MeasureOptions, samples: Samples, *, batch: int
) -> SearchResult:
    """Find the fastest plan that reaches a goal by engines; see `measured_search`.

    Starts from the rules there are, or from INT8 over the backend's fastest floating-point type.
    """
    options = _options(history, measure)
    with history.attempt():
        history.drop_plan()
        _aim(history, options)
        name = "int8" if options.floating == "fp32" else f"int8+{options.floating}"
        rules = history.state.plan if history.state.plan.rules else preset(name, history.state.model)
        for step, state in conversion_steps(history.state, rules):
            history.append(step, state)
        state = history.state
        costs = modelled_costs(state.model, axis_lengths(state.model, samples))
        with Evaluator(reference_of(history), samples, goal, batch=batch, memory=DEFAULT_MEMORY) as evaluate:
            trials = Trials(
                state.model,
                goal,
                evaluate,
                costs,
                rules,
                options.floating,
                dict(state.ranges),
                None,  # builds are what is limited; evaluations come before them, to choose what is built
                state.target,
                state.overflow,
                state.unranged,
            )
            if not trials.everything("all in INT8, ranges as calibrated").passed:
                check_floating(trials)
                statistics = history.measured.statistics
                ways = {} if statistics is None else ways_to_choose(trials, statistics, samples, batch)
                try_ways(trials, {CALIBRATED: trials.ranges, **ways}, ())
            result = measured_search(
                state.model,
                samples,
                goal,
                trials,
                options,
                target=state.target,
                overflow=state.overflow,
                unranged=state.unranged,
                batch=batch,
            )
    trial_of = _measured_trials(result)
    chosen = trial_of[id(result.chosen.candidate.trial)]
    tried = tuple(trial_of.get(id(trial), trial) for trial in trials.all)
    front = {id(trial): trial_of[id(trial)] for point in result.front if (trial := point.candidate.trial) is not None}
    return SearchResult(goal, chosen, tuple(front.values()), tried, None, costs, result.seconds, measured=result)


def step_that_pays(history: History, measure: BackendName | MeasureOptions) -> PlanStep:
    """Return the step that keeps a session's plan, or floating point where the plan is not surely faster."""
    options = _options(history, measure)
    _aim(history, options)
    state = history.state
    plan = state.plan if state.plan.rules else preset("int8", state.model)
    for step, after in conversion_steps(state, plan):
        history.append(step, after)
    state = history.state
    pays = measure_tuned(
        state.model,
        plan,
        state.ranges,
        options,
        target=state.target,
        overflow=state.overflow,
        unranged=state.unranged,
    )
    kind = options.floating
    if pays.verdict == "not measured":
        move, rules = "not measured: there is nothing to compare", plan.rules
    elif pays.verdict == "pays":
        move, rules = "measured: the plan pays", plan.rules
    else:
        move, rules = f"measured: stay in {kind.upper()}", (Rule(select="*", precision=kind),)
        pays = pays.model_copy(
            update={"reason": f"stay in {kind.upper()}: the plan takes {pays.ratio:.3f} ± {pays.error:.3f} of its time"}
        )
    return PlanStep(move=move, sha256=ranges_hash({}), rules=rules, pays=pays)


def _options(history: History, measure: BackendName | MeasureOptions) -> MeasureOptions:
    options = measure if isinstance(measure, MeasureOptions) else MeasureOptions(measure)
    asked = history.recipe.build
    return options if asked is None else replace(options, build=asked.added_to(options.build))


def _aim(history: History, options: MeasureOptions) -> None:
    """Lower for what measures, where nothing else was said: what is written then is what was measured."""
    if history.state.target is None:
        history.set_target(target_of(options.capabilities()))


def _measured_trials(result: MeasuredResult) -> dict[int, Trial]:
    """Return what becomes of each evaluated plan that was built: the identity of its trial to it with what it took."""
    engines = tuple(
        Speed(
            name=point.name,
            ratio=point.ratio or 1.0,
            error=point.error or 0.0,
            latency_ms=point.latency_ms or 0.0,
            figure=point.plain_figure,
        )
        for point in result.front
    )
    trials: dict[int, Trial] = {}
    for point in (*result.points, result.chosen):  # of a plan with several build options the one that was chosen
        trial, chosen = point.candidate.trial, point.name == result.chosen.name
        if trial is None or (id(trial) in trials and not chosen):
            continue
        pays = result.pays if chosen else point.pays or Pays()
        reason = f"{point.name}: {result.reason}" if chosen else f"{point.name}: taken by hand"
        trials[id(trial)] = replace(
            trial,
            move=f"measured: {point.candidate.move}",
            plan=(point.candidate.plan if point.candidate.kind == "floating" else None) or trial.plan,
            pays=pays.model_copy(update={"reason": reason, "build": point.candidate.ways or None}),
            engines=engines,
        )
    return trials
