"""Run, time, profile and inspect a TensorRT engine on the GPU. Runs inside a child process.

Works on TensorRT 8.6 and newer and on TensorRT-RTX alike: only calls by tensor name, which all of them have.
"""

from __future__ import annotations

import importlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.clocks import Clocks
from workbench.backends.compiler import make_logger
from workbench.backends.cudart import Buffer, Cuda, Event, Graph, Stream, cuda
from workbench.backends.protocol import LayerTime, Timing, TimingOptions
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Context",
    "EngineFile",
    "Runner",
    "inputs_of_file",
    "inspect_file",
    "layer_times",
    "profile_file",
    "run_file",
    "time_file",
    "warm_up",
]

Array = np.ndarray[Any, np.dtype[Any]]


def run_file(
    module: str, path: str, feeds: Sequence[Mapping[str, Array]], profile_index: int = 0
) -> list[dict[str, Array]]:
    """Run an engine once for each of `feeds`; see `workbench.backends.tensorrt.backend.TensorRT.run_each`."""
    runner = Runner(module, path, profile_index)
    return [runner(feed) for feed in feeds]


class Runner:
    """An engine that is loaded and run as often as wanted, by one thread at a time.

    Parameters
    ----------
    module, path, profile_index
        Whose engine, where it lies, and the optimization profile to run in.
    contexts
        How many shapes are kept ready, with memory of their own, the latest used.
    """

    def __init__(self, module: str, path: str, profile_index: int = 0, *, contexts: int = 1) -> None:
        self._engine = EngineFile(module, path)
        self._profile = profile_index
        self._most = contexts
        self._contexts: dict[tuple[tuple[str, tuple[int, ...]], ...], Context] = {}

    def __call__(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run once: input name to array, output name to array."""
        context = self._context({name: array.shape for name, array in feed.items()})
        for name, array in feed.items():
            context.write(name, array)
        context.enqueue()
        context.stream.synchronize()
        return context.outputs()

    def _context(self, shapes: Mapping[str, tuple[int, ...]]) -> Context:
        # Sizes of memory follow from shapes: another shape takes another context.
        key = tuple(sorted(shapes.items()))
        context = self._contexts.pop(key, None)
        if context is None:
            while len(self._contexts) >= self._most:
                self._contexts.pop(next(iter(self._contexts))).close()
            context = Context(self._engine, shapes, self._profile)
        self._contexts[key] = context
        return context

    def close(self) -> None:
        """Give the memory back."""
        while self._contexts:
            self._contexts.popitem()[1].close()


def time_file(module: str, path: str, options: TimingOptions) -> Timing:
    """Time an engine; see `workbench.backends.tensorrt.backend.time_engine`."""
    engine = EngineFile(module, path)
    api = engine.api
    free = api.free_bytes()
    contexts = [Context(engine, options.shapes or {}, options.profile_index) for _ in range(options.streams)]
    taken = free - api.free_bytes()
    for context in contexts:
        context.fill()
        context.enqueue()
        context.stream.synchronize()
        if options.cuda_graph:
            context.capture()
    warmed_up = warm_up(contexts, options.warm_up_s)
    clocks = Clocks(api)
    device_ms, host_ms = _latencies(api, contexts[0], options.runs)
    clocks.read()
    span_s = _span(contexts, options.runs)
    clocks.read()
    device = api.device()
    return Timing.of(
        device_ms,
        span_s=span_s,
        warm_up_runs=warmed_up,
        conditions={
            "backend": module,
            "version": str(engine.trt.__version__),
            "device": device.name,
            "capability": device.target,
            "driver": device.driver,
            "shapes": {name: list(shape) for name, shape in contexts[0].shapes.items()},
            "profile_index": options.profile_index,
            "cuda_graph": options.cuda_graph,
            "streams": options.streams,
            "clock": "CUDA events around one inference at a time; throughput: all streams back to back, host clock",
            "data": "uniform random, without copies to and from the host",
            "host_median_ms": float(np.median(host_ms)),
            "engine_scratch_bytes": engine.scratch_bytes(),
            "context_device_bytes": int(taken),
            **clocks.conditions(),
        },
    )


def profile_file(module: str, path: str, options: TimingOptions) -> tuple[LayerTime, ...]:
    """Time each layer; see `workbench.backends.tensorrt.backend.profile_engine`."""
    engine = EngineFile(module, path)
    context = Context(engine, options.shapes or {}, options.profile_index)
    context.fill()
    warm_up([context], options.warm_up_s)
    return layer_times(context, options.runs)


def layer_times(context: Context, runs: int) -> tuple[LayerTime, ...]:
    """Run with TensorRT's profiler, which from then on stays with this context and slows it down."""
    times: dict[str, list[float]] = {}

    base: Any = context.engine.trt.IProfiler

    class Profiler(base):  # type: ignore[misc]  # the base is known only at run time
        def __init__(self) -> None:
            base.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times.setdefault(layer_name, []).append(ms)

    profiler = Profiler()
    context.context.profiler = profiler
    for _ in range(runs):
        context.enqueue()
        context.stream.synchronize()
    layers = []
    for name, samples in times.items():
        # A layer inside a loop is reported several times a run; what counts is its share of the run.
        each = np.array(samples)
        whole = len(each) % runs == 0
        one_run = each.reshape(runs, -1).sum(axis=1) if whole else each
        layers.append(LayerTime(name, float(np.median(one_run)), float(one_run.mean())))
    if not layers:
        raise BackendError("the profiler reported no layer", fix="Build with detailed profiling verbosity.")
    return tuple(layers)


def inspect_file(module: str, path: str, profile_index: int = 0) -> str:
    """Return the inspector's JSON; see `workbench.backends.tensorrt.backend.inspect_engine`."""
    return Context(EngineFile(module, path), {}, profile_index, allocate=False).inspect()


def inputs_of_file(module: str, path: str) -> list[dict[str, Any]]:
    """Return the inputs of an engine as a manifest has them."""
    import onnx

    engine = EngineFile(module, path)
    inputs = []
    for name in filter(engine.is_input, engine.names()):
        kind = onnx.TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(engine.dtype(name)))
        shape = [None if n < 0 else int(n) for n in engine.engine.get_tensor_shape(name)]
        inputs.append({"name": name, "dtype": kind, "shape": shape})
    return inputs


class EngineFile:
    """A stored engine, deserialized."""

    def __init__(self, module: str, path: str) -> None:
        self.api = cuda()
        self.api.device()
        self.trt: Any = importlib.import_module(module)
        self.logger, self.log = make_logger(self.trt)
        self.runtime = self.trt.Runtime(self.logger)
        # A version-compatible engine brings its own runtime code. Its manifest says that it was built here.
        self.runtime.engine_host_code_allowed = True
        self.engine = self.runtime.deserialize_cuda_engine(Path(path).read_bytes())
        if self.engine is None:
            reason = next((line.text for line in reversed(self.log) if "ERROR" in line.severity), None)
            raise BackendError(
                f"{module} {self.trt.__version__} refused the engine: {reason or 'it said nothing'}",
                fix="Build it on this machine, with this version.",
            )

    def names(self) -> list[str]:
        """Return the names of inputs and outputs."""
        return [str(self.engine.get_tensor_name(i)) for i in range(self.engine.num_io_tensors)]

    def is_input(self, name: str) -> bool:
        """Say whether a tensor is an input."""
        return bool(self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT)

    def on_host(self, name: str) -> bool:
        """Say whether a tensor lies in host memory, as shape tensors do."""
        return bool(self.engine.get_tensor_location(name) == self.trt.TensorLocation.HOST)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the NumPy type of an input or output."""
        kind = str(self.engine.get_tensor_dtype(name).name)
        plain = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "INT8": "i1", "UINT8": "u1", "BOOL": "?"}
        if kind in plain:
            return np.dtype(plain[kind])
        if kind in ("BF16", "FP8"):
            import ml_dtypes

            wide: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if kind == "BF16" else ml_dtypes.float8_e4m3fn)
            return wide
        raise BackendError(f"{kind} cannot be fed or read", where=name, fix="Put a Cast at the model's boundary.")

    def tuned_values(self, name: str, profile_index: int) -> list[int]:
        """Return the values of a shape tensor that a profile is tuned for."""
        if hasattr(self.engine, "get_tensor_profile_values"):
            return list(self.engine.get_tensor_profile_values(name, profile_index)[1])
        return list(self.engine.get_profile_shape_input(profile_index, name)[1])  # TensorRT 8.6

    def scratch_bytes(self) -> int:
        """Return the device memory that a context needs besides inputs and outputs."""
        size = getattr(self.engine, "device_memory_size_v2", None)
        return int(self.engine.device_memory_size if size is None else size)


class Context:
    """An execution context with its stream and, for every input and output, memory."""

    def __init__(
        self, engine: EngineFile, shapes: Mapping[str, tuple[int, ...]], profile_index: int, *, allocate: bool = True
    ) -> None:
        self.engine, self.api = engine, engine.api
        self.context = engine.engine.create_execution_context()
        if self.context is None:
            raise BackendError("no execution context: not enough device memory", fix="Free memory on the GPU.")
        self.stream = Stream(self.api)
        # TensorRT 8 gives profile 0 to an engine's first context only.
        if self.context.active_optimization_profile != profile_index:
            self._choose_profile(profile_index)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.buffers: dict[str, Buffer] = {}
        self.host: dict[str, Array] = {}
        self.graph: Graph | None = None
        self._set_shapes(shapes, profile_index)
        if allocate:
            self._allocate(profile_index)

    def _choose_profile(self, index: int) -> None:
        count = self.engine.engine.num_optimization_profiles
        if not 0 <= index < count:
            raise BackendError(f"there is no optimization profile {index}; the engine has {count}")
        if not self.context.set_optimization_profile_async(index, self.stream.handle):
            raise BackendError(f"optimization profile {index} was refused")
        self.stream.synchronize()

    def _set_shapes(self, shapes: Mapping[str, tuple[int, ...]], profile_index: int) -> None:
        inputs = [name for name in self.engine.names() if self.engine.is_input(name)]
        unknown = sorted(set(shapes) - set(inputs))
        if unknown:
            raise BackendError(f"{', '.join(unknown)} is no input", fix=f"The inputs are {', '.join(inputs)}.")
        for name in inputs:
            declared = tuple(self.engine.engine.get_tensor_shape(name))
            low, best, high = (declared,) * 3
            if any(n < 0 for n in declared):
                low, best, high = map(tuple, self.engine.engine.get_tensor_profile_shape(name, profile_index))
            shape = tuple(shapes.get(name, best))
            fits = len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
            if not fits:
                raise BackendError(
                    f"shape {shape} is outside optimization profile {profile_index}, {low} to {high}",
                    where=name,
                    fix="Use a shape inside it, another profile, or build for this shape.",
                )
            if any(n < 0 for n in declared) and not self.context.set_input_shape(name, shape):
                raise BackendError(f"shape {shape} was refused", where=name)
            self.shapes[name] = shape

    def _allocate(self, profile_index: int) -> None:
        # Shape tensors decide the outputs' shapes, so they need values, in host memory, before those are asked for.
        for name in self.engine.names():
            if self.engine.is_input(name) and self.engine.on_host(name):
                values = np.array(self.engine.tuned_values(name, profile_index), self.engine.dtype(name))
                values = values.reshape(self.shapes[name])
                self._place_on_host(name, values)
        for name in self.engine.names():
            if name in self.host:
                continue
            shape = tuple(self.context.get_tensor_shape(name))
            if any(n < 0 for n in shape):
                raise BackendError(
                    f"its shape {shape} depends on the data", where=name, fix="Cut the model before this output."
                )
            self.shapes[name] = shape
            if self.engine.on_host(name):
                self._place_on_host(name, np.zeros(shape, self.engine.dtype(name)))
                continue
            buffer = Buffer(self.api, math.prod(shape) * self.engine.dtype(name).itemsize)
            self.buffers[name] = buffer
            self.context.set_tensor_address(name, buffer.address)

    def _place_on_host(self, name: str, values: Array) -> None:
        self.host[name] = np.asarray(values, order="C")
        self.context.set_tensor_address(name, self.host[name].ctypes.data)

    def write(self, name: str, array: Array) -> None:
        """Copy an array into an input."""
        dtype = self.engine.dtype(name)
        if array.dtype == np.int64 and dtype == np.int32 and np.array_equal(array.astype(dtype), array):
            array = array.astype(dtype)  # TensorRT before 10 has no INT64 and makes such inputs INT32
        if array.dtype != dtype:
            raise BackendError(f"the feed is {array.dtype}; the engine takes {dtype}", where=name)
        if name in self.host:
            self.host[name][...] = array
        else:
            self.buffers[name].write(np.asarray(array, order="C"))

    def fill(self) -> None:
        """Fill the inputs with seeded random numbers: 0 to 1, or 0 and 1 for integers, which are often indices."""
        generator = np.random.default_rng(0)
        for name in self.buffers:
            if self.engine.is_input(name):
                dtype, shape = self.engine.dtype(name), self.shapes[name]
                integer = np.issubdtype(dtype, np.integer) or dtype == np.bool_
                numbers = generator.integers(0, 2, shape) if integer else generator.random(shape, np.float32)
                self.write(name, np.asarray(numbers).astype(dtype))

    def outputs(self) -> dict[str, Array]:
        """Copy the outputs to the host."""
        results = {}
        for name in self.engine.names():
            if not self.engine.is_input(name):
                array = (
                    self.host[name].copy()
                    if name in self.host
                    else np.empty(self.shapes[name], self.engine.dtype(name))
                )
                if name in self.buffers:
                    self.buffers[name].read(array)
                results[name] = array
        return results

    def inspect(self) -> str:
        """Return the inspector's JSON, with the shapes of this context."""
        inspector = self.engine.engine.create_engine_inspector()
        inspector.execution_context = self.context
        return str(inspector.get_engine_information(self.engine.trt.LayerInformationFormat.JSON))

    def capture(self) -> None:
        """Record one inference as a CUDA graph, which `enqueue` then replays."""
        graph = Graph(self.api, self.stream)
        graph.begin()
        self.enqueue()
        graph.end()
        self.graph = graph

    def close(self) -> None:
        """Give the memory back; nothing runs here after."""
        self.stream.synchronize()
        self.graph = self.context = None
        for buffer in self.buffers.values():
            buffer.close()

    def enqueue(self) -> None:
        """Start one inference on this context's stream."""
        if self.graph is not None:
            self.graph.launch()
        elif not self.context.execute_async_v3(self.stream.handle):
            raise BackendError("the inference could not be enqueued", where=str(self.engine.log[-1]))


def warm_up(contexts: list[Context], seconds: float) -> int:
    """Run for some seconds, once at least; return the number of inferences."""
    runs, end = 0, time.perf_counter() + seconds
    while runs == 0 or time.perf_counter() < end:
        for context in contexts:
            context.enqueue()
        for context in contexts:
            context.stream.synchronize()
        runs += len(contexts)
    return runs


def _latencies(api: Cuda, context: Context, runs: int) -> tuple[Array, Array]:
    """Return milliseconds of each run by CUDA events, and by the host's clock including the wait."""
    start, end = Event(api), Event(api)
    device, host = np.empty(runs), np.empty(runs)
    for i in range(runs):
        before = time.perf_counter()
        start.record(context.stream)
        context.enqueue()
        end.record(context.stream)
        context.stream.synchronize()
        host[i] = (time.perf_counter() - before) * 1e3
        device[i] = end.since(start)
    return device, host


def _span(contexts: list[Context], runs: int) -> float:
    """Return the wall seconds of `runs` inferences, spread over all streams and never waiting in between."""
    before = time.perf_counter()
    for i in range(runs):
        contexts[i % len(contexts)].enqueue()
    for context in contexts:
        context.stream.synchronize()
    return time.perf_counter() - before
