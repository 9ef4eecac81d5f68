"""ONNX Runtime as a compiler: the graph that it really runs, what its kernels are made of, and how long each takes.

What ONNX Runtime makes of a model depends on the processor (blocked channels, integer kernels), and so do its times:
they say nothing about a GPU's. The report has the form of TensorRT's inspector, so that everything in
`workbench.engine` works on any laptop.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.manifest import FORMAT, tensors_of
from workbench.backends.needs import this_platform
from workbench.backends.onnxruntime.inputs import conditions_of, feeds_of, graph_inputs, input_shapes, parse, warm_up
from workbench.backends.onnxruntime.interleaved import InMemory
from workbench.backends.onnxruntime.layers import layers_of
from workbench.backends.onnxruntime.map import name_nodes, source_nodes
from workbench.backends.protocol import BuildOptions, Capabilities, Engine, Timing, TimingOptions
from workbench.backends.turns import LOADINGS, Schedule, take_turns
from workbench.child import Child, progress, run
from workbench.engine import LayerTime
from workbench.errors import BackendError
from workbench.runtime import disabled_optimizers, first_line, in_one_array, usable_cores
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from workbench.backends.protocol import Measured, Run
    from workbench.graph import Model

__all__ = ["OnnxRuntime", "backend_for"]

Array = np.ndarray[Any, np.dtype[Any]]
Events = dict[str, list[dict[str, Any]]]

BUILD_LIMITS = Child(timeout_s=600.0)
ALLOWED = ("profiles", "tf32")


def backend_for(_name: str) -> OnnxRuntime:
    """Return the backend."""
    return OnnxRuntime()


class OnnxRuntime:
    """The backend that runs everywhere; follows `workbench.backends.protocol.Backend`."""

    name = "onnxruntime"

    def capabilities(self) -> Capabilities:
        """Say which version is here, and on which processor it runs."""
        import onnxruntime

        return Capabilities(self.name, onnxruntime.__version__, build=True, run=True, targets=(_processor(),))

    def build(self, model: Model, options: BuildOptions | None = None, *, child: Child = BUILD_LIMITS) -> Engine:
        """Let ONNX Runtime optimize a model for this processor, in a child process.

        Parameters
        ----------
        model
            The model.
        options
            Of these only `profiles` means something here: the first one's optimum is the shape that timing takes.
        child
            Limits and callbacks of the child process.

        Returns
        -------
        Engine
            The optimized graph, as an ONNX file that only this version on this processor may run.

        Raises
        ------
        BackendError
            ONNX Runtime refuses the model, or an option means nothing to it; ChildError where its native code crashed.
        """
        options = options or BuildOptions()
        for one in fields(options):
            if one.name not in ALLOWED and getattr(options, one.name) != one.default:
                raise BackendError(f"ONNX Runtime has no {one.name}", fix="Leave the option out.")
        disabled = disabled_optimizers(model)
        what = f"ONNX Runtime's optimization of {model.name}"
        data, version, seconds = run(child, what, _optimize, model.to_bytes(), disabled, model.name).value
        optimized = parse(data)
        name_nodes(optimized)
        data = optimized.SerializeToString(deterministic=True)
        manifest = {
            "format": FORMAT,
            "backend": self.name,
            "version": version,
            "engine_sha256": hashlib.sha256(data).hexdigest(),
            "engine_bytes": len(data),
            "model": model.name,
            "model_sha256": model.digest,
            "options": json.loads(json.dumps(asdict(options))),
            "shapes": input_shapes(optimized, options),
            "inputs": tensors_of(model.inputs),
            "outputs": tensors_of(model.outputs),
            "device": {"name": _processor(), "threads": usable_cores()},
            "platform": this_platform(),
            "build_s": seconds,
            "sources": source_nodes(optimized, model),
        }
        return Engine(self.name, data, json.loads(json.dumps(manifest)))

    def load(self, data: bytes, manifest: Mapping[str, Any]) -> Engine:
        """Take a stored engine.

        Raises
        ------
        BackendError
            It was made by another version or for another processor: its kernels' layouts are theirs alone.
        """
        import onnxruntime

        if manifest.get("trusted"):
            return Engine(self.name, data, manifest)
        here = (onnxruntime.__version__, _processor(), this_platform())
        device = manifest.get("device") or {}
        there = (manifest.get("version"), device.get("name"), manifest.get("platform"))
        for mine, its in zip(here, there, strict=True):
            if mine != its:
                raise BackendError(
                    f"made for {its}; this is {mine}",
                    where=f"engine of {manifest.get('model')}",
                    fix="Build it again here.",
                )
        return Engine(self.name, data, manifest)

    def refit(self, engine: Engine, model: Model) -> Engine:
        """Refuse: its engines hold their weights.

        Raises
        ------
        BackendError
            Always.
        """
        del model
        raise BackendError(
            "an engine of ONNX Runtime holds its weights, and takes no others",
            where=f"engine of {engine.manifest.get('model')}",
            fix="Leave the weights out, or build an engine of the other model.",
        )

    def run(self, engine: Engine, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once: input name to array, output name to array."""
        return self.run_each(engine, [feeds])[0]

    def run_each(self, engine: Engine, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """Run once for each of `feeds`."""
        with self.opened(engine) as run_once:
            return [run_once(feed) for feed in feeds]

    @contextmanager
    def opened(self, engine: Engine) -> Iterator[Run]:
        """Keep an engine loaded; its threads leave the processor to others between two runs."""
        session = self._session(engine, spinning=False)
        names = [output.name for output in session.get_outputs()]

        def run_once(feeds: Mapping[str, Array]) -> dict[str, Array]:
            try:
                return dict(zip(names, map(in_one_array, session.run(names, dict(feeds))), strict=True))
            except Exception as error:
                raise BackendError(f"ONNX Runtime fails: {first_line(error)}", fix="Check the feeds.") from error

        yield run_once

    def inputs(self, engine: Engine) -> list[dict[str, Any]]:
        """Return the inputs of an engine as its manifest has them; without a manifest its graph is read."""
        import onnx

        if "inputs" in engine.manifest:
            return list(engine.manifest["inputs"])
        return [
            {
                "name": value.name,
                "dtype": onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type),
                "shape": [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim],
            }
            for value in graph_inputs(parse(engine.data))
        ]

    def time(self, engine: Engine, options: TimingOptions | None = None) -> Timing:
        """Measure latency on this processor with the host's clock; the inputs are random numbers."""
        options = self._checked(options)
        session, feeds = self._session(engine), feeds_of(engine, options)
        warmed_up = warm_up(session, feeds, options.warm_up_s)
        latencies = np.empty(options.runs)
        start = time.perf_counter()
        for i in range(options.runs):
            before = time.perf_counter()
            session.run(None, feeds)
            latencies[i] = (time.perf_counter() - before) * 1e3
        conditions = conditions_of(engine, feeds)
        return Timing.of(latencies, span_s=time.perf_counter() - start, warm_up_runs=warmed_up, conditions=conditions)

    def profile(self, engine: Engine, options: TimingOptions | None = None) -> tuple[LayerTime, ...]:
        """Measure each kernel with ONNX Runtime's profiler, whose clock ticks in microseconds."""
        options = self._checked(options or TimingOptions(runs=30))
        times = []
        for name, events in self._events(engine, options).items():
            each = np.array([event["dur"] for event in events], np.float64) / 1e3
            times.append(LayerTime(name, float(each.mean()), float(np.median(each))))
        return tuple(times)

    def measure(
        self,
        engines: Mapping[str, Engine],
        options: TimingOptions | None = None,
        *,
        loadings: int = LOADINGS,
        kept: Collection[str] | None = None,
    ) -> dict[str, Measured]:
        """Time engines in turns, then profile and inspect each; see `workbench.backends.turns.take_turns`."""
        checked = self._checked(options)

        def load(name: str, loading: int, schedule: Schedule) -> InMemory:
            return InMemory(
                self,
                self._session(engines[name]),
                engines[name],
                checked,
                checked.warm_up_s / (schedule.loadings if loading else 1),
            )

        return take_turns(list(engines), load, Schedule.of(checked.runs, loadings), kept=kept)

    def inspect(self, engine: Engine) -> str:
        """Return the optimized graph in the form of TensorRT's inspector; shapes are those of one inference."""
        shown = self._events(engine, TimingOptions(warm_up_s=0.0, runs=1))
        shapes = {name: events[-1]["args"].get("output_type_shape", []) for name, events in shown.items()}
        proto = parse(engine.data)
        feeds = feeds_of(engine, TimingOptions())
        report = {
            "Runtime": f"ONNX Runtime {engine.manifest['version']}, optimized graph on a processor",
            "Layers": layers_of(proto, shapes, feeds, engine.manifest["sources"]),
            "Bindings": [value.name for value in (*graph_inputs(proto), *proto.graph.output)],
        }
        return json.dumps(report, indent=1)

    def _checked(self, options: TimingOptions | None) -> TimingOptions:
        options = options or TimingOptions()
        if options.streams != 1 or options.cuda_graph or options.profile_index:
            raise BackendError(
                "ONNX Runtime has one stream, no CUDA graphs and no optimization profiles", fix="Leave them out."
            )
        return options

    def _session(self, engine: Engine, profile: Path | None = None, *, spinning: bool = True) -> Any:
        import onnxruntime

        self.load(engine.data, engine.manifest)
        settings = _settings()
        if not spinning:
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It is optimized already: what runs is what was inspected.
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile is not None:
            settings.enable_profiling, settings.profile_file_prefix = True, str(profile)
        try:
            return onnxruntime.InferenceSession(engine.data, settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime refuses the engine: {first_line(error)}", where=str(engine.manifest.get("model"))
            ) from error

    def _events(self, engine: Engine, options: TimingOptions) -> Events:
        """Return the kernel events of the measured runs, layer by layer; kernels inside of loops are in the loop's."""
        layers = {node.name for node in parse(engine.data).graph.node}
        with scratch_folder() as folder:
            session, feeds = self._session(engine, folder / "profile"), feeds_of(engine, options)
            warmed_up = warm_up(session, feeds, options.warm_up_s)
            for _ in range(options.runs):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text())
        grouped: Events = defaultdict(list)
        for event in events:
            name = str(event.get("name", "")).removesuffix("_kernel_time")
            if event.get("cat") == "Node" and name in layers and name != event["name"]:
                grouped[name].append(event)
        return {name: listed[warmed_up:] for name, listed in grouped.items()}


def _optimize(model: bytes, disabled: list[str], name: str) -> tuple[bytes, str, float]:
    """Return the optimized graph, the version that made it and the seconds it took. Runs inside a child process."""
    import onnxruntime

    progress("optimizing", 0.0)
    with scratch_folder() as folder:
        path = folder / "optimized.onnx"
        settings = _settings()
        settings.optimized_model_filepath = str(path)
        start = time.perf_counter()
        try:
            onnxruntime.InferenceSession(
                model, settings, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime refuses it: {first_line(error)}",
                where=name,
                fix="Repair or replace the named node; an operator of a custom domain needs its own library.",
            ) from error
        seconds = time.perf_counter() - start
        progress("optimizing", 1.0)
        return path.read_bytes(), str(onnxruntime.__version__), seconds


def _settings() -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what fails is raised
    settings.intra_op_num_threads = usable_cores()
    return settings


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
