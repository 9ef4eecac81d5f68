"""Everything but inference: health, metadata, statistics, metrics and the page that describes them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from workbench import __version__
from workbench.handoff.service.bodies import Gone
from workbench.handoff.service.described import STATUSES, described, page
from workbench.handoff.service.request_error import RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from workbench.handoff.deployment import Port
    from workbench.handoff.service.service import Served, Service

    Endpoint = Callable[[str, str | None], Coroutine[Any, Any, Response]]

__all__ = ["routes"]

EXTENSIONS = ["binary_tensor_data", "statistics", "model_repository", "model_configuration"]
METRICS = "text/plain; version=0.0.4; charset=utf-8"


def routes(service: Service) -> FastAPI:  # noqa: C901 - one route after the other
    """Return the app that answers what is not inference."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="trt-workbench", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _unknown)
    described(app, service)

    # Whatever watches a service may ask for the status alone.
    @app.head("/v2/health/live", include_in_schema=False)
    @app.get("/v2/health/live", summary="Whether the service runs")
    async def live() -> Response:
        return Response()

    @app.head("/v2/health/ready", include_in_schema=False)
    @app.get("/v2/health/ready", summary="Whether it takes requests")
    async def ready() -> Response:
        return Response(status_code=503 if service.ending else 200)

    @app.get("/v2", summary="What the service is")
    async def server() -> Response:
        return _json({"name": "trt-workbench", "version": __version__, "extensions": EXTENSIONS})

    @app.get("/v2/models/stats", summary="Counters of all models, as Triton's statistics extension has them")
    async def all_statistics() -> Response:
        return _json({"model_stats": list(service.metrics.statistics().values())})

    def of_model(path: str, summary: str) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            versioned = f"/v2/models/{{model}}/versions/{{version}}{path}"
            app.get(versioned, summary=summary, include_in_schema=False)(endpoint)
            return app.get(f"/v2/models/{{model}}{path}", summary=summary)(endpoint)

        return add

    @of_model("", "Names, types and shapes of inputs and outputs")
    async def metadata(model: str, version: str | None = None) -> Response:
        return _json(_metadata(service.model(model, version)))

    @of_model("/ready", "Whether a model takes requests")
    async def model_ready(model: str, version: str | None = None) -> Response:
        service.model(model, version)
        return await ready()

    @of_model("/config", "How a model is served, in the words of Triton's configuration")
    async def config(model: str, version: str | None = None) -> Response:
        return _json(_config(service.model(model, version)))

    @of_model("/stats", "Counters of a model, as Triton's statistics extension has them")
    async def statistics(model: str, version: str | None = None) -> Response:
        served = service.model(model, version)
        return _json({"model_stats": [service.metrics.statistics()[served.loaded.name]]})

    image = {
        "requestBody": {"required": True, "content": {"image/png": {}, "image/jpeg": {}}},
        "responses": {status: {"description": text} for status, text in STATUSES.items()},
    }

    @app.post("/v2/models/{model}/image", summary="What the model sees in an image", openapi_extra=image)
    async def look(model: str, request: Request) -> Response:
        try:
            return _json(await service.look(model, None, dict(request.scope["headers"]), request.receive))
        except Gone:
            return Response(status_code=400)

    @app.post("/v2/repository/index", summary="All models")
    async def index() -> Response:
        return _json([{"name": name, "version": "1", "state": "READY", "reason": ""} for name in service.models])

    @app.get("/metrics", summary="Counters, as Prometheus reads them")
    async def metrics() -> Response:
        for served in service.models.values():
            served.metrics.waiting(served.batcher)
        return Response(service.metrics.text(), media_type=METRICS)

    @app.get("/docs", summary="This page", include_in_schema=False)
    async def docs() -> Response:
        return Response(page(app), media_type="text/html")

    return app


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return Response(error.content, error.status, error.headers, "application/json")


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    reason = {404: "there is no such page", 405: f"this page takes no {request.method}"}.get(status, str(error))
    return _json({"error": f"{reason}. What there is, is listed at /docs."}, status)


def _tensor(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": port.datatype, "shape": list(port.shape)}


def _metadata(served: Served) -> dict[str, Any]:
    loaded = served.loaded
    return {
        "name": loaded.name,
        "versions": ["1"],
        "platform": f"{loaded.backend}_onnx",
        "inputs": [_tensor(port) for port in loaded.inputs.values()],
        "outputs": [_tensor(port) for port in loaded.outputs.values()],
        "parameters": {
            "batching": loaded.rows.why,
            "recipe_sha256": loaded.deployment.recipe.tuned.sha256 if loaded.deployment.recipe.tuned else "",
        },
    }


def _config(served: Served) -> dict[str, Any]:
    loaded, batching = served.loaded, served.batcher.batching
    batches = batching.rows > 1

    def tensor(port: Port) -> dict[str, Any]:
        kind = "STRING" if port.datatype == "BYTES" else port.datatype
        return {"name": port.name, "data_type": f"TYPE_{kind}", "dims": list(port.shape[1 if batches else 0 :])}

    dynamic = {"max_queue_delay_microseconds": int(batching.wait_s * 1e6), "preferred_batch_size": []}
    return {
        "name": loaded.name,
        "platform": f"{loaded.backend}_onnx",
        "max_batch_size": batching.rows if batches else 0,
        "input": [tensor(port) for port in loaded.inputs.values()],
        "output": [tensor(port) for port in loaded.outputs.values()],
        **({"dynamic_batching": dynamic} if batches else {}),
    }
