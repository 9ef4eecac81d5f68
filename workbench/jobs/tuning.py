"""The main jobs from files to files: tune a model, or search a plan for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from workbench.child import ChildError
from workbench.display import Card, Shown
from workbench.errors import OptionError
from workbench.files import write_text
from workbench.handoff import before_after, page, report, text_table
from workbench.handoff.ci import gate_cases
from workbench.jobs.measuring import gates_of, result_evidence
from workbench.jobs.options import DEFAULT_PRESET, SearchOptions, TuneOptions, job
from workbench.jobs.placing import measuring
from workbench.jobs.telling import tell_ci
from workbench.jobs.verbs import Gated
from workbench.names import PRECISIONS
from workbench.precision.search import MOST_TRIALS
from workbench.recipe import Evaluation, FileReference, GateResult, SamplesReference, check_gates
from workbench.results import results_folder
from workbench.session import Workbench, history_of, open_model, remarks, samples_for, verdict

if TYPE_CHECKING:
    from workbench.evaluate import Comparison
    from workbench.precision.search import SearchResult
    from workbench.session import CostSource, Judgement

__all__ = ["OUTPUTS", "REPORTS", "SEARCH_OUTPUTS", "STATISTICS", "TuneResult", "save_statistics", "search", "tune"]

REPORTS = ("report.json", "report.html")
STATISTICS = "statistics.npz"
OUTPUTS = ("tuned.onnx", "tuned.onnx.data", "recipe.yaml", STATISTICS, *REPORTS)
"""``tuned.onnx.data`` only where one file cannot hold the model."""
SEARCH_OUTPUTS = (*OUTPUTS, "search.json")


@dataclass(frozen=True)
class TuneResult(Gated, Shown):
    """What a tuning came to.

    Parameters
    ----------
    workbench
        With the recipe and the tuned model.
    comparison
        Original against tuned.
    verdicts
        The outcome of each gate.
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
    def remarks(self) -> tuple[str, ...]:
        """What was not done or went badly, and what to do next, a sentence each."""
        return (*remarks(self.workbench, self.comparison), *self.workbench.advice)

    @property
    def verdict(self) -> Judgement:
        """What to think of it, and one thing to do next."""
        return verdict(self.workbench, self.comparison, self.verdicts)

    def text(self) -> str:
        """Return what was tried, the before/after table, the gates and the verdict."""
        tried = () if self.search is None else (f"{self.search.text()}\n",)
        gates = "".join(f"gate {verdict}\n" for verdict in self.verdicts)
        return "\n".join((*tried, f"{self.table()}\n", *([gates] if gates else []), self.verdict.text())).rstrip("\n")

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
    with results_folder(options.out, SEARCH_OUTPUTS) as folder:
        wb = _started(options)
        for gate in _gates(options):
            wb.require(**gate)
        with measuring(options) as how:
            if how is not None:
                wb.plan.keep_what_pays(how)
        _judge_on(wb, options)
        outcome = _finish(wb, folder, options)
    return _measured(outcome)


@job(SearchOptions)
def search(options: SearchOptions) -> TuneResult:
    """See `SearchOptions`."""
    cost = _cost_of(options) if options.cost is None else options.cost
    with results_folder(options.out, SEARCH_OUTPUTS) as folder:
        wb = _started(options)
        (goal,) = _gates(options)
        with measuring(options) as how:
            searched = wb.plan.search(
                **goal,
                samples=options.evaluation,
                labels=options.labels,
                preprocessing=options.preprocessing,
                sensitivity="exact" if options.exact else "quick",
                cost=cost,
                equalize=options.equalize,
                correct_bias=options.correct_bias,
                most_trials=options.most_trials or MOST_TRIALS,
                device=options.device,
                measure=how,
            )
        wb.require(**goal)  # what was stopped before a plan reached it does not pass
        _judge_on(wb, options)
        outcome = _finish(wb, folder, options)
        trials = write_text(folder / "search.json", json.dumps(searched.to_dict(), indent=1))
    result = _measured(outcome)
    return replace(result, files=(*result.files, trials), search=searched)


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
        device=options.device,
    )
    return wb


def _judge_on(wb: Workbench, options: TuneOptions) -> None:
    """Let the recipe know its other gates, and what they are judged on."""
    history = history_of(wb)
    for gate in gates_of(options.gates):
        history.require(gate)
    labels = FileReference.of(options.labels) if isinstance(options.labels, (str, Path)) else None
    if options.evaluation is not None or labels is not None:
        data = samples_for(history, options.evaluation, options.preprocessing)[0]
        reference = SamplesReference(source=data.describe(), count=len(data), fingerprint=data.fingerprint)
        history.amend(evaluation=Evaluation(samples=reference, labels=labels))


def _gates(options: TuneOptions) -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = []
    if options.max_drop is not None:
        gates.append({"metric": "top1_drop", "at_most": options.max_drop})
    if options.min_sqnr is not None:
        gates.append({"metric": "sqnr_db", "at_least": options.min_sqnr})
    return gates


def _cost_of(options: SearchOptions) -> CostSource:
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
    files += save_statistics(wb, folder)
    try:
        comparison = wb.compare(
            options.evaluation,
            labels=options.labels,
            preprocessing=options.preprocessing,
            runs=options.runs,
            device=options.device,
        )
    except ChildError as error:
        return error
    again = f"workbench replay {quote(str(Path(options.out) / 'recipe.yaml'))} --backend tensorrt --out timed"
    untimed = dict.fromkeys(("timing", "engine"), f"no engine was kept here; build one and judge it: {again}")
    verdicts = tuple(check_gates(wb.recipe.gates, replace(result_evidence(wb, comparison), lacking=untimed)))
    content = json.dumps(report(wb, comparison, verdicts), indent=1)
    document = page(wb, comparison, verdicts)
    reports = (write_text(folder / "report.json", content), write_text(folder / "report.html", document))
    ci_files = tell_ci(
        f"tuning of {wb.source.name}",
        gate_cases(wb.source.name, verdicts),
        junit_file=options.junit,
        summary=options.summary,
        notes=remarks(wb, comparison),
    )
    return TuneResult(wb, comparison, verdicts, (*files, *reports, *ci_files))


def save_statistics(wb: Workbench, folder: Path) -> tuple[Path, ...]:
    """Write what calibration saw, where this session calibrated: what the field is compared with."""
    if wb.ranges.statistics is None:
        return ()
    wb.ranges.statistics.save(folder / STATISTICS)
    return (folder / STATISTICS,)


def _measured(outcome: TuneResult | ChildError) -> TuneResult:
    if isinstance(outcome, ChildError):
        raise ChildError(
            f"{outcome.what}; tuned.onnx and recipe.yaml are written, and nothing was measured",
            kind=outcome.kind,
            where=outcome.where,
            fix=outcome.fix,
        )
    return outcome
