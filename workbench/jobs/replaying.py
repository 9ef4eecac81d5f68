"""The job: make again what a recipe made, here or for another customer's data, and judge its gates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.display import ShownText, counted
from workbench.engine import load_engine
from workbench.errors import RecipeError, WorkbenchError
from workbench.files import write_text
from workbench.graph import structure_digest
from workbench.handoff import page, report
from workbench.handoff.ci import gate_cases
from workbench.jobs.measuring import built_evidence, gates_of, needs, read_evidence, result_evidence
from workbench.jobs.options import ReplayOptions, job
from workbench.jobs.telling import tell_ci
from workbench.jobs.tuning import OUTPUTS, REPORTS, STATISTICS, save_statistics
from workbench.jobs.verbs import Gated
from workbench.recipe import (
    Evaluation,
    Evidence,
    FileReference,
    GateResult,
    ModelReference,
    Recipe,
    SamplesReference,
    check_gates,
    check_result,
    environment,
    verify,
)
from workbench.recipe.steps import CalibrateStep
from workbench.results import refuse_source, results_folder
from workbench.session import Again, Workbench, history_of, opened, samples_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from workbench.evaluate import Comparison
    from workbench.graph import Model

__all__ = ["Moved", "ReplayResult", "replay"]

MOST_LINES = 20


@dataclass(frozen=True)
class ReplayResult(Gated, ShownText):
    """What a replay came to.

    Parameters
    ----------
    files
        What was written.
    moved
        Every range that is not what it was, the largest change first; ``None`` where nothing was measured again.
    verdicts
        The outcome of each gate.
    remarks
        What has drifted, and what could not be kept, a sentence each.
    """

    files: tuple[Path, ...]
    moved: tuple[Moved, ...] | None = None
    verdicts: tuple[GateResult, ...] = ()
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the result in a few lines."""
        gates = [f"gate {verdict}" for verdict in self.verdicts]
        if self.moved is None:
            return "\n".join(["the tuned model is, byte for byte, the recipe's", *gates])
        lines = [f"{counted(len(self.moved), 'range')} moved" if self.moved else "no range moved"]
        lines += [f"  {one}" for one in self.moved[:MOST_LINES]]
        if len(self.moved) > MOST_LINES:
            lines.append(f"  and {len(self.moved) - MOST_LINES} more")
        return "\n".join([*lines, *gates])


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


@job(ReplayOptions)
def replay(options: ReplayOptions) -> ReplayResult:
    """See `ReplayOptions`."""
    settings = dict(text.split("=", 1) for text in options.settings)
    recipe = Recipe.load(options.recipe)
    gates = () if options.no_gates else tuple(dict.fromkeys((*recipe.gates, *gates_of(options.gates))))
    verified = verify(
        recipe,
        where=options.recipe,
        model=settings.get("model", options.model),
        allow_scripts=options.allow_scripts,
        retrained="model" in settings,
    )
    kept = (*REPORTS, STATISTICS) if not settings and _is_made_there(options.out, recipe) else ()
    with results_folder(options.out, (*OUTPUTS, *recipe.scripts(options.out)), keeps=kept) as folder:
        again = _Replay(options, verified.recipe, verified.required(), settings)
        refuse_source(options.out, OUTPUTS, again.model.path)
        again.make()
        comparison = again.measure(gates)
        verdicts = tuple(check_gates(gates, again.evidence))
        # `gates` of the command line are judged once; the recipe keeps its own.
        files = (*again.wb.tuned.save(folder / "tuned.onnx"), again.wb.recipe.save(folder / "recipe.yaml"))
        files += save_statistics(again.wb, folder)
        if settings and comparison is not None:
            content = json.dumps(report(again.wb, comparison, verdicts), indent=1)
            files += (write_text(folder / "report.json", content),)
            files += (write_text(folder / "report.html", page(again.wb, comparison, verdicts)),)
    remarks = (*verified.notes, *again.notes)
    files += tell_ci(
        f"replay of {options.recipe.name}",
        gate_cases(again.wb.source.name, verdicts),
        junit_file=options.junit,
        summary=options.summary,
        notes=remarks,
    )
    return ReplayResult(files, again.moved, verdicts, remarks)


class _Replay:
    """One replay on its way."""

    def __init__(self, options: ReplayOptions, recipe: Recipe, model: Model, settings: Mapping[str, str]) -> None:
        self.options = options
        self.recipe = recipe
        self.model = model
        self.settings = settings
        self.notes: list[str] = []
        self.moved: tuple[Moved, ...] | None = None
        self.evidence = Evidence()

    def make(self) -> None:
        """Make the tuned model: the same bytes, or what other data and weights make of the same steps."""
        if not self.options.recalibrate and not self.settings:
            self.wb = Workbench(self.model, recipe=self.recipe)
            self.wb.tune()
            check_result(self.recipe, self.wb.recipe.tuned, environment())
            return
        if not self.settings and self.recipe.newest(CalibrateStep) is None:
            raise RecipeError(
                "the recipe has no calibration", where=self.options.recipe, fix="Replay it without --recalibrate."
            )
        self._again()
        before = {name: amax for step in self.recipe.steps for name, amax in _ranges(step).items()}
        after = self.wb.ranges
        moved = [Moved(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
        self.moved = tuple(sorted((m for m in moved if m.before != m.after), key=lambda m: -abs(m.change)))

    def _again(self) -> None:
        retrained = {"model", "samples"} & self.settings.keys()
        started: dict[str, Any] = {"steps": (), "tuned": None}
        if "model" in self.settings:
            file = str(Path(self.settings["model"]).resolve())
            started["model"] = ModelReference(
                file=file, sha256=self.model.digest, structure=structure_digest(self.model)
            )
        self.wb = Workbench(self.model, recipe=self.recipe.model_copy(update=started))
        if "target" in self.settings:
            self.wb.plan.set_target(self.settings["target"])
        samples = self.settings.get("samples", self.options.samples)
        again = Again(history_of(self.wb), samples, anew=bool(retrained))
        for step in self.recipe.steps:
            again.do(step)
        self.notes += again.notes
        self.wb.tune()

    def measure(self, gates: tuple[Any, ...]) -> Comparison | None:
        """Measure what gates are on, and keep what it was measured on in the recipe."""
        comparison, lacking = None, ""
        if needs(gates, "comparison") or (self.settings and self.options.runs):
            try:
                comparison = self._compare()
            except WorkbenchError as error:
                if not needs(gates, "comparison"):
                    self.notes.append(f"nothing was compared: {error}")
                lacking = f"nothing was compared: {error}"
        if gates:
            self.evidence = result_evidence(self.wb, comparison, lacking)
            self.evidence = replace(self.evidence, **self._engine(gates))
        return comparison

    def _compare(self) -> Comparison:
        history = history_of(self.wb)
        evaluation, calibrated = self.recipe.evaluation, self.recipe.newest(CalibrateStep)
        labels: str | None = self.settings.get("labels")
        if "eval_samples" in self.settings:
            data = opened(history, self.settings["eval_samples"], self._preprocessing())
        elif evaluation is not None and "samples" not in self.settings:
            data = samples_of(history, evaluation.samples)
            if data.fingerprint != evaluation.samples.fingerprint:
                self.notes.append("the samples that gates are judged on have changed since the recipe was made")
            labels = labels or (None if evaluation.labels is None else evaluation.labels.file)
        elif history.measured.samples is not None:
            data = history.measured.samples
        elif calibrated is not None:
            data = samples_of(history, calibrated.samples)
        else:
            raise RecipeError("there are no samples to judge on", fix="Give some: --set eval_samples=FILE.")
        if self.settings:
            reference = SamplesReference(source=data.describe(), count=len(data), fingerprint=data.fingerprint)
            labels_file = None if labels is None else FileReference.of(labels)
            history.amend(evaluation=Evaluation(samples=reference, labels=labels_file))
        batch = None if calibrated is None else calibrated.batch
        return self.wb.compare(data, labels=labels, batch=batch, runs=self.options.runs)

    def _preprocessing(self) -> Any:
        sources = [step.samples.source for step in self.recipe.of_kind(CalibrateStep)]
        return next((source["preprocessing"] for source in sources if "preprocessing" in source), None)

    def _engine(self, gates: tuple[Any, ...]) -> dict[str, Any]:
        if not needs(gates, "engine", "timing"):
            return {}
        evidence: dict[str, Any] = {}
        if self.options.backend is not None:
            evidence = built_evidence(self.wb, self.options.backend, self.options.runs)
        elif self.options.engine is not None:
            decisions = self.wb.plan.resolve().decisions.values()
            summary = load_engine(
                self.options.engine,
                profile=self.options.profile,
                timing=self.options.timing,
                model=self.wb.tuned,
                requested={one.node: one.precision for one in decisions if one.rule is not None},
            )
            evidence = read_evidence(summary)
        return evidence | {"lacking": {**self.evidence.lacking, **evidence.get("lacking", {})}}


def _ranges(step: Any) -> Mapping[str, float]:
    if step.do == "set_range":
        return {step.tensor: step.amax}
    ranges: Mapping[str, float] = getattr(step, "ranges", {})
    return ranges


def _is_made_there(out: str | os.PathLike[str], recipe: Recipe) -> bool:
    """Say whether a folder holds what a recipe makes: then what was measured of it still holds."""
    file = Path(out, "tuned.onnx")
    try:
        if recipe.tuned is None or not file.is_file():
            return False
    except OSError:  # a name that no folder can have
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == recipe.tuned.sha256
