"""The verbs about engines: bench, engine, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.bench.variants import Variant

__all__ = ["bench"]

VARIANTS = ("qdq", "fp16", "implicit-int8", "tf32", "fp32")
SOURCES = ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder to write to; made where it does not exist.")
@click.option("--variants", default=",".join(VARIANTS), show_default=True, help="Which, in the order of building.")
@click.option("--batch", type=click.IntRange(min=1), help="Write this batch into the graph.")
@click.option("--samples", type=PATH, help="Calibrate on these; else ranges are made up, which times well.")
@click.option("--preprocess", metavar="KEY=VALUE,...", help="For a folder of images; see tune.")
@click.option("--recipe", type=PATH, help="Take edits, plan and ranges from this recipe of the model.")
@click.option("--quantized", type=PATH, help="The model quantized elsewhere, as one more variant (given).")
@click.option("--calibration-cache", type=PATH, help="Ranges of implicit INT8; else made up.")
@click.option("--backend", type=click.Choice(("tensorrt", "tensorrt_rtx")), default="tensorrt", show_default=True)
@click.option("--target", help="For tensorrt_rtx: build only, for this GPU (sm86), on any machine.")
@click.option("--tactic-sources", metavar="A,B", help=f"Of {', '.join(SOURCES)}; TensorRT's default where left out.")
@click.option("--workspace-mib", type=click.IntRange(min=1), help="Limit on scratch memory.")
@click.option("--optimization-level", type=click.IntRange(0, 5), help="Of the builder; its default is 3.")
@click.option("--timing-cache", type=PATH, help="Read and written by all builds; else OUT/timing.cache.")
@click.option("--runs", default=400, show_default=True, type=click.IntRange(min=1), help="Timed runs of each engine.")
@click.option("--cuda-graph", is_flag=True, help="Time inferences replayed as CUDA graphs.")
@click.option("--budget-s", type=click.FloatRange(min=0, min_open=True), help="Stop building in time to measure.")
@click.option("--keep-engines", is_flag=True, help="Write the engines too.")
def bench(
    models: tuple[Path, ...],
    out: Path,
    variants: str,
    batch: int | None,
    samples: Path | None,
    preprocess: str | None,
    recipe: Path | None,
    quantized: Path | None,
    calibration_cache: Path | None,
    backend: Literal["tensorrt", "tensorrt_rtx"],
    target: str | None,
    tactic_sources: str | None,
    workspace_mib: int | None,
    optimization_level: int | None,
    timing_cache: Path | None,
    runs: int,
    cuda_graph: bool,
    budget_s: float | None,
    keep_engines: bool,
) -> int:
    """Build MODELS in several precisions, time the engines side by side, and record what they are made of.

    Needs a GPU and TensorRT, except with --backend tensorrt_rtx --target smNN, which only builds. Prints a table;
    exit code 7 where a variant is missing from it, with the reason below.
    """
    from workbench.backends.protocol import BuildOptions, TimingOptions
    from workbench.bench.rows import table
    from workbench.bench.run import Bench
    from workbench.bench.variants import open_source

    if len(models) > 1 and (samples, recipe, quantized, calibration_cache) != (None,) * 4:
        raise click.UsageError("--samples, --recipe, --quantized and --calibration-cache are of one model: give one.")
    if samples is not None and recipe is not None:
        raise click.UsageError("--recipe brings its own ranges; --samples goes without it.")
    chosen = _variants(variants)
    if quantized is not None and "given" not in chosen:
        chosen = (*chosen, "given")
    options = BuildOptions(
        tactic_sources=None if tactic_sources is None else _words(tactic_sources, SOURCES, "--tactic-sources"),  # type: ignore[arg-type]
        workspace_bytes=None if workspace_mib is None else workspace_mib << 20,
        optimization_level=optimization_level,
        timing_cache=None if timing_cache is None else str(timing_cache),
        calibration_cache=None if calibration_cache is None else str(calibration_cache),
    )
    sources = [
        open_source(path, batch=batch, samples=samples, preprocessing=preprocess, recipe=recipe, given=quantized)
        for path in models
    ]
    runner = Bench(
        sources,
        out,
        variants=chosen,
        package=backend,
        target=target,
        options=options,
        timing=TimingOptions(runs=runs, cuda_graph=cuda_graph),
        budget_s=budget_s,
        keep_engines=keep_engines,
        say=lambda text: click.echo(text, err=True),
    )
    rows = runner.run()
    click.echo(table(rows))
    whole = all(row.status == ("measured" if target is None else "built") for row in rows)
    return 0 if whole else BackendError.exit_code


def _variants(text: str) -> tuple[Variant, ...]:
    return _words(text, (*VARIANTS, "given"), "--variants")  # type: ignore[return-value]


def _words(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise click.UsageError(f"{option}: {', '.join(unknown) or 'nothing'} is not one of {', '.join(known)}.")
    return words
