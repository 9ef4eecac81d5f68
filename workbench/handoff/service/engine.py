"""A deployment with its engine loaded, ready to answer."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.backends import BuildOptions, ShapeRange, backend_named, backend_of, read_engine, with_weights
from workbench.child import Child
from workbench.errors import BackendError
from workbench.handoff.service.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from workbench.backends import Engine
    from workbench.handoff.deployment import Deployment, Port
    from workbench.handoff.service.rows import Rows
    from workbench.names import BackendName

__all__ = ["LoadedModel", "engine_for", "load"]

BUILDING = Child(timeout_s=3600.0)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer.

    Parameters
    ----------
    deployment
        What is served.
    inputs, outputs
        By name, as requests state them: where rows are put together, the first axis is free.
    run
        Runs once: input name to array, output name to array.
    rows
        How requests may be put together.
    backend
        What runs it.
    closing
        Gives back what was taken.
    """

    deployment: Deployment
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    run: Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
    rows: Rows
    backend: str
    closing: ExitStack

    @property
    def name(self) -> str:
        """How clients call it."""
        return self.deployment.name


def engine_for(deployment: Deployment, backend: BackendName, most: int, file: Path | None = None) -> Engine:
    """Build the engine of a deployment, or read one that was built before.

    Parameters
    ----------
    deployment
        What is served.
    backend
        What builds and runs it; an engine of a file names its own.
    most
        The most rows that a run will have.
    file
        The engine, where it was built before.

    Raises
    ------
    BackendError
        The backend is not here, or refuses the model or the engine: one for another GPU, another version or another
        model.
    """
    if file is not None:
        if file.is_file() and not file.with_name(f"{file.name}.json").is_file():
            fix = f"Build one of {deployment.file}: workbench build."
            raise BackendError("an engine without a manifest, which says what model it is of", where=file, fix=fix)
        engine = read_engine(file)
        if engine.manifest.get("model_sha256") != deployment.model.digest:
            raise BackendError(
                f"it is an engine of {engine.manifest.get('model')}, not of {deployment.file}",
                where=file,
                fix="Build one of that file.",
            )
        engine = with_weights(engine, deployment.model)
        return backend_of(engine).load(engine.data, engine.manifest)
    narrow = next((port.name for port in deployment.inputs if port.datatype == "BF16"), None)
    if backend == "onnxruntime" and narrow is not None:
        raise BackendError(
            "ONNX Runtime takes no BF16 from Python",
            where=f"input {narrow!r}",
            fix="Put a Cast behind an FP32 input and tune again, or serve with --backend tensorrt.",
        )
    profile = {
        port.name: ShapeRange((1, *port.shape[1:]), (most, *port.shape[1:]), (most, *port.shape[1:]))
        for port in deployment.inputs
        if deployment.batches and min(port.shape[1:], default=1) > 0
    }
    options = BuildOptions(profiles=(profile,) if len(profile) == len(deployment.inputs) else None)
    return backend_named(backend).build(deployment.model, options, child=BUILDING)


def load(deployment: Deployment, engine: Engine, *, most: int, exact: bool = False) -> LoadedModel:
    """Load an engine, and run it to find out how requests may be put together; see `rows_of`.

    Raises
    ------
    BackendError
        The engine does not run here.
    """
    closing = ExitStack()
    profiled = [one["max"][0] for one in engine.manifest.get("profile", ()) if one.get("max")]
    try:
        run = closing.enter_context(backend_of(engine).opened(engine))
        steps = engine.backend != "onnxruntime"
        rows = rows_of(run, deployment, min([most, *profiled]), steps=steps, exact=exact)
    except BaseException:
        closing.close()
        raise
    inputs = {port.name: _asked(port, rows) for port in deployment.inputs}
    outputs = {port.name: _asked(port, rows) for port in deployment.outputs}
    return LoadedModel(deployment, inputs, outputs, run, rows, engine.backend, closing)


def _asked(port: Port, rows: Rows) -> Port:
    return replace(port, shape=(-1, *port.shape[1:])) if rows.most > 1 else port
