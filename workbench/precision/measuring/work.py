"""One task: build an engine and time it beside others. Runs wherever an executor puts it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import onnx

from workbench.backends import backend_named, backend_of
from workbench.child import Child, ChildError
from workbench.errors import WorkbenchError
from workbench.evaluate import compare_engine
from workbench.files import write_bytes
from workbench.graph import from_proto
from workbench.precision.measuring.cluster import alone_on_device
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from workbench.backends import BuildOptions, Capabilities, Engine, Measured, TimingOptions
    from workbench.calibration import Samples
    from workbench.evaluate import Agreement
    from workbench.names import BackendName

__all__ = ["Done", "TimingTask", "able", "agreement", "do"]

Status = Literal["built", "measured", "failed", "too slow"]


@dataclass(frozen=True)
class TimingTask:
    """What is to be built, and beside what it is timed.

    Parameters
    ----------
    name
        What the new engine is called.
    backend
        What builds and runs.
    model
        The content of the ONNX file to build; None builds nothing, and only times.
    build
        How. A timing cache's path is one of the machine that builds; where there is none of it, `cache` is taken.
    beside
        Engines that are there already, and take turns with the new one.
    timing, loadings
        How they are timed; with no loadings they are not.
    kept
        With these it is a race: who is surely behind, and none of these, leaves it.
    limit_s
        Seconds that the build may take.
    cache
        The content of a timing cache.
    """

    name: str
    backend: BackendName
    timing: TimingOptions
    model: bytes | None = None
    build: BuildOptions | None = None
    beside: Mapping[str, Engine] = field(default_factory=dict, repr=False)
    loadings: int = 0
    kept: tuple[str, ...] | None = None
    limit_s: float | None = None
    cache: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Parameters
    ----------
    status
        ``measured``; ``built``, but not timed; ``failed``; or ``too slow`` to build.
    reason
        Why it is not ``measured``.
    engine
        What was built.
    measured
        Name to what was measured, the engines beside it too.
    seconds
        Wall time of building and of timing.
    worker
        What did it: host, device and process.
    began, ended
        When it was timed, in seconds of the host's clock.
    """

    status: Status
    reason: str | None = None
    engine: Engine | None = field(default=None, repr=False)
    measured: Mapping[str, Measured] = field(default_factory=dict, repr=False)
    build_s: float = 0.0
    timing_s: float = 0.0
    worker: str = ""
    began: float = 0.0
    ended: float = 0.0
    cache: bytes | None = field(default=None, repr=False)


def do(task: TimingTask) -> Done:
    """Build and time; what fails is a result too."""
    if task.backend == "onnxruntime":  # it times nothing while it builds
        done = _built(task)
        with alone_on_device(task.backend) as device:
            return _timed(task, done, device)
    with alone_on_device(task.backend) as device:
        return _timed(task, _built(task), device)


def _timed(task: TimingTask, done: Done, device: str) -> Done:
    done = replace(done, worker=f"{device}, process {os.getpid()}")
    if done.status != "built" or not task.loadings:
        return done
    began = time.time()
    engines = {**task.beside} if done.engine is None else {**task.beside, task.name: done.engine}
    try:
        backend = backend_named(task.backend)
        timings = backend.measure(engines, task.timing, loadings=task.loadings, kept=task.kept)
    except WorkbenchError as error:
        return replace(done, reason=f"not timed: {error}")
    ended = time.time()
    mine = timings.get(task.name)
    if mine is not None and mine.error is not None:
        return replace(done, status="failed", reason=f"it does not run: {mine.error}")
    return replace(
        done, status="measured", measured=timings, timing_s=ended - began, began=began, ended=ended, reason=None
    )


def able(backend: BackendName) -> Capabilities:
    """Say what a backend can do where this runs."""
    return backend_named(backend).capabilities()


def agreement(
    model: bytes, engine: Engine, samples: Samples, labels: npt.NDArray[np.int64] | None, batch: int
) -> Agreement:
    """Run an engine on samples, and say how far it is from the model in floating point on ONNX Runtime."""
    original = from_proto(onnx.load_from_string(model))
    backend = backend_of(engine)
    with alone_on_device(backend.name):  # type: ignore[arg-type]  # a name that made an engine is one
        return compare_engine(original, backend, engine, samples, labels=labels, batch=batch)


def _built(task: TimingTask) -> Done:
    if task.model is None or task.build is None:
        return Done("built", "nothing was to be built")
    model = from_proto(onnx.load_from_string(task.model))
    start = time.monotonic()
    with scratch_folder() as folder:
        options = task.build
        beside = options.timing_cache is not None and not Path(options.timing_cache).parent.is_dir()
        if beside:  # another host: it has a cache of its own
            options = replace(options, timing_cache=str(folder / "timing.cache"))
            if task.cache is not None:
                write_bytes(str(options.timing_cache), task.cache)
        try:
            engine = backend_named(task.backend).build(model, options, child=Child(timeout_s=task.limit_s))
        except ChildError as error:
            status: Status = "too slow" if error.kind == "timeout" else "failed"
            return Done(status, str(error), build_s=time.monotonic() - start)
        except WorkbenchError as error:
            return Done("failed", str(error), build_s=time.monotonic() - start)
        learnt = Path(str(options.timing_cache))
        cache = learnt.read_bytes() if beside and learnt.exists() else None
    return Done("built", "it was not timed", engine, build_s=time.monotonic() - start, cache=cache)
