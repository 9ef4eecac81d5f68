"""Build every variant, then measure them against each other, and write down each step as it is done."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.backends import BuildOptions, Engine, TimingOptions, backend_named
from workbench.child import Child, ChildError, run
from workbench.errors import BackendError, WorkbenchError
from workbench.files import write_text
from workbench.jobs.bench.rows import BenchRow, rows_json, table
from workbench.jobs.bench.variants import VARIANTS, Judging, Source, variant_of
from workbench.precision import target_of
from workbench.results import held_folder
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from workbench.backends import Measured
    from workbench.graph import Model
    from workbench.jobs.options import Variant
    from workbench.precision import Target

__all__ = ["Bench"]

MEASURING_A_MODEL_S = 6.0
MEASURING_AN_ENGINE_S = 5.0
SHORTEST_BUILD_S = 5.0
BUILD_LIMIT_S = 3600.0
MEASURING_LIMIT_S = 600.0


@dataclass
class Bench:
    """Compares variants of models on one backend.

    Parameters
    ----------
    sources
        The models.
    out
        The folder to write to; made where it does not exist. Each variant gets ``MODEL.VARIANT.graph.json``,
        ``.profile.json``, ``.timing.json`` (all as `workbench engine` reads them), ``.manifest.json`` and ``.log``;
        the whole gets ``results.json`` and ``table.txt``.
    variants
        Which ones. They are built in this order, each for all models before the next.
    package
        ``tensorrt``, or ``tensorrt_rtx``.
    target
        For ``tensorrt_rtx``: builds only, for this compute capability, on any machine.
    options
        What all builds have in common. The timing cache is ``timing.cache`` in `out` where none is named.
    timing
        Runs and warm-up of each engine.
    budget_s
        Seconds in all. A build that would run into the time that measuring needs is ended, those behind it are
        skipped, and what was built is measured.
    keep_engines
        Whether ``MODEL.VARIANT.engine`` and its manifest are written too.
    say
        Is told of each step.
    """

    sources: Sequence[Source]
    out: str | os.PathLike[str]
    variants: Sequence[Variant] = tuple(name for name in VARIANTS if name != "given")
    package: Literal["tensorrt", "tensorrt_rtx"] = "tensorrt"
    target: str | None = None
    options: BuildOptions = field(default_factory=BuildOptions)
    timing: TimingOptions = field(default_factory=lambda: TimingOptions(runs=400))
    budget_s: float | None = None
    keep_engines: bool = False
    say: Callable[[str], None] = lambda _: None
    rows: list[BenchRow] = field(default_factory=list, init=False)
    _built: dict[str, Engine] = field(default_factory=dict, init=False)
    _end: float | None = field(default=None, init=False)

    def run(self) -> list[BenchRow]:
        """Do it all.

        Returns
        -------
        list of BenchRow
            One a model and variant, by model; what could not be done says why.

        Raises
        ------
        BackendError
            The backend is missing, or there is no GPU to build for.
        OutputError
            The folder cannot be written to, or another process is doing so.
        """
        self._end = None if self.budget_s is None else time.monotonic() + self.budget_s
        compiler = self._compiler()
        with held_folder(self.out) as folder:
            return self._run(folder, compiler)

    def _run(self, folder: Path, compiler: Target) -> list[BenchRow]:
        cacheless = self.target is not None or self.options.timing_cache is not None
        if not cacheless:
            self.options = replace(self.options, timing_cache=str(folder / "timing.cache"))
        for variant in self.variants:
            for source in self.sources:
                self._put(self._build(source, variant, compiler))
        if self.target is None:
            for source in self.sources:
                self._measure(source)
                self._judge(source)
        write_text(folder / "table.txt", table(self.rows) + "\n")
        return self.rows

    def _compiler(self) -> Target:
        """Return what graphs are lowered for."""
        if self.target is not None and self.package != "tensorrt_rtx":
            raise BackendError("tensorrt builds for the GPU of its machine", fix="Leave the target out.")
        able = backend_named(self.package).capabilities()
        if not able.build or (self.target is None and not able.run):
            fix = "Name a target to build only." if self.package == "tensorrt_rtx" else None
            raise BackendError(f"{self.package} cannot build here: {able.reason}", fix=fix)
        return target_of(able)

    # Building

    def _build(self, source: Source, variant: Variant, compiler: Target) -> BenchRow:
        row = BenchRow(source.name, variant, "skipped", "there was no time left", batch=source.batch)
        limit = self._time_to_build(source)
        if limit < SHORTEST_BUILD_S:
            self.say(f"{row.stem}: no time left")
            return row
        log: list[str] = []
        start = time.monotonic()
        try:
            model, options = variant_of(source, variant, self.options, compiler)
            row = replace(row, sha256=model.digest)
            child = Child(timeout_s=limit - (time.monotonic() - start), on_line=log.append)
            if self.target is not None:
                row = self._compile(row, model, options, child)
            else:
                row = self._keep(row, source, model, options, child)
        except ChildError as error:
            late = error.kind == "timeout" and self._end is not None
            row = replace(row, status="skipped" if late else "failed", reason=_one_line(error))
        except WorkbenchError as error:
            row = replace(row, status="failed", reason=_one_line(error))
        if log:
            write_text(Path(self.out) / f"{row.stem}.log", "\n".join(log) + "\n")
        took = f"{time.monotonic() - start:.1f} s"
        self.say(f"{row.stem}: {row.status} in {took}" if row.build_s else f"{row.stem}: {row.reason} ({took})")
        return row

    def _keep(self, row: BenchRow, source: Source, model: Any, options: BuildOptions, child: Child) -> BenchRow:
        from workbench.backends import with_weights, write_engine
        from workbench.backends.tensorrt import TensorRT

        engine = TensorRT(self.package).build(model, options, child=child)
        manifest = {**engine.manifest, "variant": row.variant, "ranges": source.ranges_from}
        engine = replace(engine, manifest=manifest)
        reason = "it was not measured"
        try:
            self._built[row.stem] = with_weights(engine, model)
        except WorkbenchError as error:
            reason = _one_line(error)
        self._write_json(f"{row.stem}.manifest.json", manifest)
        if self.keep_engines:
            write_engine(engine, Path(self.out) / f"{row.stem}.engine")
        return replace(
            row,
            status="built",
            reason=reason,
            build_s=float(manifest["build_s"]),
            engine_bytes=int(manifest["engine_bytes"]),
        )

    def _compile(self, row: BenchRow, model: Any, options: BuildOptions, child: Child) -> BenchRow:
        from workbench.backends.compiler import compile_for
        from workbench.backends.verdict import judge

        target = str(self.target)
        outcome = compile_for(model, target, options, child=child)
        compilation = outcome.value
        if not compilation.built:
            verdict = judge(model, target, outcome, compiler=f"{self.package} {compilation.version}")
            return replace(row, status="failed", reason=" ".join(str(verdict).split()))
        reason = f"{self.package} {compilation.version} for {target}; measuring needs that GPU"
        return replace(
            row, status="built", reason=reason, build_s=compilation.build_s, engine_bytes=compilation.engine_bytes
        )

    # Measuring

    def _measure(self, source: Source) -> None:
        from workbench.backends.tensorrt import measure_files

        mine = {row.stem: row for row in self.rows if row.model == source.name and row.stem in self._built}
        if not mine:
            return
        self.say(f"{source.name}: measuring {len(mine)} engines side by side")
        limit = MEASURING_LIMIT_S if self._end is None else max(self._left(), 0.0) + MEASURING_A_MODEL_S * 5
        with scratch_folder() as temporary:
            paths = {}
            for stem in mine:
                path = temporary / f"{stem}.engine"
                path.write_bytes(self._built[stem].data)
                paths[stem] = str(path)
            what = f"measuring {source.name}"
            try:
                results = run(Child(timeout_s=limit), what, measure_files, self.package, paths, self.timing).value
            except WorkbenchError as error:
                for row in mine.values():
                    self._put(replace(row, reason=_one_line(error)))
                return
        for stem, measured in results.items():
            self._put(self._record(mine[stem], measured))

    def _record(self, row: BenchRow, measured: Measured) -> BenchRow:
        """Write what was measured of an engine, and read it back the way any reader would."""
        from workbench.engine import load_report

        timing = measured.timing
        if timing is None or measured.inspector is None:
            return replace(row, reason=measured.error)
        folder, stem = Path(self.out), row.stem
        files = {end: write_text(folder / f"{stem}.{end}", text) for end, text in measured.exports().items()}
        self._write_json(f"{stem}.manifest.json", {**self._built[stem].manifest, "timing": timing.to_dict()})
        row = row.timed(timing)
        try:
            report = load_report(files["graph.json"], profile=files.get("profile.json"))
        except WorkbenchError as error:
            return replace(row, reason=_one_line(error))
        return replace(
            row,
            status="measured",
            reason=None,
            layers=len(report.layers),
            reformats=len(report.reformat_layers),
            layers_ms=report.layers_ms,
        )

    # Judging

    def _judge(self, source: Source) -> None:
        """Compare the results of a model's engines with the floating-point model, where samples are given for it."""
        evaluation = source.evaluation
        if evaluation is None:
            return
        for row in [row for row in self.rows if row.model == source.name and row.status == "measured"]:
            if self._made_up(row.variant, source):
                self.say(f"{row.stem}: its ranges are made up, so its results are not compared")
            elif self._left() <= 0:
                self.say(f"{row.stem}: no time left to compare its results")
            else:
                self.say(f"{row.stem}: comparing its results on {len(evaluation.samples)} samples")
                self._put(self._judged(row, source.model, evaluation))

    def _judged(self, row: BenchRow, original: Model, evaluation: Judging) -> BenchRow:
        from workbench.backends import backend_of
        from workbench.evaluate import compare_engine

        engine = self._built[row.stem]
        try:
            measured = compare_engine(
                original, backend_of(engine), engine, evaluation.samples, labels=evaluation.labels
            )
        except WorkbenchError as error:
            return replace(row, reason=f"its results were not compared: {_one_line(error)}")
        exact = measured.accuracy
        return replace(
            row,
            sqnr_db=None if math.isnan(measured.worst_sqnr_db) else measured.worst_sqnr_db,
            top1=None if exact is None else exact.tuned,
            top1_original=None if exact is None else exact.original,
        )

    def _made_up(self, variant: Variant, source: Source) -> bool:
        if variant == "implicit-int8":
            return self.options.calibration_cache is None
        return variant == "qdq" and source.ranges is None

    # Time and files

    def _left(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()

    def _time_to_build(self, source: Source) -> float:
        """Return the seconds one more build may take, so that all that will have been built can be measured."""
        if self._end is None:
            return BUILD_LIMIT_S
        models = {row.model for row in self.rows if row.stem in self._built} | {source.name}
        reserve = MEASURING_A_MODEL_S * len(models) + MEASURING_AN_ENGINE_S * (len(self._built) + 1)
        return self._left() - (0.0 if self.target is not None else reserve)

    def _put(self, row: BenchRow) -> None:
        """Put a row in its place, by model, and write the results so far."""
        rows = {old.stem: old for old in self.rows} | {row.stem: row}
        names = [source.name for source in self.sources]
        self.rows = sorted(rows.values(), key=lambda r: (names.index(r.model), list(self.variants).index(r.variant)))
        write_text(Path(self.out) / "results.json", rows_json(self.rows, self._conditions()))

    def _conditions(self) -> dict[str, Any]:
        return {
            "package": self.package,
            "target": self.target,
            "budget_s": self.budget_s,
            "options": json.loads(json.dumps(asdict(self.options))),
            "timing": json.loads(json.dumps(asdict(self.timing))),
            "ranges": {source.name: source.ranges_from for source in self.sources},
            "asked": {source.name: [] if source.build is None else list(source.build.asked) for source in self.sources},
        }

    def _write_json(self, name: str, content: object) -> Path:
        return write_text(Path(self.out) / name, json.dumps(content, indent=1))


def _one_line(error: WorkbenchError) -> str:
    return " ".join(str(error).split())
