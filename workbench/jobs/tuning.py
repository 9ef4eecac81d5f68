"""The main jobs from files to files: tune a model, replay a recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.child import ChildError
from workbench.errors import RecipeError
from workbench.files import write_text
from workbench.handoff import before_after, page, report, text_table
from workbench.names import DEFAULT_METHOD, Method
from workbench.precision.search import MOST_TRIALS
from workbench.recipe import GateResult, Recipe, check_gates, check_result, environment
from workbench.recipe.steps import CalibrateStep, ChooseStep
from workbench.results import results_folder
from workbench.session import Workbench, history_of, open_model, open_recipe

if TYPE_CHECKING:
    import os

    from workbench.evaluate import Comparison
    from workbench.precision.search import SearchResult
    from workbench.session import Cost, PreprocessingLike

__all__ = [
    "DEFAULT_PRESET",
    "OUTPUTS",
    "SEARCH_OUTPUTS",
    "Moved",
    "TuneResult",
    "recalibrate",
    "replay_to",
    "search_to",
    "tune_to",
]

DEFAULT_PRESET = "int8"
"""What a tuning does where nothing else is asked for."""

REPORTS = ("report.json", "report.html")
OUTPUTS = ("tuned.onnx", "tuned.onnx.data", "recipe.yaml", *REPORTS)
"""``tuned.onnx.data`` only where one file cannot hold the model."""
SEARCH_OUTPUTS = (*OUTPUTS, "search.json")


@dataclass(frozen=True)
class TuneResult:
    """What a tuning came to.

    Parameters
    ----------
    workbench
        With the recipe and the tuned model.
    comparison
        Original against tuned.
    verdicts
        What became of each gate.
    files
        What was written.
    """

    workbench: Workbench
    comparison: Comparison
    verdicts: tuple[GateResult, ...]
    files: tuple[Path, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(verdict.passed for verdict in self.verdicts)

    def table(self) -> str:
        """Return the before/after table as text."""
        return text_table(before_after(self.workbench, self.comparison))


def tune_to(
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    samples: object,
    *,
    labels: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    method: Method = DEFAULT_METHOD,
    percentile: float = 99.99,
    batch: int = 1,
    preprocessing: PreprocessingLike = None,
    evaluation: object = None,
    runs: int = 30,
    preset: str = DEFAULT_PRESET,
    target: str | None = None,
) -> TuneResult:
    """Tune a model by the best practice; write the model, its recipe and the report in two forms (`OUTPUTS`).

    Parameters
    ----------
    out
        The folder to write to: new, empty, or holding the results of an earlier tuning.
    model
        The ONNX file.
    samples
        What to calibrate on; see `workbench.calibration.sources.open_samples`.
    labels
        One class index a sample that is compared on.
    max_drop, min_sqnr
        Gates: percentage points of top-1 that may be lost; SQNR in dB that the worst output must reach.
    method, percentile
        How ranges are picked.
    batch
        Samples a run for a model of dynamic batch.
    preprocessing
        For folders of images.
    evaluation
        What to compare on; the calibration's samples where left out.
    runs
        Timed runs of each model.
    preset
        Where precision starts from; see `workbench.precision.plan.presets.PRESETS`.
    target
        What it is tuned for, for example ``rtx@sm89``; see `workbench.precision.targets.parse_target`.

    Raises
    ------
    WorkbenchError
        Whatever is wrong with the input, before anything is written.
    ChildError
        ONNX Runtime crashed when it was first given the tuned model; that and the recipe are written.
    """
    with results_folder(out, OUTPUTS) as folder:
        wb = open_model(model)
        wb.plan.set_target(target)
        wb.prepare()
        if preset != DEFAULT_PRESET:
            wb.plan.use(preset)
        wb.calibrate(samples, method=method, percentile=percentile, batch=batch, preprocessing=preprocessing)
        if max_drop is not None:
            wb.require("top1_drop", at_most=max_drop)
        if min_sqnr is not None:
            wb.require("sqnr_db", at_least=min_sqnr)
        outcome = _finish(wb, folder, evaluation, labels=labels, preprocessing=preprocessing, runs=runs)
    return _measured(outcome)


def search_to(
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    samples: object,
    *,
    labels: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    method: Method = DEFAULT_METHOD,
    batch: int = 1,
    preprocessing: PreprocessingLike = None,
    evaluation: object = None,
    sensitivity: Literal["quick", "exact"] = "quick",
    cost: Cost = None,
    equalize: bool = False,
    correct_bias: bool = False,
    preset: str | None = None,
    target: str | None = None,
    most_trials: int = MOST_TRIALS,
    runs: int = 30,
) -> tuple[TuneResult, SearchResult]:
    """Search the cheapest plan that reaches a goal; write what `tune_to` writes, and the search (`SEARCH_OUTPUTS`).

    Parameters
    ----------
    max_drop, min_sqnr
        The goal, exactly one: percentage points of top-1 that may be lost; SQNR in dB that the worst output must reach.
    evaluation
        What every trial is evaluated on; the calibration's samples where left out.
    sensitivity, cost, equalize, correct_bias, most_trials
        See `workbench.session.Plan.search`.
    out, model, samples, labels, method, batch, preprocessing, preset, target, runs
        As for `tune_to`.

    Raises
    ------
    WorkbenchError
        Whatever is wrong with the input, or a goal out of reach, before anything is written.
    """
    with results_folder(out, SEARCH_OUTPUTS) as folder:
        wb = open_model(model)
        wb.plan.set_target(target)
        wb.prepare()
        if preset is not None:
            wb.plan.use(preset)
        wb.calibrate(samples, method=method, batch=batch, preprocessing=preprocessing)
        found = wb.plan.search(
            "sqnr_db" if max_drop is None else "top1_drop",
            at_least=min_sqnr,
            at_most=max_drop,
            samples=evaluation,
            labels=labels,
            preprocessing=preprocessing,
            sensitivity=sensitivity,
            cost=cost,
            equalize=equalize,
            correct_bias=correct_bias,
            most_trials=most_trials,
        )
        outcome = _finish(wb, folder, evaluation, labels=labels, preprocessing=preprocessing, runs=runs)
        trials = write_text(folder / "search.json", json.dumps(found.to_dict(), indent=1))
    result = _measured(outcome)
    return replace(result, files=(*result.files, trials)), found


def _finish(
    wb: Workbench,
    folder: Path,
    evaluation: object,
    *,
    labels: str | os.PathLike[str] | None,
    preprocessing: PreprocessingLike,
    runs: int,
) -> TuneResult | ChildError:
    """Lower, compare, check the gates and write; return how the comparison died where it did."""
    wb.tune()
    files = (*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml"))
    try:
        comparison = wb.compare(evaluation, labels=labels, preprocessing=preprocessing, runs=runs)
    except ChildError as error:
        return error
    verdicts = tuple(check_gates(wb.recipe.gates, comparison))
    content = json.dumps(report(wb, comparison, verdicts), indent=1)
    document = page(wb, comparison, verdicts)
    reports = (write_text(folder / "report.json", content), write_text(folder / "report.html", document))
    return TuneResult(wb, comparison, verdicts, (*files, *reports))


def _measured(outcome: TuneResult | ChildError) -> TuneResult:
    if isinstance(outcome, ChildError):
        raise ChildError(
            f"{outcome.what}; tuned.onnx and recipe.yaml are written, and nothing was measured",
            kind=outcome.kind,
            where=outcome.where,
            fix=outcome.fix,
        )
    return outcome


def replay_to(
    out: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    allow_scripts: bool = False,
) -> tuple[Path, ...]:
    """Make the tuned model of a recipe again, byte for byte, without a forward pass.

    Parameters
    ----------
    out
        The folder for ``tuned.onnx`` and ``recipe.yaml``.
    recipe
        The recipe.
    model
        Where its model is, if not where the recipe says.
    allow_scripts
        Whether Python scripts of the recipe may run.

    Raises
    ------
    RecipeError
        Another model, a script that may not run, or a result that is not the recipe's; then nothing is written.
    """
    wanted = Recipe.load(recipe)
    wb = open_recipe(recipe, model=model, allow_scripts=allow_scripts)
    wb.tune()
    check_result(wanted, wb.recipe.tuned, environment())
    names = (*OUTPUTS, *wb.recipe.scripts(out))
    with results_folder(out, names, keeps=REPORTS if _is_made_there(out, wanted) else ()) as folder:
        return (*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml"))


def _is_made_there(out: str | os.PathLike[str], recipe: Recipe) -> bool:
    """Say whether a folder holds what a recipe makes: then what was measured of it still holds."""
    file = Path(out, "tuned.onnx")
    if recipe.tuned is None or not file.is_file():
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == recipe.tuned.sha256


@dataclass(frozen=True)
class Moved:
    """A range that another calibration found elsewhere.

    Parameters
    ----------
    tensor
        The tensor.
    before, after
        The thresholds; `None` where it had none.
    """

    tensor: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float:
        """Relative change; infinite where there was no range before, or is none any more."""
        if self.before is None or self.after is None:
            return float("inf")
        return self.after / self.before - 1.0


def recalibrate(
    out: str | os.PathLike[str],
    recipe: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    samples: object = None,
    allow_scripts: bool = False,
) -> tuple[list[Moved], tuple[Path, ...]]:
    """Replay a recipe with its calibrations measured again, and say what moved.

    Parameters
    ----------
    out
        The folder for the new ``tuned.onnx`` and ``recipe.yaml``.
    recipe
        The recipe.
    model
        Where its model is, if not where the recipe says.
    samples
        Other samples than the recipe's.
    allow_scripts
        Whether Python scripts of the recipe may run.

    Returns
    -------
    moved : list of Moved
        Every range that is not what it was, the largest change first.
    files : tuple of Path
        What was written.

    Raises
    ------
    RecipeError
        The recipe has no calibration, or its samples were not a file or folder and none are given.
    """
    with results_folder(out, (*OUTPUTS, *Recipe.load(recipe).scripts(out))) as folder:
        old = open_recipe(recipe, model=model, allow_scripts=allow_scripts)
        wb = _recalibrated(old, recipe, samples)
        wb.tune()
        names = [*old.ranges, *(name for name in wb.ranges if name not in old.ranges)]
        moved = [Moved(name, old.ranges.get(name), wb.ranges.get(name)) for name in names]
        changed = sorted((m for m in moved if m.before != m.after), key=lambda m: -abs(m.change))
        return changed, (*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml"))


def _recalibrated(old: Workbench, recipe: str | os.PathLike[str], samples: object) -> Workbench:
    """Do the steps of a recipe again, and measure where it measured."""
    if not old.recipe.of_kind(CalibrateStep):
        raise RecipeError("the recipe has no calibration", where=recipe, fix="Replay it without --recalibrate.")
    wb = Workbench(old.source, recipe=old.recipe.model_copy(update={"steps": (), "tuned": None}))
    for step in old.recipe.steps:
        if isinstance(step, ChooseStep) and step.statistics is None:
            wb.ranges.choose(step.method, percentile=step.percentile or 99.99, overrides=step.overrides)
            continue
        if not isinstance(step, CalibrateStep):
            history_of(wb).do(step)
            continue
        source = step.samples.source
        if samples is None and "path" not in source:
            raise RecipeError("its samples were no file", where=recipe, fix="Give them: --samples.")
        wb.calibrate(
            samples if samples is not None else source["path"],
            method=step.method,
            percentile=step.percentile if step.percentile is not None else 99.99,
            batch=step.batch,
            preprocessing=source.get("preprocessing"),
        )
    return wb
