"""The job: measure what a recipe makes on this machine, and write it down for whoever files it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends import BuildOptions, ShapeRange, TimingOptions, backend_named, backend_of
from workbench.calibration import at, drifts
from workbench.child import Child
from workbench.display import ShownText, in_words
from workbench.engine import clocks_text
from workbench.errors import BackendError, WorkbenchError
from workbench.files import write_bytes, write_text
from workbench.graph import batch_of_one, memory_use, suggested_workspace
from workbench.handoff import Dossier, TimedBatch, dossier_page
from workbench.jobs.measuring import gates_of, result_evidence
from workbench.jobs.options import DossierOptions, job
from workbench.jobs.verbs import Gated
from workbench.recipe import Evidence, GateResult, Recipe, check_gates, check_result, environment, verify
from workbench.recipe.steps import CalibrateStep
from workbench.results import results_folder
from workbench.scratch import scratch_folder
from workbench.session import Workbench, history_of, opened, samples_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workbench.backends import Engine, Timing
    from workbench.calibration import Drift
    from workbench.graph import Model

__all__ = ["DossierResult", "write_dossier"]

OUTPUTS = ("report.html", "report.pdf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "chrome")
LONGEST_PRINT_S = 120.0


@dataclass(frozen=True)
class DossierResult(Gated, ShownText):
    """What a dossier came to.

    Parameters
    ----------
    files
        The page, and the PDF where it was asked for.
    verdicts
        What became of each gate.
    remarks
        What could not be measured, and why.
    """

    files: tuple[Path, ...]
    verdicts: tuple[GateResult, ...]
    remarks: tuple[str, ...]

    def text(self) -> str:
        """Return what became of the gates."""
        return "\n".join(f"gate {verdict}" for verdict in self.verdicts) or "there were no gates to judge"


@job(DossierOptions)
def write_dossier(options: DossierOptions) -> DossierResult:
    """See `DossierOptions`."""
    recipe = Recipe.load(options.recipe)
    gates = tuple(dict.fromkeys((*recipe.gates, *gates_of(options.gates))))
    verified = verify(recipe, where=options.recipe, model=options.model, allow_scripts=options.allow_scripts)
    browser = _browser() if options.pdf else None
    with results_folder(options.out, OUTPUTS) as folder:
        measured = _Measuring(Workbench(verified.required(), recipe=verified.recipe), options, recipe)
        check_result(recipe, measured.wb.recipe.tuned, environment())
        dossier = measured.dossier(gates)
        text = dossier_page(dossier)
        files = [write_text(folder / "report.html", text)]
        if browser is not None:
            files.append(write_bytes(folder / "report.pdf", _printed(browser, text)))
    return DossierResult(tuple(files), tuple(dossier.verdicts), (*verified.notes, *dossier.notes))


class _Measuring:
    """What is measured for a dossier; what fails is a note, and the rest goes on."""

    def __init__(self, wb: Workbench, options: DossierOptions, recipe: Recipe) -> None:
        self.wb = wb
        self.options = options
        self.recipe = recipe
        self.notes: list[str] = []
        self.backend = backend_named(options.backend)
        wb.tune()

    def dossier(self, gates: tuple[Any, ...]) -> Dossier:
        """Measure everything."""
        options, wb = self.options, self.wb
        comparison = self._try("a comparison", self._compare)
        sizes = sorted(set(options.batches)) if _is_dynamic(wb.tuned) else []
        first = sizes[0] if sizes else None
        engine = self._try("an engine of the tuned model", lambda: self._built(wb.tuned, sizes))
        origin = self._try("an engine of the original", lambda: self._built(wb.source, sizes))
        after = engine and self._try("its latency", lambda: self._timed(engine, wb.tuned, first))
        before = origin and self._try("the original's latency", lambda: self._timed(origin, wb.source, first))
        served = [one for size in sizes if engine and (one := self._served(engine, size)) is not None]
        summary = engine and self._try("what the engine is made of", lambda: wb.engines.inspect(engine))
        drift = None if options.field is None else self._try("the drift", self._drift)
        evidence = result_evidence(wb, comparison)
        if after is not None:
            scratch = after.conditions.get("engine_scratch_bytes")
            evidence = replace(
                evidence,
                latency_ms=Evidence.percentiles(after),
                throughput=after.throughput,
                device_bytes=None if scratch is None else int(scratch),
                conditions=f"{options.backend}, {after.runs} runs",
            )
        if engine is not None:
            evidence = replace(evidence, engine=summary, engine_bytes=len(engine.data))
        workspace = suggested_workspace(wb.source, batch_of_one(wb.source))
        return Dossier(
            title=options.title or f"{wb.source.name}: from {_floating(wb.source)} to a tuned model",
            wb=wb,
            gates=gates,
            verdicts=check_gates(gates, evidence),
            machine=_machine(after),
            comparison=comparison,
            before=before,
            after=after,
            batches=served,
            engine=summary,
            drift=None if drift is None else drift[0],
            field_samples=0 if drift is None else drift[1],
            suggested_workspace_mib=None if workspace is None else workspace / 2**20,
            notes=tuple(self.notes),
            replay=(
                f'pip install "trt-workbench=={environment().get("trt-workbench", "")}"',
                f"workbench recipe verify {options.recipe.name}",
                f"workbench replay {options.recipe.name} --out replayed",
            ),
        )

    def _try(self, what: str, measure: Any) -> Any:
        try:
            return measure()
        except WorkbenchError as error:
            self.notes.append(f"{what}: {error}")
            return None

    def _compare(self) -> Any:
        history, evaluation = history_of(self.wb), self.recipe.evaluation
        calibrated = self.recipe.newest(CalibrateStep)
        judged_on = evaluation or calibrated
        if judged_on is None:
            raise WorkbenchError("the recipe has no samples")
        labels = None if evaluation is None or evaluation.labels is None else evaluation.labels.file
        batch = None if calibrated is None else calibrated.batch
        return self.wb.compare(samples_of(history, judged_on.samples), labels=labels, batch=batch, runs=0)

    def _drift(self) -> tuple[Sequence[Drift], int]:
        history, step = history_of(self.wb), self.recipe.newest(CalibrateStep)
        if step is None:
            raise WorkbenchError("the recipe has no calibration to compare with")
        data = opened(history, self.options.field, step.samples.source.get("preprocessing"))
        seen = self.wb.ranges.observe(samples_of(history, step.samples), batch=step.batch)
        field = self.wb.ranges.observe(data, batch=step.batch)
        ranges = {name: at(seen[name], amax) for name, amax in self.wb.ranges.items() if name in seen}
        return drifts(seen, field, ranges), len(data)

    def _built(self, model: Model, sizes: Sequence[int]) -> Engine:
        profiles = None
        if sizes:
            shapes = {tensor.name: _shape(tensor) for tensor in model.inputs}
            profiles = (
                {
                    name: ShapeRange((sizes[0], *rest), (sizes[-1], *rest), (sizes[-1], *rest))
                    for name, rest in shapes.items()
                },
            )
        return self.backend.build(model, BuildOptions(profiles=profiles), child=Child())

    def _timed(self, engine: Engine, model: Model, batch: int | None) -> Timing:
        shapes = None if batch is None else {tensor.name: (batch, *_shape(tensor)) for tensor in model.inputs}
        return backend_of(engine).time(engine, TimingOptions(runs=self.options.runs, shapes=shapes))

    def _served(self, engine: Engine, batch: int) -> TimedBatch | None:
        timing = self._try(f"batch {batch}", lambda: self._timed(engine, self.wb.tuned, batch))
        if timing is None:
            return None
        scratch = timing.conditions.get("engine_scratch_bytes")
        leading = {str(tensor.shape[0]): batch for tensor in self.wb.tuned.inputs if tensor.shape}
        use = memory_use(self.wb.tuned, leading)
        peak = None if use.unknown else use.peak / 2**20
        return TimedBatch(batch, timing, None if scratch is None else int(scratch) / 2**20, peak)


def _is_dynamic(model: Model) -> bool:
    """Say whether the first axis of every input, and no other, is free: a batch."""
    shapes = [tensor.shape for tensor in model.inputs]
    return bool(shapes) and all(
        shape and not isinstance(shape[0], int) and all(isinstance(length, int) for length in shape[1:])
        for shape in shapes
    )


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(length) for length in tensor.shape[1:])


def _floating(model: Model) -> str:
    kinds = {str(tensor.dtype) for tensor in model.inputs}
    return "FP16" if kinds == {"FLOAT16"} else "FP32"


def _machine(timing: Timing | None) -> dict[str, str]:
    machine = {"system": f"{platform.system()} {platform.release()}", "processor": _processor()}
    if hasattr(os, "getloadavg"):
        machine["load while it was measured"] = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return machine | dict(_gpu(timing))


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu(timing: Timing | None) -> Iterator[tuple[str, str]]:
    """Yield what a timing tells of a GPU: its name, driver, clocks, power."""
    conditions = {} if timing is None else timing.conditions
    for name, value in conditions.items():
        if any(word in name for word in ("gpu", "driver", "clock_mhz", "clocks", "power", "temperature", "cuda")):
            yield name.replace("_", " "), (clocks_text(value) if name == "clocks" else None) or in_words(value)


def _browser() -> str:
    browser = next((path for name in BROWSERS if (path := shutil.which(name)) is not None), None)
    if browser is None:
        raise BackendError("a PDF is printed by a Chromium browser, and none is on the PATH", fix="Leave --pdf out.")
    return browser


def _printed(browser: str, text: str) -> bytes:
    with scratch_folder() as folder:
        page, printed = write_text(folder / "report.html", text), folder / "report.pdf"
        command = [browser, "--headless", "--disable-gpu", "--no-sandbox", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}", page.as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=LONGEST_PRINT_S, check=True)  # noqa: S603 - our own page
            return printed.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise BackendError(f"the browser printed nothing: {error}", where=browser) from error
