"""What tuning, searching, replaying and migrating can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import (
    AllowScripts,
    Batch,
    CudaGraph,
    Device,
    Evaluation,
    Gates,
    Junit,
    Labels,
    Model,
    OptimizationLevel,
    Out,
    Preprocessing,
    RangeMethod,
    Runs,
    Samples,
    SummaryFile,
    TacticSources,
    Target,
)
from workbench.jobs.options.written import MODEL_BESIDE, NamesFiles, Written
from workbench.names import DEFAULT_METHOD, DEFAULT_PERCENTILE, BackendName, near

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DEFAULT_PRESET", "MigrateOptions", "ReplayOptions", "SearchOptions", "TuneOptions"]

SETTINGS = ("samples", "model", "eval_samples", "labels", "target")
"""What a recipe can be re-targeted to."""

DEFAULT_PRESET = "int8"
"""What a tuning does where nothing else is asked for."""

MaxDrop = Annotated[
    float | None, Field(description="Gate: percentage points of top-1 that may be lost (needs labels).")
]
MinSqnr = Annotated[float | None, Field(description="Gate: SQNR in dB that the worst output must reach.")]
Preset = Annotated[
    str, Field(description="Where precision starts: int8, int8+fp16, fp8+fp16, fp16, bf16, fp32 or original.")
]


Measure = Annotated[
    BackendName | None,
    Field(description="Build and time engines on this, and keep what is faster than floating point."),
]


class TuneOptions(Options):
    """Tune a model by the best practice, to INT8 unless another preset is given, and report what it cost.

    With `measure` its engine is timed beside one in floating point, and where that is as fast, floating point stays.

    Writes tuned.onnx, recipe.yaml, statistics.npz, report.json and report.html into the folder `out`.
    """

    model: Model
    samples: Samples
    out: Out
    labels: Labels = None
    max_drop: MaxDrop = None
    min_sqnr: MinSqnr = None
    method: RangeMethod = DEFAULT_METHOD
    percentile: Annotated[float, Field(gt=0, le=100, description="For the method percentile.")] = DEFAULT_PERCENTILE
    batch: Batch = 1
    preprocessing: Preprocessing = None
    evaluation: Evaluation = None
    runs: Runs = 30
    preset: Preset = DEFAULT_PRESET
    target: Target = None
    gates: Gates = ()
    junit: Junit = None
    summary: SummaryFile = None
    device: Device = None
    measure: Measure = None
    measure_batch: Annotated[int | None, Field(ge=1, description="Measure with this batch.")] = None
    cuda_graph: CudaGraph = False
    tactic_sources: TacticSources = None
    optimization_level: OptimizationLevel = None
    engines: Annotated[
        Path | None,
        Written(),
        Field(description="Where measured engines and their journal are kept; OUT.engines where left out."),
    ] = None
    scheduler: Annotated[str | None, Field(description="A Dask scheduler whose workers build and time, one a GPU.")] = (
        None
    )
    say: Annotated[Any, Cli(hidden=True), Field(description="Is told of each step, a sentence each.")] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_drop is not None and self.labels is None:
            raise ValueError("`max_drop` is about top-1, which needs `labels`; `min_sqnr` works without")
        return self


class SearchOptions(TuneOptions):
    """Search the cheapest plan for a model that reaches a goal, and say which nodes stay in floating point.

    What is cheap say the engines given (`engine` with `profile`, for example one in FP16 and one in INT8), and bytes
    and MACs where they do not; the answer tells which is which. With `measure` engines are built, and the fastest that
    reaches the goal is taken.

    Writes tuned.onnx, recipe.yaml, statistics.npz, report.json, report.html and search.json (every plan tried) into the
    folder `out`.
    """

    preset: Annotated[str | None, Field(description="Where to start; INT8 over FP32 where left out.")] = None  # type: ignore[assignment]
    exact: Annotated[bool, Field(description="Measure sensitivity exactly instead of estimating it.")] = False
    engine: Annotated[
        tuple[str, ...],
        NamesFiles(),
        Cli(metavar="[PRECISION=]FILE"),
        Field(
            description="Inspector JSON of a measured engine: its times are the costs. May come several times. The "
            "precision says what regions of Myelin compute in; the file does not tell."
        ),
    ] = ()
    profile: Annotated[
        tuple[Path, ...], Field(description="Times of its layers, one for each engine, in the same order.")
    ] = ()
    cost: Annotated[
        Any,
        Cli(hidden=True),
        Field(description="Measured costs in Python: an engine report, several, or milliseconds by node."),
    ] = None
    equalize: Annotated[bool, Field(description="Search again with equalized channels; keep what is cheaper.")] = False
    correct_bias: Annotated[bool, Field(description="Correct biases for the plan, if that helps.")] = False
    builds: Annotated[int, Field(ge=2, description="Engines to build at most, where it is measured.")] = 12
    budget_s: Annotated[float | None, Field(gt=0, description="Seconds in all, where it is measured.")] = None
    implicit: Annotated[bool, Field(description="With TensorRT 8: measure implicit INT8 beside the others.")] = False
    most_trials: Annotated[
        int | None, Cli(hidden=True), Field(description="Evaluations after which the best plan found is taken.")
    ] = None

    @model_validator(mode="after")
    def _has_one_goal(self) -> Self:
        if (self.max_drop is None) == (self.min_sqnr is None):
            raise ValueError("give one goal: `max_drop` (with `labels`) or `min_sqnr`")
        if len(self.engine) != len(self.profile):
            raise ValueError("a cost needs times: give one `profile` for each `engine`, in the same order")
        return self


class ReplayOptions(Options):
    """Make the tuned model of a recipe again: the same bytes; and judge its gates again, where it has some.

    All that can be known before is verified first: model, scripts, files, environment.

    `settings` (--set) re-target it to other data, or to the same network trained again: what came from data is measured
    again, and the rest stays, rules by their selectors, ranges that a person set, gates.
    """

    recipe: Annotated[Path, Cli(argument=True), Field(description="The recipe.")]
    out: Out
    model: Annotated[Path | None, Field(description="Where its model is, if not where the recipe says.")] = None
    settings: Annotated[
        tuple[str, ...],
        Cli(name="set", metavar="KEY=VALUE"),
        Field(description=f"Re-target: {', '.join(SETTINGS)}; may come several times."),
    ] = ()
    recalibrate: Annotated[bool, Field(description="Measure the ranges again and say what moved.")] = False
    samples: Annotated[Any, Field(description="Other samples to recalibrate on.")] = None
    gates: Gates = ()
    no_gates: Annotated[bool, Field(description="Judge none of the recipe's gates, and run nothing for them.")] = False
    backend: Annotated[
        BackendName | None, Field(description="Build an engine with it here, and time it, for gates on engines.")
    ] = None
    engine: Annotated[
        Path | None, Field(description="For gates on engines: inspector JSON of one that was built elsewhere.")
    ] = None
    profile: Annotated[Path | None, Field(description="Times of that engine's layers.")] = None
    timing: Annotated[Path | None, Field(description="Times of that engine's whole inferences.")] = None
    runs: Runs = 30
    junit: Junit = None
    summary: SummaryFile = None
    allow_scripts: AllowScripts = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.samples is not None and not self.recalibrate:
            raise ValueError("`samples` go with `recalibrate`; a plain replay measures nothing")
        if self.backend is not None and self.engine is not None:
            raise ValueError("give `backend`, which builds an engine, or `engine`, which was built elsewhere")
        if self.engine is None and (self.profile, self.timing) != (None, None):
            raise ValueError("`profile` and `timing` go with `engine`")
        for text in self.settings:
            key, equals, value = text.partition("=")
            if not (equals and value):
                raise ValueError(f"`settings`: {text!r} is not like KEY=VALUE")
            if key not in SETTINGS:
                raise ValueError(f"`settings`: nothing is called {key}; {near(key, SETTINGS)}")
        return self


class MigrateOptions(Options):
    """Turn TensorRT's implicit INT8 (a model with a calibration cache) into an explicit Q/DQ graph for TensorRT 11.

    Quantized is what TensorRT gains most from in INT8, by the best practice: nodes that multiply, and residual Adds.
    The flags are rules above that, and a node whose inputs have no range in the cache stays in floating point.
    """

    model: Model
    cache: Annotated[Path, Field(description="The calibration cache made with the model.")]
    out: Annotated[
        Path | None,
        Written(beside=MODEL_BESIDE),
        Field(description="The ONNX file to write; a recipe goes beside it."),
    ] = None
    layer_precisions: Annotated[
        str | None, Cli(metavar="LAYER:TYPE,..."), Field(description="The value of trtexec's --layerPrecisions.")
    ] = None
    layer_output_types: Annotated[
        str | None, Cli(metavar="LAYER:TYPE,..."), Field(description="The value of trtexec's --layerOutputTypes.")
    ] = None
    fp16: Annotated[bool, Field(description="What is not INT8 becomes FP16, as with trtexec --int8 --fp16.")] = False
    engine: Annotated[
        Path | None, Field(description="Inspector JSON: keep what that engine ran in floating point.")
    ] = None
    target: Target = None
