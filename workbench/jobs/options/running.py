"""What building one engine, and running it, can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import (
    Batch,
    ExcludeLeanRuntime,
    HardwareCompatible,
    Model,
    Numbers,
    Preprocessing,
    Refit,
    Strip,
    VersionCompatible,
)
from workbench.jobs.options.written import ENGINE_BESIDE, Written
from workbench.names import BackendName

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BuildEngineOptions", "RunEngineOptions"]


class BuildEngineOptions(Options):
    """Build an engine of a model, and write beside it a manifest that says what it is of and where it loads.

    Needs a GPU and TensorRT, except with the backend onnxruntime, or tensorrt_rtx and a target.
    """

    model: Model
    out: Annotated[
        Path,
        Written(beside=ENGINE_BESIDE),
        Field(description="The engine's file; its manifest goes beside it, with .json added."),
    ]
    backend: Annotated[BackendName, Field(description="What builds.")] = "tensorrt"
    target: Annotated[str | None, Field(description="For tensorrt_rtx: build for this GPU (sm86), on any machine.")] = (
        None
    )
    recipe: Annotated[
        Path | None, Field(description="The recipe that made the model: what it asks of engines is done.")
    ] = None
    batches: Annotated[
        tuple[int, ...] | None,
        Numbers,
        Cli(metavar="MIN,OPT,MAX"),
        Field(description="Lengths of a free first axis: the engine takes MIN to MAX, and is tuned for OPT."),
    ] = None
    version_compatible: VersionCompatible = False
    exclude_lean_runtime: ExcludeLeanRuntime = False
    hardware_compatible: HardwareCompatible = False
    refit: Refit = False
    strip: Strip = False
    optimization_level: Annotated[int | None, Field(ge=0, le=5, description="Of the builder; its default is 3.")] = None
    timing_cache: Annotated[Path | None, Written(), Field(description="Read where it exists, and written.")] = None
    workspace_mib: Annotated[
        int | None, Field(ge=1, description="Limit on scratch memory; suggested by the model's size where left out.")
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.target is not None and self.backend != "tensorrt_rtx":
            raise ValueError("`target` is for the `backend` tensorrt_rtx; the others build for this machine")
        if self.exclude_lean_runtime and not (self.version_compatible or self.recipe):
            raise ValueError("`exclude_lean_runtime` goes with `version_compatible`")
        if self.batches is not None and (len(self.batches) != 3 or sorted(self.batches) != list(self.batches)):
            raise ValueError("`batches` are three numbers in order: MIN,OPT,MAX")
        return self


class RunEngineOptions(Options):
    """Run a built engine over samples, and write what it computes.

    Which runtime the engine needs is said from its manifest before anything is loaded; without `samples` that is all
    that is done. An engine without a manifest is of unknown source, and refused unless `trust` says whose it is.
    """

    engine: Annotated[Path, Cli(argument=True), Field(description="The engine; its manifest lies beside it.")]
    samples: Annotated[
        Any, Field(description="What to feed it: an .npz, an .npy or a folder of images; in Python any iterable too.")
    ] = None
    out: Annotated[Path | None, Written(), Field(description="The .npz to write: an array an output.")] = None
    runtime: Annotated[
        Literal["auto", "full", "lean"],
        Field(description="What loads an engine of TensorRT; auto takes what is installed and fits."),
    ] = "auto"
    trust: Annotated[
        BackendName | None,
        Field(description="Load it without a manifest, as an engine of this backend: you know who made it."),
    ] = None
    weights: Annotated[
        Path | None,
        Cli(metavar="MODEL"),
        Field(description="Put the weights of this ONNX file into an engine that was built with strip or refit."),
    ] = None
    save: Annotated[
        Path | None,
        Written(beside=ENGINE_BESIDE),
        Field(description="Write the engine with the weights in it, and its manifest beside it."),
    ] = None
    batch: Batch = 1
    preprocessing: Preprocessing = None
    say: Annotated[Any, Cli(hidden=True), Field(description="Is told what the engine needs, before it is loaded.")] = (
        None
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.samples is None) != (self.out is None):
            raise ValueError("`samples` are what is run and `out` is where the results go: give both, or neither")
        if self.save is not None and self.weights is None:
            raise ValueError("`save` writes an engine that `weights` were put into: give both")
        return self
