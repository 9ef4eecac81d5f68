"""What benchmarking, reading and checking engines can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import (
    AllowScripts,
    CudaGraph,
    Evaluation,
    ExcludeLeanRuntime,
    Gates,
    HardwareCompatible,
    Junit,
    Model,
    Numbers,
    OptimizationLevel,
    Preprocessing,
    Refit,
    Strip,
    SummaryFile,
    TacticSources,
    VersionCompatible,
    Words,
)
from workbench.jobs.options.written import MODEL_BESIDE, Written

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BenchOptions", "CheckOptions", "EngineOptions", "InspectOptions", "Variant"]

Variant = Literal["qdq", "fp16", "implicit-int8", "tf32", "fp32", "given"]


class BenchOptions(Options):
    """Build models in several precisions, time the engines side by side, and record what they are made of.

    Needs a GPU and TensorRT, except with the backend tensorrt_rtx and a target, which only builds. What could not be
    had is missing from the figures, with the reason below.
    """

    models: Annotated[tuple[Path, ...], Cli(argument=True), Field(min_length=1, description="The ONNX files.")]
    out: Annotated[Path, Written(), Field(description="The folder to write to; made where it does not exist.")]
    variants: Annotated[
        tuple[Variant, ...], Words, Field(min_length=1, description="Which, in the order of building.")
    ] = ("qdq", "fp16", "implicit-int8", "tf32", "fp32")
    batch: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        Numbers,
        Cli(metavar="N,..."),
        Field(description="Write this batch into the graph; several are measured one after the other."),
    ] = ()
    samples: Annotated[Any, Field(description="Calibrate on these; else ranges are made up, which times well.")] = None
    preprocessing: Preprocessing = None
    recipe: Annotated[Path | None, Field(description="Take edits, plan and ranges from this recipe of the model.")] = (
        None
    )
    allow_scripts: AllowScripts = False
    evaluation: Evaluation = None
    labels: Annotated[Any, Field(description="One class index a sample that is evaluated on: an .npy, or text.")] = None
    quantized: Annotated[
        Path | None, Field(description="The model quantized elsewhere, as one more variant (given).")
    ] = None
    calibration_cache: Annotated[Path | None, Field(description="Ranges of implicit INT8; else made up.")] = None
    layer_precisions: Annotated[
        str | None,
        Cli(metavar="NAME:TYPE,..."),
        Field(description="Of TensorRT 8's builder, as trtexec; * for any text."),
    ] = None
    backend: Annotated[Literal["tensorrt", "tensorrt_rtx"], Field(description="What builds.")] = "tensorrt"
    target: Annotated[
        str | None, Field(description="For tensorrt_rtx: build only, for this GPU (sm86), on any machine.")
    ] = None
    tactic_sources: TacticSources = None
    workspace_mib: Annotated[
        int | None, Field(ge=1, description="Limit on scratch memory; else the GPU's whole memory.")
    ] = None
    version_compatible: VersionCompatible = False
    exclude_lean_runtime: ExcludeLeanRuntime = False
    hardware_compatible: HardwareCompatible = False
    refit: Refit = False
    strip: Strip = False
    optimization_level: OptimizationLevel = None
    timing_cache: Annotated[
        Path | None, Written(), Field(description="Read and written by all builds; else timing.cache in the folder.")
    ] = None
    runs: Annotated[int, Field(ge=1, description="Timed runs of each engine.")] = 400
    cuda_graph: CudaGraph = False
    budget_s: Annotated[float | None, Field(gt=0, description="Stop building in time to measure.")] = None
    keep_engines: Annotated[bool, Field(description="Write the engines too.")] = False
    say: Annotated[Any, Cli(hidden=True), Field(description="Is told of each step, a sentence each.")] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        of_one = (self.samples, self.recipe, self.quantized, self.calibration_cache, self.evaluation)
        if len(self.models) > 1 and any(option is not None for option in of_one):
            names = "`samples`, `recipe`, `quantized`, `calibration_cache` and `evaluation`"
            raise ValueError(f"{names} are of one model: give one")
        if self.labels is not None and self.evaluation is None:
            raise ValueError("`labels` belong to `evaluation`: give those too")
        if self.evaluation is not None and self.target is not None:
            raise ValueError("`evaluation` needs engines that run here; a target is only built for")
        if self.samples is not None and self.recipe is not None:
            raise ValueError("`recipe` brings its own ranges; `samples` go without it")
        return self


class EngineOptions(Options):
    """Say what an engine is made of, from its files: what trtexec --exportLayerInfo or an inspector wrote.

    Needs no GPU and no TensorRT.
    """

    graph: Annotated[
        Path, Cli(argument=True), Field(description="What trtexec --exportLayerInfo or an inspector wrote.")
    ]
    profile: Annotated[
        Path | None, Field(description="Times of its layers (trtexec --exportProfile), or a profiler's log.")
    ] = None
    timing: Annotated[Path | None, Field(description="Times of whole inferences (trtexec --exportTimes).")] = None
    metadata: Annotated[
        tuple[Path, ...],
        Field(description="A metadata file of TREx, or a manifest that bench wrote; may come several times."),
    ] = ()
    model: Annotated[
        Path | None,
        Field(description="The ONNX model it was built from: maps layers to its nodes. With a recipe, the recipe's."),
    ] = None
    recipe: Annotated[
        Path | None, Field(description="The recipe it was built from: what was asked of each node, and the model.")
    ] = None
    allow_scripts: AllowScripts = False
    tensorrt_version: Annotated[
        str | None, Field(description="The version that built it, where you know: the files do not tell.")
    ] = None
    gpu: Annotated[str | None, Field(description="For the roofline: a GPU of the list that a wrong name prints.")] = (
        None
    )
    against: Annotated[Path | None, Field(description="Compare with this engine of the same model.")] = None
    against_profile: Annotated[Path | None, Field(description="Times of that engine's layers.")] = None
    against_model: Annotated[
        Path | None,
        Field(description="The ONNX model of that engine: says which Q/DQ or Cast moved (with the model of this one)."),
    ] = None
    against_timing: Annotated[Path | None, Field(description="Times of that engine's whole inferences.")] = None
    gates: Gates = ()
    no_worse: Annotated[
        float | None,
        Cli(metavar="PERCENT"),
        Field(
            ge=0,
            description="Fail where this engine is worse than `against`: more layers or reformats, a wider precision, "
            "or more milliseconds than by this many percent.",
        ),
    ] = None
    junit: Junit = None
    summary: SummaryFile = None
    sarif: Annotated[Path | None, Written(), Field(description="Write the findings as SARIF.")] = None
    onnx: Annotated[
        Path | None, Written(), Field(description="Write the layers as an ONNX graph, for viewers of ONNX.")
    ] = None
    html: Annotated[
        Path | None, Written(), Field(description="Write the report card, one page that loads nothing.")
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        from workbench.engine import GPU_LIMITS

        if self.gpu is not None and self.gpu not in GPU_LIMITS:
            raise ValueError(f"`gpu`: {self.gpu} is none of {', '.join(GPU_LIMITS)}")
        of_other = (self.against_profile, self.against_model, self.against_timing, self.no_worse)
        if any(option is not None for option in of_other) and self.against is None:
            raise ValueError("`against_profile`, `against_timing`, `against_model` and `no_worse` go with `against`")
        return self


Release = Literal["1.4", "1.5", "1.6", "1.7"]


class CheckOptions(Options):
    """Ask a real TensorRT compiler what it makes of a model, node by node. Needs no GPU.

    Parses and builds with TensorRT-RTX. Where a target refuses the model (after the fixes, with `fix`) or cannot judge
    it without a GPU, the result is not accepted.
    """

    model: Model
    target: Annotated[
        tuple[str, ...],
        Field(description="The GPUs; may come several times; sm86 where left out, with matrix all."),
    ] = ()
    shape: Annotated[tuple[str, ...], Cli(metavar="INPUT:1x3x224x224"), Field(description="Of a dynamic input.")] = ()
    fix: Annotated[bool, Field(description="Apply the known fixes, for all targets (needs out).")] = False
    out: Annotated[
        Path | None,
        Written(beside=MODEL_BESIDE),
        Field(description="With fix: the mended model; its recipe goes beside it."),
    ] = None
    matrix: Annotated[
        bool, Field(description="Ask several releases of TensorRT-RTX, each installed once into the user's cache.")
    ] = False
    releases: Annotated[
        tuple[Release, ...],
        Words,
        Cli(metavar="A,B"),
        Field(min_length=1, description="The releases that a matrix asks."),
    ] = get_args(Release)
    junit: Junit = None
    summary: SummaryFile = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.matrix and self.fix:
            raise ValueError("`matrix` mends nothing: leave `fix` out")
        if not self.matrix and self.releases != get_args(Release):
            raise ValueError("`releases` are what a `matrix` asks: give both")
        if self.fix != (self.out is not None):
            raise ValueError("`fix` writes the mended model to `out`; give both")
        return self


class InspectOptions(Options):
    """Say what a model is: nodes, parameters, MACs, operators, inputs, outputs, and what is odd about it."""

    model: Model
