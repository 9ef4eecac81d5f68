"""The job: models in several precisions, built, timed side by side, and recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.backends import BuildOptions, TimingOptions
from workbench.display import ShownText
from workbench.errors import BackendError, OptionError
from workbench.jobs.bench.rows import table
from workbench.jobs.bench.run import Bench
from workbench.jobs.bench.variants import open_source
from workbench.jobs.options import BenchOptions, job
from workbench.recipe import Build

if TYPE_CHECKING:
    from workbench.backends import LayerType
    from workbench.jobs.bench.rows import BenchRow

__all__ = ["BenchResult", "bench"]


@dataclass(frozen=True)
class BenchResult(ShownText):
    """The outcome of each model and variant.

    Parameters
    ----------
    rows
        One a model and variant, by model; what could not be done says why.
    built_only
        Whether engines were built for another machine.
    """

    rows: tuple[BenchRow, ...]
    built_only: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return all(row.status == ("built" if self.built_only else "measured") for row in self.rows)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 0 if self.whole else BackendError.exit_code

    def text(self) -> str:
        """Return the table."""
        return table(list(self.rows))


@job(BenchOptions)
def bench(options: BenchOptions) -> BenchResult:
    """See `BenchOptions`."""
    variants = options.variants
    if options.quantized is not None and "given" not in variants:
        variants = (*variants, "given")
    build = BuildOptions(
        tactic_sources=options.tactic_sources,
        workspace_bytes=None if options.workspace_mib is None else options.workspace_mib << 20,
        optimization_level=options.optimization_level,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache),
        calibration_cache=None if options.calibration_cache is None else str(options.calibration_cache),
        layer_precisions=None if options.layer_precisions is None else _layer_precisions(options.layer_precisions),
    )
    sources = [
        open_source(
            path,
            batch=batch,
            named=f"{path.stem}-b{batch}" if len(options.batch) > 1 else None,
            samples=options.samples,
            preprocessing=options.preprocessing,
            recipe=options.recipe,
            allow_scripts=options.allow_scripts,
            quantized=options.quantized,
            evaluation=options.evaluation,
            labels=options.labels,
        )
        for path in options.models
        for batch in options.batch or (None,)
    ]
    flags = {name: getattr(options, name) for name in Build.model_fields}
    sources = [replace(source, build=(source.build or Build()).and_also(**flags)) for source in sources]
    runner = Bench(
        sources,
        options.out,
        variants=variants,
        package=options.backend,
        target=options.target,
        options=build,
        timing=TimingOptions(runs=options.runs, cuda_graph=options.cuda_graph),
        budget_s=options.budget_s,
        keep_engines=options.keep_engines,
        say=options.say or (lambda _: None),
    )
    return BenchResult(tuple(runner.run()), built_only=options.target is not None)


def _layer_precisions(text: str) -> dict[str, LayerType]:
    from workbench.precision.plan import parse_spec

    kinds: dict[str, LayerType] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    entries = parse_spec(text)
    for name, types in entries:
        if types[0] not in kinds:
            raise OptionError(f"`layer_precisions`: {name}: TensorRT 8 has no {types[0]}")
    return {name: kinds[types[0]] for name, types in entries}
