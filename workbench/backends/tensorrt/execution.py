"""Run, time, profile and inspect a TensorRT engine on the GPU. Runs inside a child process.

Works on TensorRT 8.6 and newer and on TensorRT-RTX alike: only calls by tensor name, which all of them have.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.clocks import Clocks
from workbench.backends.cudart import Cuda, Event
from workbench.backends.protocol import Timing, TimingOptions
from workbench.backends.tensorrt.context import Array, Context, EngineFile, warm_up
from workbench.engine import LayerTime
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "EngineRunner",
    "inputs_of_file",
    "inspect_file",
    "layer_times",
    "profile_file",
    "run_file",
    "time_file",
]


def run_file(
    module: str, path: str, feeds: Sequence[Mapping[str, Array]], profile_index: int = 0
) -> list[dict[str, Array]]:
    """Run an engine once for each of `feeds`; see `workbench.backends.tensorrt.backend.TensorRT.run_each`."""
    runner = EngineRunner(module, path, profile_index)
    return [runner(feed) for feed in feeds]


class EngineRunner:
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
    """Time an engine; see `TensorRT.time`."""
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
    """Time each layer; see `TensorRT.profile`."""
    engine = EngineFile(module, path)
    context = Context(engine, options.shapes or {}, options.profile_index)
    context.fill()
    warm_up([context], options.warm_up_s)
    layers = layer_times(context, options.runs)
    if not layers:
        streams = engine.aux_streams
        raise BackendError(
            "the profiler reported no layer"
            + (f": the engine runs on {1 + streams} streams at once" if streams else ""),
            fix="Build it without auxiliary streams (aux_streams=0)."
            if streams
            else "Build with detailed profiling verbosity.",
        )
    return layers


def layer_times(context: Context, runs: int) -> tuple[LayerTime, ...]:
    """Run with TensorRT's profiler, which from then on stays with this context and slows it down.

    TensorRT 8.6 reports no layer of an engine that uses auxiliary streams.
    """
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
        layers.append(LayerTime(name, float(one_run.mean()), float(np.median(one_run))))
    return tuple(layers)


def inspect_file(module: str, path: str, profile_index: int = 0) -> str:
    """Return the inspector's JSON; see `TensorRT.inspect`."""
    return Context(EngineFile(module, path), {}, profile_index, allocate=False).inspect()


def inputs_of_file(module: str, path: str, *, refitted: bool = False) -> list[dict[str, Any]]:
    """Return the inputs of an engine as a manifest has them; it has none, so nothing else tells of missing weights."""
    import onnx

    engine = EngineFile(module, path)
    if not refitted and engine.lacks_weights():
        raise BackendError(
            "the engine was written without its weights",
            fix="Give the ONNX file that it was built from: workbench run --weights FILE.",
        )
    inputs = []
    for name in filter(engine.is_input, engine.names()):
        kind = onnx.TensorProto.DataType.Name(onnx.helper.np_dtype_to_tensor_dtype(engine.dtype(name)))
        shape = [None if n < 0 else int(n) for n in engine.engine.get_tensor_shape(name)]
        inputs.append({"name": name, "dtype": kind, "shape": shape})
    return inputs


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
