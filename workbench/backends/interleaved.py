"""Time several engines of one GPU side by side, then profile and inspect each. Runs inside a child process.

A GPU's clock and temperature drift over minutes, so times of engines that were measured one after the other cannot be
compared to a percent. Here the engines take turns, a few runs each, in an order that rotates: whatever drifts, drifts
for all of them, and the ratios hold.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.backends.cudart import Event
from workbench.backends.execution import Context, EngineFile, layer_times, warm_up
from workbench.backends.protocol import LayerTime, Timing
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends.protocol import TimingOptions

__all__ = ["Measured", "measure_files"]

ROUNDS = 20
PROFILED_RUNS = 50
CLOCK = "CUDA events around one inference at a time; engines take turns, {rounds} rounds of {each} runs each"


@dataclass(frozen=True)
class Measured:
    """What was measured of one engine, or why it was not.

    Attributes
    ----------
    timing
        Latency and the conditions it was measured under.
    latencies_ms
        Every measured run, in order.
    layers
        Time of each layer, from profiled runs after the timed ones.
    inspector
        The inspector's JSON.
    error
        Why there is nothing, where there is nothing.
    """

    timing: Timing | None = None
    latencies_ms: tuple[float, ...] = ()
    layers: tuple[LayerTime, ...] = ()
    inspector: str | None = None
    error: str | None = None


def measure_files(
    package: Literal["tensorrt", "tensorrt_rtx"], paths: Mapping[str, str], options: TimingOptions
) -> dict[str, Measured]:
    """Measure engines against each other.

    Parameters
    ----------
    package
        The package that built them.
    paths
        A name to the file of its engine.
    options
        Runs, warm-up and shapes, for each engine; one stream.

    Returns
    -------
    dict
        Name to what was measured. An engine that fails does not keep the others from being measured.
    """
    if options.streams != 1:
        raise BackendError(f"{options.streams} streams", fix="Engines are timed side by side with one stream each.")
    contexts: dict[str, Context] = {}
    results: dict[str, Measured] = {}
    for name, path in paths.items():
        try:
            contexts[name] = _ready(package, path, options)
        except BackendError as error:  # noqa: PERF203 - one engine that fails must not stop the others
            results[name] = Measured(error=str(error))
    rounds = min(ROUNDS, options.runs)
    each = -(-options.runs // rounds)
    latencies: dict[str, list[float]] = {name: [] for name in contexts}
    spans = dict.fromkeys(contexts, 0.0)
    order = list(contexts)
    for _ in range(rounds):
        for name in order:
            seconds = _take_turn(contexts[name], each, latencies[name])
            spans[name] += seconds
        order = order[1:] + order[:1]
    for name, context in contexts.items():
        conditions = _conditions(package, context, options) | {
            "clock": CLOCK.format(rounds=rounds, each=each),
            "beside": [other for other in contexts if other != name],
        }
        timing = Timing.of(np.array(latencies[name]), span_s=spans[name], warm_up_runs=rounds, conditions=conditions)
        # The profiler slows a context down for good, so it comes last.
        context.graph = None
        layers = layer_times(context, PROFILED_RUNS)
        results[name] = Measured(timing, tuple(latencies[name]), layers, context.inspect())
    return {name: results[name] for name in paths}


def _ready(package: Literal["tensorrt", "tensorrt_rtx"], path: str, options: TimingOptions) -> Context:
    context = Context(EngineFile(package, path), options.shapes or {}, options.profile_index)
    context.fill()
    warm_up([context], options.warm_up_s)
    if options.cuda_graph:
        context.capture()
    return context


def _take_turn(context: Context, runs: int, latencies: list[float]) -> float:
    """Measure some runs behind one that is not, and return the seconds they took back to back."""
    start, end = Event(context.engine.api), Event(context.engine.api)
    context.enqueue()
    context.stream.synchronize()
    for _ in range(runs):
        start.record(context.stream)
        context.enqueue()
        end.record(context.stream)
        context.stream.synchronize()
        latencies.append(end.since(start))
    before = time.perf_counter()
    for _ in range(runs):
        context.enqueue()
    context.stream.synchronize()
    return time.perf_counter() - before


def _conditions(package: str, context: Context, options: TimingOptions) -> dict[str, Any]:
    device = context.engine.api.device()
    return {
        "backend": package,
        "version": str(context.engine.trt.__version__),
        "device": device.name,
        "capability": device.target,
        "driver": device.driver,
        "shapes": {name: list(shape) for name, shape in context.shapes.items()},
        "profile_index": options.profile_index,
        "cuda_graph": options.cuda_graph,
        "streams": 1,
        "data": "uniform random, without copies to and from the host",
        "profiled_runs": PROFILED_RUNS,
        "engine_scratch_bytes": context.engine.scratch_bytes(),
    }
