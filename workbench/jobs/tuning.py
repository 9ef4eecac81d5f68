"""The main jobs from files to files: tune a model, replay a recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.child import ChildError
from workbench.display import Card, Shown
from workbench.errors import OptionError, RecipeError
from workbench.files import write_text
from workbench.handoff import before_after, page, remarks, report, text_table
from workbench.jobs.options import DEFAULT_PRESET, ReplayOptions, SearchOptions, TuneOptions, job
from workbench.jobs.verbs import EXIT_GATE
from workbench.names import PRECISIONS
from workbench.precision.search import MOST_TRIALS
from workbench.recipe import GateResult, Recipe, check_gates, check_result, environment
from workbench.recipe.steps import CalibrateStep, ChooseStep
from workbench.results import results_folder
from workbench.session import Workbench, history_of, open_model, open_recipe

if TYPE_CHECKING:
    import os

    from workbench.evaluate import Comparison
    from workbench.precision.search import SearchResult
    from workbench.session import Cost

__all__ = ["OUTPUTS", "SEARCH_OUTPUTS", "Moved", "ReplayResult", "TuneResult", "replay", "search", "tune"]

MOST_LINES = 20

REPORTS = ("report.json", "report.html")
OUTPUTS = ("tuned.onnx", "tuned.onnx.data", "recipe.yaml", *REPORTS)
"""``tuned.onnx.data`` only where one file cannot hold the model."""
SEARCH_OUTPUTS = (*OUTPUTS, "search.json")


@dataclass(frozen=True, repr=False)
class TuneResult(Shown):
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
    search
        What was tried, where it was searched.
    """

    workbench: Workbench
    comparison: Comparison
    verdicts: tuple[GateResult, ...]
    files: tuple[Path, ...]
    search: SearchResult | None = None

    @property
    def passed(self) -> bool:
        """Whether every gate was met."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was not done or went badly, and what to do next, a sentence each."""
        return (*remarks(self.workbench, self.comparison), *self.workbench.advice)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 0 if self.passed else EXIT_GATE

    def text(self) -> str:
        """Return what was tried, the before/after table and the gates."""
        tried = () if self.search is None else (f"{self.search.text()}\n",)
        gates = "".join(f"gate {verdict}\n" for verdict in self.verdicts)
        return "\n".join((*tried, f"{self.table()}\n", gates)).rstrip("\n")

    def table(self) -> str:
        """Return the before/after table as text."""
        return text_table(before_after(self.workbench, self.comparison))

    def _card(self) -> Card:
        gates = tuple(f"gate {verdict}" for verdict in self.verdicts)
        rows = tuple(
            (row.what, row.original, row.tuned, row.change) for row in before_after(self.workbench, self.comparison)
        )
        name = self.workbench.source.name
        done = f"{name} is tuned" if self.passed else f"{name} is tuned, and a gate FAILED"
        return Card(
            done, ("", "original", "tuned", "change"), rows, (*gates, *(f"wrote {path}" for path in self.files))
        )


@job(TuneOptions)
def tune(options: TuneOptions) -> TuneResult:
    """See `TuneOptions`."""
    with results_folder(options.out, OUTPUTS) as folder:
        wb = _started(options)
        for gate in _gates(options):
            wb.require(**gate)
        outcome = _finish(wb, folder, options)
    return _measured(outcome)


@job(SearchOptions)
def search(options: SearchOptions) -> TuneResult:
    """See `SearchOptions`."""
    cost = _cost_of(options) if options.cost is None else options.cost
    with results_folder(options.out, SEARCH_OUTPUTS) as folder:
        wb = _started(options)
        (goal,) = _gates(options)
        found = wb.plan.search(
            **goal,
            samples=options.evaluation,
            labels=options.labels,
            preprocessing=options.preprocessing,
            sensitivity="exact" if options.exact else "quick",
            cost=cost,
            equalize=options.equalize,
            correct_bias=options.correct_bias,
            most_trials=options.most_trials or MOST_TRIALS,
        )
        outcome = _finish(wb, folder, options)
        trials = write_text(folder / "search.json", json.dumps(found.to_dict(), indent=1))
    result = _measured(outcome)
    return replace(result, files=(*result.files, trials), search=found)


def _started(options: TuneOptions) -> Workbench:
    """Open, prepare and calibrate a model."""
    wb = open_model(options.model)
    wb.plan.set_target(options.target)
    wb.prepare()
    # The best practice is what tuning starts from where no rule is given.
    if options.preset not in (None, DEFAULT_PRESET) or (
        isinstance(options, SearchOptions) and options.preset is not None
    ):
        wb.plan.use(options.preset)
    wb.calibrate(
        options.samples,
        method=options.method,
        percentile=options.percentile,
        batch=options.batch,
        preprocessing=options.preprocessing,
    )
    return wb


def _gates(options: TuneOptions) -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = []
    if options.max_drop is not None:
        gates.append({"metric": "top1_drop", "at_most": options.max_drop})
    if options.min_sqnr is not None:
        gates.append({"metric": "sqnr_db", "at_least": options.min_sqnr})
    return gates


def _cost_of(options: SearchOptions) -> Cost:
    """Read the engines whose times are the costs, each by the precision that stands before its file, if one does."""
    from workbench.engine import load_report

    named = [_engine(text) for text in options.engine]
    reports = [load_report(file, profile=times) for (_, file), times in zip(named, options.profile, strict=True)]
    regions = [precision for precision, _ in named if precision is not None]
    if not regions:
        return reports or None
    if len(set(regions)) < len(reports):
        raise OptionError("`engine`: give every one a precision of its own, or none")
    return dict(zip(regions, reports, strict=True))


def _engine(text: str) -> tuple[str | None, Path]:
    """Read a file's name with the engine's precision before it: ``int8=graph.json``."""
    precision, equals, file = text.partition("=")
    return (precision, Path(file)) if equals and precision in PRECISIONS else (None, Path(text))


def _finish(wb: Workbench, folder: Path, options: TuneOptions) -> TuneResult | ChildError:
    """Lower, compare, check the gates and write; return how the comparison died where it did."""
    wb.tune()
    files = (*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml"))
    try:
        comparison = wb.compare(
            options.evaluation, labels=options.labels, preprocessing=options.preprocessing, runs=options.runs
        )
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


@dataclass(frozen=True, repr=False)
class ReplayResult(Shown):
    """What a replay came to.

    Parameters
    ----------
    files
        What was written.
    moved
        Every range that is not what it was, the largest change first; ``None`` where nothing was measured again.
    """

    files: tuple[Path, ...]
    moved: tuple[Moved, ...] | None = None

    def text(self) -> str:
        """Return what came of it in a few lines."""
        if self.moved is None:
            return "the tuned model is, byte for byte, the recipe's"
        lines = [f"{len(self.moved)} ranges moved" if self.moved else "no range moved"]
        lines += [f"  {one}" for one in self.moved[:MOST_LINES]]
        if len(self.moved) > MOST_LINES:
            lines.append(f"  and {len(self.moved) - MOST_LINES} more")
        return "\n".join(lines)

    def _card(self) -> Card:
        return Card.of_text(self.text())


@job(ReplayOptions)
def replay(options: ReplayOptions) -> ReplayResult:
    """See `ReplayOptions`."""
    if options.recalibrate:
        return _recalibrate(options)
    wanted = Recipe.load(options.recipe)
    wb = open_recipe(options.recipe, model=options.model, allow_scripts=options.allow_scripts)
    wb.tune()
    check_result(wanted, wb.recipe.tuned, environment())
    kept = REPORTS if _is_made_there(options.out, wanted) else ()
    with results_folder(options.out, (*OUTPUTS, *wb.recipe.scripts(options.out)), keeps=kept) as folder:
        return ReplayResult((*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml")))


def _is_made_there(out: str | os.PathLike[str], recipe: Recipe) -> bool:
    """Say whether a folder holds what a recipe makes: then what was measured of it still holds."""
    file = Path(out, "tuned.onnx")
    try:
        if recipe.tuned is None or not file.is_file():
            return False
    except OSError:  # a name that no folder can have
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

    def __str__(self) -> str:
        before, after = (f"{x:.6g}" if x is not None else "none" for x in (self.before, self.after))
        return f"{self.tensor}: {before} -> {after} ({self.change:+.2%})"


def _recalibrate(options: ReplayOptions) -> ReplayResult:
    """Replay a recipe with its calibrations measured again, and say what moved."""
    outputs = (*OUTPUTS, *Recipe.load(options.recipe).scripts(options.out))
    with results_folder(options.out, outputs) as folder:
        old = open_recipe(options.recipe, model=options.model, allow_scripts=options.allow_scripts)
        wb = _recalibrated(old, options.recipe, options.samples)
        wb.tune()
        names = [*old.ranges, *(name for name in wb.ranges if name not in old.ranges)]
        moved = [Moved(name, old.ranges.get(name), wb.ranges.get(name)) for name in names]
        changed = sorted((m for m in moved if m.before != m.after), key=lambda m: -abs(m.change))
        files = (*wb.tuned.save(folder / "tuned.onnx"), wb.recipe.save(folder / "recipe.yaml"))
        return ReplayResult(files, tuple(changed))


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
