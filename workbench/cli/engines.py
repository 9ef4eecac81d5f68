"""The verbs about engines: bench, engine, check."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends import LayerType
    from workbench.backends.verdict import Verdict
    from workbench.jobs.bench import Variant

__all__ = ["EXIT_REFUSED", "bench", "check", "engine"]

EXIT_REFUSED = 13

VARIANTS = ("qdq", "fp16", "implicit-int8", "tf32", "fp32")
SOURCES = ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
PATH = click.Path(path_type=Path)
ALLOW_SCRIPTS = click.option(
    "--allow-scripts", is_flag=True, help="Let the recipe run the Python scripts beside it; read them first."
)


@click.command()
@click.argument("models", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder to write to; made where it does not exist.")
@click.option("--variants", default=",".join(VARIANTS), show_default=True, help="Which, in the order of building.")
@click.option("--batch", type=click.IntRange(min=1), help="Write this batch into the graph.")
@click.option("--samples", type=PATH, help="Calibrate on these; else ranges are made up, which times well.")
@click.option("--preprocess", metavar="KEY=VALUE,...", help="For a folder of images; see tune.")
@click.option("--recipe", type=PATH, help="Take edits, plan and ranges from this recipe of the model.")
@ALLOW_SCRIPTS
@click.option("--eval-samples", type=PATH, help="Compare the engines' results with the model's on these.")
@click.option("--labels", type=PATH, help="One class index a sample of --eval-samples: .npy, or text.")
@click.option("--quantized", type=PATH, help="The model quantized elsewhere, as one more variant (given).")
@click.option("--calibration-cache", type=PATH, help="Ranges of implicit INT8; else made up.")
@click.option(
    "--layer-precisions", metavar="NAME:TYPE,...", help="Of TensorRT 8's builder, as trtexec; * for any text."
)
@click.option("--backend", type=click.Choice(("tensorrt", "tensorrt_rtx")), default="tensorrt", show_default=True)
@click.option("--target", help="For tensorrt_rtx: build only, for this GPU (sm86), on any machine.")
@click.option("--tactic-sources", metavar="A,B", help=f"Of {', '.join(SOURCES)}; TensorRT's default where left out.")
@click.option(
    "--workspace-mib", type=click.IntRange(min=1), help="Limit on scratch memory; else the GPU's whole memory."
)
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
    allow_scripts: bool,
    eval_samples: Path | None,
    labels: Path | None,
    quantized: Path | None,
    calibration_cache: Path | None,
    layer_precisions: str | None,
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
    from workbench.backends import BuildOptions, TimingOptions
    from workbench.jobs.bench import Bench, open_source, table

    of_one = (samples, recipe, quantized, calibration_cache, eval_samples)
    if len(models) > 1 and any(given is not None for given in of_one):
        raise click.UsageError(
            "--samples, --recipe, --quantized, --calibration-cache and --eval-samples are of one model: give one."
        )
    if labels is not None and eval_samples is None:
        raise click.UsageError("--labels belong to --eval-samples: give those too.")
    if eval_samples is not None and target is not None:
        raise click.UsageError("--eval-samples needs engines that run here; a target is only built for.")
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
        layer_precisions=None if layer_precisions is None else _layer_precisions(layer_precisions),
    )
    sources = [
        open_source(
            path,
            batch=batch,
            samples=samples,
            preprocessing=preprocess,
            recipe=recipe,
            allow_scripts=allow_scripts,
            given=quantized,
            evaluation=eval_samples,
            labels=labels,
        )
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


@click.command()
@click.argument("graph", type=PATH)
@click.option("--profile", type=PATH, help="Times of its layers (trtexec --exportProfile), or a profiler's log.")
@click.option("--timing", type=PATH, help="Times of whole inferences (trtexec --exportTimes).")
@click.option("--metadata", type=PATH, multiple=True, help="A metadata file of TREx; may come several times.")
@click.option(
    "--model",
    type=PATH,
    help="The ONNX model it was built from: maps layers to its nodes. With --recipe, the recipe's.",
)
@click.option("--recipe", type=PATH, help="The recipe it was built from: what was asked of each node, and --model.")
@ALLOW_SCRIPTS
@click.option("--tensorrt-version", help="The version that built it, where you know: the files do not tell.")
@click.option("--gpu", help="For the roofline: a GPU of the list that a wrong name prints.")
@click.option("--against", type=PATH, help="Compare with this engine of the same model.")
@click.option("--against-profile", type=PATH, help="Times of that engine's layers.")
@click.option(
    "--against-model", type=PATH, help="The ONNX model of that engine: says which Q/DQ or Cast moved (with --model)."
)
@click.option("--onnx", "as_onnx", type=PATH, help="Write the layers as an ONNX graph, for viewers of ONNX.")
@click.option("--html", type=PATH, help="Write the report card, one page that loads nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def engine(
    graph: Path,
    profile: Path | None,
    timing: Path | None,
    metadata: tuple[Path, ...],
    model: Path | None,
    recipe: Path | None,
    allow_scripts: bool,
    tensorrt_version: str | None,
    gpu: str | None,
    against: Path | None,
    against_profile: Path | None,
    against_model: Path | None,
    as_onnx: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say what an engine is made of, from its files: GRAPH is what trtexec --exportLayerInfo or an inspector wrote.

    Needs no GPU and no TensorRT.
    """
    from workbench.engine import GPU_LIMITS, compare_engines, engine_onnx, load_report, run
    from workbench.files import write_bytes, write_text
    from workbench.graph import load_model
    from workbench.session import open_recipe

    if gpu is not None and gpu not in GPU_LIMITS:
        raise click.UsageError(f"--gpu: {gpu} is none of {', '.join(GPU_LIMITS)}.")
    if as_json and against is not None:
        raise click.UsageError("--json is about one engine; the comparison is text, or in --html.")
    if (against_profile, against_model) != (None, None) and against is None:
        raise click.UsageError("--against-profile and --against-model go with --against.")
    source, requested = None if model is None else load_model(model), None
    if recipe is not None:
        wb = open_recipe(recipe, model=model, allow_scripts=allow_scripts)
        source = wb.tuned
        decisions = wb.plan.resolve().decisions.values()
        requested = {decision.node: decision.precision for decision in decisions if decision.rule is not None}
    summary = run(
        graph,
        profile=profile,
        timing=timing,
        metadata=metadata,
        model=source,
        requested=requested,
        tensorrt_version=tensorrt_version,
    )
    comparison, engines = None, [summary.report]
    if against is not None:
        other = load_report(against, profile=against_profile)
        behind = None if against_model is None else load_model(against_model)
        engines = [other, summary.report]
        comparison = compare_engines(engines, source, models=[behind, source] if behind else [])
    click.echo(summary.json() if as_json else summary.text())
    if comparison is not None:
        click.echo()
        click.echo(comparison.summary())
    if as_onnx is not None:
        data = engine_onnx(summary.report).SerializeToString(deterministic=True)
        click.echo(f"wrote {write_bytes(as_onnx, data)}", err=as_json)
    if html is not None:
        from workbench.views.engines import report_card

        limits = None if gpu is None else GPU_LIMITS[gpu]
        page = report_card(summary, limits=limits, comparison=comparison, others=engines)
        click.echo(f"wrote {write_text(html, page)}", err=as_json)


@click.command()
@click.argument("model", type=PATH)
@click.option(
    "--target", "targets", multiple=True, default=("sm86",), show_default=True, help="May come several times."
)
@click.option("--shape", "shapes", multiple=True, metavar="INPUT:1x3x224x224", help="Of a dynamic input.")
@click.option("--fix", is_flag=True, help="Apply the known fixes, for all targets (needs --out).")
@click.option("--out", type=PATH, help="With --fix: the mended model; its recipe goes beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    model: Path, targets: tuple[str, ...], shapes: tuple[str, ...], fix: bool, out: Path | None, as_json: bool
) -> int:
    """Ask a real TensorRT compiler what it makes of MODEL, node by node. Needs no GPU.

    Parses and builds with TensorRT-RTX. Exit code 13 where a target refuses the model (after the fixes, with --fix), or
    cannot judge it without a GPU; the report is printed all the same.
    """
    from workbench.backends.verdict import check as judge
    from workbench.backends.verdict import mend
    from workbench.results import together
    from workbench.session import open_model

    if fix != (out is not None):
        raise click.UsageError("--fix writes the mended model to --out; give both.")
    wb = open_model(model)
    given = dict(_shape(text) for text in shapes)
    if fix:
        for target in targets:
            mended = mend(wb.model, target, shapes=given)
            for edit in mended.edits:
                wb.edit(edit)
            for note in mended.notes:
                click.echo(f"{target}: {note}", err=as_json)
    verdicts = [judge(wb.model, target, shapes=given) for target in targets]
    if as_json:
        click.echo(json.dumps([_told(verdict) for verdict in verdicts], indent=1))
    else:
        click.echo("\n".join(str(verdict) for verdict in verdicts))
    if out is not None:
        with together(out.parent):
            written = (*wb.model.save(out), wb.recipe.save(out.with_suffix(".recipe.yaml")))
        for path in written:
            click.echo(f"wrote {path}", err=as_json)
    return 0 if all(verdict.accepted for verdict in verdicts) else EXIT_REFUSED


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, lengths = text.rpartition(":")
    sizes = lengths.split("x")
    if not name or not all(size.isdecimal() for size in sizes):
        raise click.UsageError(f"--shape: {text!r} is not like INPUT:1x3x224x224.")
    return name, tuple(int(size) for size in sizes)


def _told(verdict: Verdict) -> dict[str, Any]:
    told = asdict(verdict)
    del told["layers"], told["log"]
    return told


def _variants(text: str) -> tuple[Variant, ...]:
    return _words(text, (*VARIANTS, "given"), "--variants")  # type: ignore[return-value]


def _layer_precisions(text: str) -> dict[str, LayerType]:
    from workbench.precision.plan import parse_spec

    known: dict[str, LayerType] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    entries = parse_spec(text)
    for name, types in entries:
        if types[0] not in known:
            raise click.BadParameter(f"{name}: TensorRT 8 has no {types[0]}.", param_hint="--layer-precisions")
    return {name: known[types[0]] for name, types in entries}


def _words(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in words if word not in known]
    if unknown or not words:
        raise click.UsageError(f"{option}: {', '.join(unknown) or 'nothing'} is not one of {', '.join(known)}.")
    return words
