"""The OpenAPI description: that of the routes, and of inference, which is answered before them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from workbench.handoff.deployment import Port
    from workbench.handoff.service.service import Service

__all__ = ["STATUSES", "described", "page"]

STATUSES = {
    "200": "The answer",
    "400": "The request is not for this model, or not as the protocol says",
    "404": "There is no such model",
    "405": "Inference is asked for by POST",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is compressed in an unknown way",
    "429": "Too many requests at once",
    "431": "The headers are too long",
    "503": "The queue is full, or the service ends",
    "504": "The deadline passed in the queue",
}


def described(app: FastAPI, service: Service) -> None:
    """Add inference to the description of an app."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            for name, served in service.models.items():
                loaded = served.loaded
                schema["paths"][f"/v2/models/{name}/infer"] = {
                    "post": _infer(list(loaded.inputs.values()), list(loaded.outputs.values()))
                }
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says to


def _infer(inputs: list[Port], outputs: list[Port]) -> dict[str, Any]:
    content = {"application/json": {"schema": _request(inputs, outputs)}}
    header = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "required": False,
        "schema": {"type": "integer"},
        "description": "Where tensors follow the JSON as bytes: how long the JSON is.",
    }
    return {
        "summary": "Run the model",
        "parameters": [header],
        "requestBody": {"required": True, "content": {**content, "application/octet-stream": {}}},
        "responses": {status: {"description": text} for status, text in STATUSES.items()},
    }


def _request(inputs: list[Port], outputs: list[Port]) -> dict[str, Any]:
    def tensor(port: Port) -> dict[str, Any]:
        shape = [1 if n < 0 else n for n in port.shape]
        return {"name": port.name, "shape": shape, "datatype": port.datatype, "data": []}

    asked = [{"name": port.name, "parameters": {"binary_data": False}} for port in outputs]
    parameters = {"type": "object", "description": "binary_data_size, binary_data, binary_data_output, timeout (in µs)"}
    fields = {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "data": {"type": "array", "items": {}},
        "parameters": parameters,
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": {"type": "array", "items": {"type": "object", "properties": fields}},
            "outputs": {"type": "array", "items": {"type": "object", "properties": {"name": fields["name"]}}},
        },
        "example": {"inputs": [tensor(port) for port in inputs], "outputs": asked},
    }


def page(app: FastAPI) -> str:
    """Return the description as a page that needs no network: FastAPI's own takes its scripts from one."""
    schema = app.openapi()
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td><td>{escape(entry['summary'])}</td></tr>"
        for path, methods in sorted(schema["paths"].items())
        for method, entry in methods.items()
    ]
    statuses = [f"<tr><td>{status}</td><td>{escape(text)}</td></tr>" for status, text in STATUSES.items()]
    title = f"{schema['info']['title']} {schema['info']['version']}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
        ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;"
        "padding:0 1rem}td{padding:.2rem 1rem .2rem 0;vertical-align:top}code{overflow-wrap:anywhere}</style>"
        f"<title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>"
        '<p>KServe\'s open inference protocol, version 2. For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"<table>{''.join(rows)}</table><h2>Answers to inference</h2><table>{''.join(statuses)}</table></body></html>\n"
    )
