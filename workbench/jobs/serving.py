"""The job: serve what was tuned over HTTP."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.calibration import Preprocessing
from workbench.display import ShownText
from workbench.errors import OptionError
from workbench.extras import require
from workbench.handoff import open_deployment
from workbench.jobs.options import ServeOptions, job
from workbench.names import near

if TYPE_CHECKING:
    from workbench.backends import Engine
    from workbench.handoff import Deployment
    from workbench.handoff.service import Images, LoadedModel, Service

__all__ = ["ServeResult", "serve"]

NEEDED = ("fastapi", "uvicorn", "prometheus_client", "orjson")


@dataclass(frozen=True)
class ServeResult(ShownText):
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


@job(ServeOptions)
def serve(options: ServeOptions) -> ServeResult:
    """See `ServeOptions`."""
    require(*NEEDED)
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


def _watch(service: Service, loaded: LoadedModel, options: ServeOptions) -> None:
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
