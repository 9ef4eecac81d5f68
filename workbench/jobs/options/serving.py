"""What serving a tuned model, handing it over and comparing what it saw with calibration can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from workbench.handoff.triton import RELEASE
from workbench.jobs.options.base import Cli, Options
from workbench.jobs.options.kinds import Preprocessing, Words
from workbench.jobs.options.written import NamesFiles, Written
from workbench.names import BackendName

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DriftOptions", "ServeOptions", "TritonOptions"]


class ServeOptions(Options):
    """Serve tuned models over HTTP, by KServe's open inference protocol, until the process is told to end.

    Any of its clients will do: tritonclient.http, curl. GET /docs lists what can be asked, GET /metrics is for
    Prometheus. The service listens to this machine alone unless `host` says otherwise, and knows no passwords.
    """

    folders: Annotated[
        tuple[str, ...],
        NamesFiles(),
        Cli(argument=True, metavar="[NAME=]DIR..."),
        Field(min_length=1, description="What workbench tune wrote, and how clients call it."),
    ]
    port: Annotated[int, Field(ge=0, le=65535, description="The port; 0 for any free one.")] = 8000
    host: Annotated[str, Field(description="The address to listen at; 0.0.0.0 for all of this machine's.")] = (
        "127.0.0.1"
    )
    backend: Annotated[BackendName, Field(description="What runs the model.")] = "onnxruntime"
    engine: Annotated[
        Path | None, Field(description="An engine that was built of the folder's tuned.onnx, with its manifest.")
    ] = None
    max_batch: Annotated[int, Field(ge=1, le=1024, description="The most rows of a run; 1 for no batching.")] = 16
    wait_ms: Annotated[
        float, Field(ge=0, le=1000, description="How long a request waits for others though the engine is free.")
    ] = 0.0
    exact: Annotated[
        bool, Field(description="Run requests together only where answers keep the bits of single runs.")
    ] = False
    queue: Annotated[int, Field(ge=1, description="Requests that may wait for a model (503 beyond).")] = 256
    concurrency: Annotated[int, Field(ge=1, description="Requests in flight at a time (429 beyond).")] = 256
    max_body_mib: Annotated[int, Field(ge=1, description="The largest body of a request (413 beyond).")] = 64
    timeout_s: Annotated[float, Field(gt=0, description="How long a request may wait in the queue (504 beyond).")] = (
        30.0
    )
    workers: Annotated[
        int, Field(ge=1, le=64, description="Processes, each with engines of its own; one that dies is replaced.")
    ] = 1

    postprocess: Annotated[
        str | None,
        Cli(metavar="KEY=VALUE,..."),
        Field(
            description="Take images too, at /v2/models/NAME/image, and answer with kind=classes (top=5, softmax=yes) "
            "or kind=detections (boxes, scores: outputs; threshold, overlap, background, form, units)."
        ),
    ] = None
    preprocess: Annotated[
        str | None,
        Cli(metavar="KEY=VALUE,..."),
        Field(description="How an image becomes the input; as in calibration where left out."),
    ] = None
    watch: Annotated[
        Path | None,
        Written(),
        Field(description="Count what is seen in the field into this file (.npz), for workbench drift; off without."),
    ] = None
    watch_tensors: Annotated[
        tuple[str, ...],
        Words,
        Cli(metavar="NAME,..."),
        Field(description="Which tensors are counted, * for any text; inputs, and all that have a range, by default."),
    ] = ()
    watch_every: Annotated[int, Field(ge=1, description="Count one of so many runs, to spare the processor.")] = 10

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.preprocess is not None and self.postprocess is None:
            raise ValueError("`preprocess` is for images, which `postprocess` says what to make of: give both")
        if self.watch is not None and (len(self.folders) > 1 or self.workers > 1):
            raise ValueError("`watch` counts for one model in one process: give one folder, and no `workers`")
        if self.watch is None and self.watch_tensors:
            raise ValueError("`watch_tensors` says what `watch` counts: give both")
        if self.engine is not None and len(self.folders) > 1:
            raise ValueError("`engine` is of one model: give one folder")
        return self


class DriftOptions(Options):
    """Compare what a service saw in the field with what its model was calibrated on, the worst tensor first."""

    folder: Annotated[Path, Cli(argument=True), Field(description="What workbench tune wrote, and what is served.")]
    field: Annotated[Path, Cli(argument=True), Field(description="The statistics that workbench serve --watch wrote.")]
    gate: Annotated[
        tuple[str, ...],
        Field(description="A condition: 'field_clipped <= 1' (percent), 'field_drift <= 0.3'. May come several times."),
    ] = ()
    picture: Annotated[Path | None, Written(), Field(description="Write the picture too: an .svg or a .png.")] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.picture is not None and self.picture.suffix.lower() not in (".svg", ".png"):
            raise ValueError(f"`picture` is an .svg or a .png, and {self.picture} is neither")
        return self


class TritonOptions(Options):
    """Write a tuned model into a model repository of Triton, with what a person needs to run and to measure it.

    Needs no GPU and no Docker. Batching follows from what bench measured; without that Triton's defaults stay.
    """

    folder: Annotated[Path, Cli(argument=True), Field(description="What tune, search or replay wrote.")]
    out: Annotated[
        Path, Written(), Field(description="The repository; a model, or a version of one, is added to what is there.")
    ]
    name: Annotated[str | None, Field(description="What clients call the model; like its file where left out.")] = None
    version: Annotated[int, Field(ge=1, description="The version's number.")] = 1
    engine: Annotated[
        Path | None, Field(description="Serve this engine of the model instead of the ONNX file; see build.")
    ] = None
    bench: Annotated[
        tuple[Path, ...], Field(description="Results of bench at several batches; may come several times.")
    ] = ()
    variant: Annotated[str, Field(description="Which of bench's variants the model is.")] = "qdq"
    state: Annotated[
        tuple[str, ...],
        Cli(metavar="INPUT=OUTPUT"),
        Field(description="Of a recurrent model: Triton hands the output to the next request of a sequence."),
    ] = ()
    labels: Annotated[
        Path | None, Field(description="A text file with the name of a class on each line, for the first output.")
    ] = None
    samples: Annotated[Any, Field(description="Warm up with these; with the calibration's where left out.")] = None
    preprocessing: Preprocessing = None
    triton: Annotated[str, Field(pattern=r"^\d\d\.\d\d$", description="The release of Triton's containers.")] = RELEASE

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.preprocessing is not None and self.samples is None:
            raise ValueError("`preprocessing` is of `samples`: give those too")
        return self
