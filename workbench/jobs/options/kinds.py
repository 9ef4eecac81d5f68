"""Kinds of values that options of several jobs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from workbench.backends import TacticSource
from workbench.jobs.options.base import Cli
from workbench.jobs.options.written import Written
from workbench.names import Method
from workbench.precision import TARGETS

__all__ = [
    "AllowScripts",
    "Batch",
    "CudaGraph",
    "Device",
    "Evaluation",
    "ExcludeLeanRuntime",
    "Gates",
    "HardwareCompatible",
    "Junit",
    "Labels",
    "Model",
    "Numbers",
    "OptimizationLevel",
    "Out",
    "Preprocessing",
    "RangeMethod",
    "Refit",
    "Runs",
    "Samples",
    "Strip",
    "SummaryFile",
    "TacticSources",
    "Target",
    "VersionCompatible",
    "Words",
]


def _words(value: Any) -> Any:
    """Take a text as the command line has it, words with commas between them."""
    return tuple(dict.fromkeys(w.strip() for w in value.split(",") if w.strip())) if isinstance(value, str) else value


def _numbers(value: Any) -> Any:
    """Take a text as the command line has it, whole numbers with commas between them, or one number."""
    if isinstance(value, int):
        return (value,)
    return tuple(word.strip() for word in value.split(",")) if isinstance(value, str) else value


Words = BeforeValidator(_words)
Numbers = BeforeValidator(_numbers)

Model = Annotated[Path, Cli(argument=True), Field(description="The ONNX file.")]
Out = Annotated[
    Path,
    Written(results=True),
    Field(description="The folder to write to: new, empty, or holding the results of an earlier run."),
]
Samples = Annotated[
    Any, Field(description="What to calibrate on: an .npz, an .npy or a folder of images; in Python any iterable too.")
]
Labels = Annotated[
    Any, Field(description="One class index a sample that is compared on: an .npy or a text file, in Python an array.")
]
Evaluation = Annotated[Any, Cli(name="eval-samples"), Field(description="Compare on these; the labels belong to them.")]
Preprocessing = Annotated[
    Any,
    Cli(name="preprocess", metavar="KEY=VALUE,...", text=True),
    Field(
        description="For a folder of images: size=HxW, layout=CHW|HWC, color=RGB|BGR|GRAY, scale, mean, std (a/b/c)."
    ),
]
RangeMethod = Annotated[Method, Field(description="How ranges are picked.")]
Batch = Annotated[int, Field(ge=1, description="Samples a run, where the model's batch is dynamic.")]
Device = Annotated[
    str | None,
    Cli(metavar="cuda[:N][+tf32]"),
    Field(description="Run samples on a GPU; on the processor where left out, or where it cannot be used."),
]
Runs = Annotated[int, Field(ge=0, description="Timed runs of each model; 0 for none.")]
Target = Annotated[
    str | None,
    Cli(metavar="NAME[@smNN]"),
    Field(description=f"What it is for: {', '.join(TARGETS)}; any where left out."),
]
VersionCompatible = Annotated[bool, Field(description="The engine also loads in newer versions of TensorRT.")]
ExcludeLeanRuntime = Annotated[
    bool, Field(description="Leave the lean runtime of its version out of a version-compatible engine.")
]
HardwareCompatible = Annotated[
    bool, Field(description="The engine also runs on other GPUs of the Ampere architecture and newer.")
]
Refit = Annotated[bool, Field(description="The weights in the engine can be changed.")]
Strip = Annotated[bool, Field(description="Leave the weights out of the engine; they are put back before it runs.")]
CudaGraph = Annotated[bool, Field(description="Time inferences replayed as CUDA graphs.")]
TacticSources = Annotated[
    tuple[TacticSource, ...] | None,
    Words,
    Cli(metavar="A,B"),
    Field(description="Libraries that tactics may come from; TensorRT's default where left out."),
]
OptimizationLevel = Annotated[int | None, Field(ge=0, le=5, description="Of the builder; its default is 3.")]
Sensitivity = Literal["quick", "exact"]
Gates = Annotated[
    tuple[str, ...],
    Cli(name="gate", metavar="'METRIC >= NUMBER'"),
    Field(description="What has to hold, as 'sqnr_db >= 20' or 'p95_ms <= 100'; may come several times."),
]
Junit = Annotated[Path | None, Written(), Field(description="Write what was checked as JUnit XML.")]
SummaryFile = Annotated[
    Path | None, Written(), Cli(name="summary"), Field(description="Write what was checked as GitHub's Markdown.")
]
AllowScripts = Annotated[bool, Field(description="Let the recipe run the Python scripts beside it; read them first.")]
