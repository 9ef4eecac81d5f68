"""A real service on a free port, and a real client of it."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING, Any

import onnx
import uvicorn
from onnx import helper

from tests.kit.awaited import PATIENCE_S, until
from workbench.handoff import open_deployment
from workbench.handoff.service import Service, Settings, engine_for, listen, load, url_of
from workbench.handoff.service.application import Application
from workbench.handoff.service.connections import PatientProtocol
from workbench.recipe import ModelReference, Recipe, Tuned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Running:
    """A service that runs in a thread of this process."""

    def __init__(self, url: str, service: Service) -> None:
        self.url = url
        self.service = service
        self.port = int(url.rpartition(":")[2])
        self.address = url.removeprefix("http://")


def saved(folder, inputs, outputs, nodes):
    """Save a model as a tuning that changed nothing would."""
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(proto, folder / "tuned.onnx")
    digest = hashlib.sha256((folder / "tuned.onnx").read_bytes()).hexdigest()
    source = ModelReference(file=str(folder / "source.onnx"), sha256=digest)
    Recipe(model=source, tuned=Tuned(sha256=digest)).save(folder / "recipe.yaml")
    return folder


def loaded(folder: Path, *, most: int = 8, exact: bool = False, name: str | None = None) -> Any:
    """Load the engine of a deployment on ONNX Runtime."""
    deployment = open_deployment(folder, name=name)
    return load(deployment, engine_for(deployment, "onnxruntime", most), most=most, exact=exact)


@contextlib.contextmanager
def running(models: list[Any], settings: Settings | None = None, **options: Any) -> Iterator[Running]:
    """Serve models on a free port until the end of the block."""
    service = Service(models, settings, **options)
    with listen("127.0.0.1", 0) as opened:
        config = uvicorn.Config(
            Application(service), http=PatientProtocol, ws="none", log_level="error", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            until(lambda: server.started, "the service starts", pause_s=0.005)
            yield Running(url_of(opened), service)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "the service does not end"
