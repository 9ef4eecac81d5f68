"""The job: serve what was tuned over HTTP."""

from __future__ import annotations

import fnmatch
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from workbench.calibration import Preprocessing
from workbench.display import Card, Shown
from workbench.errors import BackendError, OptionError
from workbench.handoff import open_deployment
from workbench.jobs.options import Cli, Options, Words, job
from workbench.names import BackendName, near

if TYPE_CHECKING:
    from typing_extensions import Self

    from workbench.backends import Engine
    from workbench.handoff import Deployment
    from workbench.handoff.service import Images, Loaded, Service

__all__ = ["ServeOptions", "ServeResult", "serve"]

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "orjson")


class ServeOptions(Options):
    """Serve tuned models over HTTP, by KServe's open inference protocol, until the process is told to end.

    Any of its clients will do: tritonclient.http, curl. GET /docs lists what can be asked, GET /metrics is for
    Prometheus. The service listens to this machine alone unless `host` says otherwise, and knows no passwords.
    """

    folders: Annotated[
        tuple[str, ...],
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


@dataclass(frozen=True, repr=False)
class ServeResult(Shown):
    """What came of a service that has ended.

    Parameters
    ----------
    url
        Where it was.
    """

    url: str

    def text(self) -> str:
        """Return the result in a line."""
        return f"the service at {self.url} has ended"

    def _card(self) -> Card:
        return Card.of_text(self.text())


@job(ServeOptions)
def serve(options: ServeOptions) -> ServeResult:
    """See `ServeOptions`."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"the package {missing[0]} is missing", fix="Install the extra: pip install trt-workbench[serve]."
        )
    from workbench.handoff.service import engine_for, listen, run_server, say, url_of

    deployments = _deployments(options.folders)
    with listen(options.host, options.port) as opened:
        if options.postprocess is not None:
            for one in deployments:
                _images(one, options)
        engines = [engine_for(one, options.backend, options.max_batch, options.engine) for one in deployments]
        url = url_of(opened)
        say(f"serving {', '.join(one.name for one in deployments)} at {url}/v2, described at {url}/docs")
        run_server(_Make(options, tuple(engines)), opened, workers=options.workers)
    return ServeResult(url)


def _deployments(folders: tuple[str, ...]) -> list[Deployment]:
    deployments: dict[str, Deployment] = {}
    for text in folders:
        name, equals, folder = text.partition("=")
        named = bool(equals) and not Path(text).exists()
        one = open_deployment(folder if named else text, name=name if named else None)
        if one.name in deployments:
            raise OptionError(
                f"`folders`: {deployments[one.name].folder} and {one.folder} are both called {one.name}; "
                f"give one another name: {one.name}_2={one.folder}"
            )
        deployments[one.name] = one
    return list(deployments.values())


@dataclass(frozen=True)
class _Make:
    """Makes the service; is sent to workers, which open the folders anew."""

    options: ServeOptions
    engines: tuple[Engine, ...]

    def __call__(self) -> Service:
        from workbench.handoff.service import Service, Settings, load

        options = self.options
        pairs: Any = zip(_deployments(options.folders), self.engines, strict=True)
        loaded = [load(one, engine, most=options.max_batch, exact=options.exact) for one, engine in pairs]
        settings = Settings(
            body_bytes=options.max_body_mib << 20, concurrency=options.concurrency, timeout_s=options.timeout_s
        )
        service = Service(loaded, settings, wait_s=options.wait_ms / 1e3, queued=options.queue)
        for one in loaded if options.postprocess is not None else ():
            service.models[one.name].images = _images(one.deployment, options)
        if options.watch is not None:
            _watch(service, loaded[0], options)
        return service


def _images(deployment: Deployment, options: ServeOptions) -> Images:
    from workbench.handoff.service import Postprocessing, images_of

    preprocessing = None if options.preprocess is None else Preprocessing.parse(options.preprocess)
    return images_of(deployment, preprocessing, Postprocessing.parse(options.postprocess or ""))


def _watch(service: Service, loaded: Loaded, options: ServeOptions) -> None:
    from workbench.handoff.service import FieldStatistics

    served = service.models[loaded.name]
    field = FieldStatistics(
        loaded.deployment.model,
        _watched(loaded.deployment, options.watch_tensors),
        Path(str(options.watch)),
        every=options.watch_every,
        on_counted=served.metrics.counted,
    )
    served.watchers.append(field)
    loaded.closing.callback(field.close)


def _watched(deployment: Deployment, patterns: tuple[str, ...]) -> list[str]:
    floating = [port.name for port in deployment.inputs if port.datatype in ("FP16", "BF16", "FP32", "FP64")]
    tensors = list(dict.fromkeys([*floating, *deployment.ranges]))
    for pattern in patterns:
        if not fnmatch.filter(tensors, pattern):
            raise OptionError(f"`watch_tensors`: no tensor is called {pattern!r}; {near(pattern, tensors)}")
    chosen = [one for one in tensors if not patterns or any(fnmatch.fnmatchcase(one, p) for p in patterns)]
    if not chosen:
        raise OptionError(f"`watch`: {deployment.name} has no floating-point input and no range to count values for")
    return chosen
