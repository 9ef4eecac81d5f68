"""TensorRT on a GPU: build, run, time, profile and inspect engines, each in a child process.

One class serves both packages: ``tensorrt`` (8.6 is built weakly typed with the flags that follow from the graph, newer
ones strongly typed) and ``tensorrt_rtx`` (on an RTX GPU). TensorRT 8.6.0 is what it was run on; of 10.x and 11.x the
workbench has only run the API they share with TensorRT-RTX 1.7.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from workbench.backends.compiler import (
    compile_for,
    compile_in_child,
    rtx_capabilities,
    with_workspace,
    write_for_parser,
)
from workbench.backends.needs import Runtime, check_fits, installed
from workbench.backends.protocol import BuildOptions, Capabilities, Engine, Timing, TimingOptions
from workbench.backends.turns import LOADINGS
from workbench.child import Child, run
from workbench.errors import BackendError
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np

    from workbench.backends.compiler import Compilation
    from workbench.backends.cudart import CudaDevice
    from workbench.backends.protocol import Measured, Run
    from workbench.backends.verdict import Verdict
    from workbench.child import Outcome
    from workbench.engine import LayerTime
    from workbench.graph import Model

__all__ = ["BuildError", "TensorRT", "backend_for"]

Package = Literal["tensorrt", "tensorrt_rtx"]
INSTALL: dict[Package, str] = {
    "tensorrt": 'pip install "trt-workbench[tensorrt]"',
    "tensorrt_rtx": 'pip install "trt-workbench[rtx]"',
}
BUILD_LIMITS = Child(timeout_s=3600.0)
RUN_LIMITS = Child(timeout_s=600.0)
FIRST_STRONG = 9


class BuildError(BackendError):
    """A build that failed; `verdict` says node by node what happened to the model, `log` is all the library printed."""

    def __init__(self, what: str, *, verdict: Verdict, where: object = None, fix: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix)
        self.verdict = verdict
        self.log = verdict.log


class TensorRT:
    """The backend for one of the two packages; follows `workbench.backends.protocol.Backend`.

    Parameters
    ----------
    package
        Whose engines.
    lean
        Run them on the lean runtime, which is smaller, builds nothing, and takes version-compatible engines only.
    """

    def __init__(self, package: Package = "tensorrt", *, lean: bool = False) -> None:
        self.name: Package = package
        self.lean = lean

    def runtime(self) -> Runtime:
        """Return what loads engines here; nothing is loaded yet.

        Raises
        ------
        BackendError
            It is not installed.
        """
        kind = "lean" if self.lean else "rtx" if self.name == "tensorrt_rtx" else "full"
        runtime = next((one for one in installed() if one.kind == kind), None)
        if runtime is None:
            how = 'pip install "trt-workbench[lean]"' if self.lean else INSTALL[self.name]
            missing = "the lean runtime of TensorRT" if self.lean else f"the package {self.name}"
            raise BackendError(f"{missing} is missing", fix=how)
        if not runtime.version:  # copied, not installed: only the library itself knows
            version = run(RUN_LIMITS, f"importing {runtime.module}", _imported_version, runtime.module).value
            runtime = replace(runtime, version=version)
        return runtime

    def capabilities(self) -> Capabilities:
        """Say whether the package and a GPU are here, and what is missing."""
        if self.name == "tensorrt_rtx":
            return rtx_capabilities()
        try:
            version = self.runtime().version
        except BackendError as error:
            return Capabilities(self.name, None, build=False, run=False, reason=f"{error.what}: {error.fix}")
        major = version.partition(".")[0]
        typing: Literal["strong", "weak"] = "weak" if major.isdigit() and int(major) < FIRST_STRONG else "strong"
        try:
            device = _device()
        except BackendError as error:
            return Capabilities(self.name, version, build=False, run=False, typing=typing, reason=str(error))
        reason = "the lean runtime builds nothing" if self.lean else None
        return Capabilities(
            self.name,
            version,
            build=not self.lean,
            run=True,
            targets=(device.target,),
            typing=typing,
            reason=reason,
            device=device.text,
        )

    def build(
        self,
        model: Model,
        options: BuildOptions | None = None,
        *,
        child: Child = BUILD_LIMITS,
        target: str | None = None,
    ) -> Engine:
        """Compile a model for the GPU of this machine, in a child process.

        Parameters
        ----------
        model, options
            What is built, and how.
        child
            Limits and callbacks of the child process.
        target
            For ``tensorrt_rtx``: the GPU to build for, as ``sm86``, on any machine.

        Raises
        ------
        BuildError
            Parser or builder refused it; the message names the node and what helps.
        BackendError
            The package or the GPU is missing, or an option does not exist in this version; ChildError where the native
            code crashed, met a limit or was cancelled.
        """
        from workbench.backends.manifest import make_manifest

        options = with_workspace(options or BuildOptions(), model)
        if target is not None and self.name != "tensorrt_rtx":
            raise BackendError(f"{self.name} builds for the GPU of its machine", fix="Leave the target out.")
        device = self._ready() if target is None else None
        if target is None:
            what = f"the {self.name} build of {model.name}"
            outcome = compile_in_child(self.name, model, options, child=child, what=what)
        else:
            outcome = compile_for(model, target, options, child=child, keep_engine=True)
        compilation = outcome.value
        if compilation.engine is None:
            raise _refusal(self.name, model, device.target if device else str(target), outcome)
        return Engine(
            self.name, compilation.engine, make_manifest(self.name, model, compilation, options, device, target)
        )

    def load(self, data: bytes, manifest: Mapping[str, Any]) -> Engine:
        """Take a stored engine; BackendError where it was made for another version, GPU or system."""
        # What the manifest alone tells comes first: it is the same wherever it is read.
        check_fits(manifest, runtime=self.runtime())
        check_fits(manifest, runtime=self.runtime(), device=_device())
        return Engine(self.name, data, manifest)

    def refit(self, engine: Engine, model: Model, *, child: Child = RUN_LIMITS) -> Engine:
        """Put a model's weights into an engine, in a child process; what comes back holds them and takes no others.

        Raises
        ------
        BackendError
            The engine does not fit here, does not take these weights, or this version cannot put them in.
        """
        from workbench.backends.tensorrt.refitting import check_weights, refit_file, refitted_manifest

        check_weights(engine.manifest, model)
        whole = {**engine.manifest, "options": {**(engine.manifest.get("options") or {}), "strip": False}}
        with self._stored(replace(engine, manifest=whole)) as path, scratch_folder() as folder:
            file = write_for_parser(model, folder)
            data = run(child, f"refitting {_title(engine)}", refit_file, self.runtime().module, path, file).value
        return Engine(self.name, data, refitted_manifest(engine.manifest, data, model))

    def run(self, engine: Engine, feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run an engine once, in a child process.

        Parameters
        ----------
        feeds
            Input name to array, of the dtype the engine takes and a shape inside its first optimization profile.

        Returns
        -------
        dict
            Output name to array.
        """
        return self.run_each(engine, [feeds])[0]

    def run_each(
        self, engine: Engine, feeds: Sequence[Mapping[str, np.ndarray[Any, Any]]], *, child: Child = RUN_LIMITS
    ) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Run an engine once for each of `feeds`, in one child process that loads it once; see `run`."""
        from workbench.backends.tensorrt.execution import run_file

        with self._stored(engine) as path:
            inputs = [dict(feed) for feed in feeds]
            return run(child, f"running {_title(engine)}", run_file, self.runtime().module, path, inputs).value

    @contextmanager
    def opened(self, engine: Engine) -> Iterator[Run]:
        """Keep an engine loaded in this process, with memory for the four shapes that came last."""
        from workbench.backends.tensorrt.execution import EngineRunner

        with self._stored(engine) as path:
            runner = EngineRunner(self.runtime().module, path, contexts=4)
        try:
            yield runner
        finally:
            runner.close()

    def time(self, engine: Engine, options: TimingOptions | None = None, *, child: Child = RUN_LIMITS) -> Timing:
        """Measure latency with CUDA events and throughput over all streams, in a child process.

        Latency is of one inference at a time, from its first kernel's launch to its last kernel's end, without copies
        to and from the host; the inputs are random numbers on the device.
        """
        from workbench.backends.tensorrt.execution import time_file

        with self._stored(engine) as path:
            chosen = options or TimingOptions()
            return run(child, f"timing {_title(engine)}", time_file, self.runtime().module, path, chosen).value

    def profile(
        self, engine: Engine, options: TimingOptions | None = None, *, child: Child = RUN_LIMITS
    ) -> tuple[LayerTime, ...]:
        """Measure each layer with TensorRT's profiler, in a child process; their sum exceeds the whole's latency."""
        from workbench.backends.tensorrt.execution import profile_file

        with self._stored(engine) as path:
            chosen = options or TimingOptions(runs=30)
            return run(child, f"profiling {_title(engine)}", profile_file, self.runtime().module, path, chosen).value

    def measure(
        self,
        engines: Mapping[str, Engine],
        options: TimingOptions,
        *,
        loadings: int = LOADINGS,
        kept: Collection[str] | None = None,
        child: Child = RUN_LIMITS,
    ) -> dict[str, Measured]:
        """Time engines in turns, then profile and inspect each, in one child process; see `measure_files`."""
        from workbench.backends.tensorrt.interleaved import measure_files

        with ExitStack() as stack:
            paths = {name: stack.enter_context(self._stored(engine)) for name, engine in engines.items()}
            what = f"measuring {' beside '.join(engines)}"
            racing = None if kept is None else tuple(kept)
            module = self.runtime().module
            return run(child, what, measure_files, module, paths, options, loadings=loadings, kept=racing).value

    def inspect(self, engine: Engine, *, profile_index: int = 0, child: Child = RUN_LIMITS) -> str:
        """Return the engine inspector's JSON text, as `workbench.engine` reads it."""
        from workbench.backends.tensorrt.execution import inspect_file

        with self._stored(engine) as path:
            return run(
                child, f"inspecting {_title(engine)}", inspect_file, self.runtime().module, path, profile_index
            ).value

    def inputs(self, engine: Engine) -> list[dict[str, Any]]:
        """Return the inputs of an engine as its manifest has them; one without a manifest is asked itself."""
        from workbench.backends.tensorrt.execution import inputs_of_file

        if "inputs" in engine.manifest:
            return list(engine.manifest["inputs"])
        with self._stored(engine) as path:
            what = f"reading {_title(engine)}"
            refitted = bool(engine.manifest.get("refitted"))
            return run(RUN_LIMITS, what, inputs_of_file, self.runtime().module, path, refitted=refitted).value

    def _ready(self) -> CudaDevice:
        able = self.capabilities()
        if not (able.build and able.run):
            raise BackendError(f"{self.name} cannot be used here: {able.reason}")
        return _device()

    @contextmanager
    def _stored(self, engine: Engine) -> Iterator[str]:
        """Check that an engine fits, and put it where the child can read it."""
        self.load(engine.data, engine.manifest)
        with scratch_folder() as folder:
            path = folder / "engine.plan"
            path.write_bytes(engine.data)
            yield str(path)


def backend_for(name: Package) -> TensorRT:
    """Return the backend for one of the two packages."""
    return TensorRT(name)


def _refusal(package: str, model: Model, target: str, outcome: Outcome[Compilation]) -> BuildError:
    from workbench.backends.verdict import judge

    verdict = judge(model, target, outcome, compiler=f"{package} {outcome.value.version}")
    first = next(iter(verdict.refused), None)
    if first is not None:
        fix = None if first.fix is None else first.fix.text
        what = f"{package} refused the {first.op}: {first.reason}"
        return BuildError(what, verdict=verdict, where=first.node, fix=fix)
    problem = verdict.problems[0]
    fix = None if problem.fix is None else problem.fix.text
    return BuildError(problem.reason, verdict=verdict, where=model.name, fix=fix)


def _title(engine: Engine) -> str:
    return f"the engine of {engine.manifest.get('model', 'an unknown model')}"


def _imported_version(package: str) -> str:
    return str(importlib.import_module(package).__version__)


def _device() -> CudaDevice:
    from workbench.backends.cudart import first_device

    return first_device()
