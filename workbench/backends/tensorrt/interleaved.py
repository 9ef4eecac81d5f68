"""Time several engines of one GPU side by side, then profile and inspect each. Runs inside a child process.

A GPU's clock and temperature drift over minutes, so times of engines that were measured one after the other cannot be
compared to a percent. Here the engines take turns, a few runs each, in an order that rotates: whatever drifts, drifts
for all of them.

Where an engine's weights and activations come to lie in device memory makes a percent more, and stays as it is for as
long as the engine is loaded: one ResNet-50 file, loaded three times beside itself on an H200, took 0.800, 0.808 and
0.808 ms, and between 0.793 and 0.829 ms over thirty loads. So all engines are loaded anew several times, each time in
another order and behind a block of another size. The medians of those three then were 0.803, 0.805 and 0.805 ms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from workbench.backends.clocks import Clocks
from workbench.backends.cudart import Buffer, Event, cuda
from workbench.backends.protocol import LayerTime, Timing
from workbench.backends.tensorrt.execution import Context, EngineFile, layer_times, warm_up
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends.protocol import TimingOptions

__all__ = ["Measured", "measure_files", "median_error_ms"]

PLACEMENTS = 10
ROUNDS = 2
SPACER_BYTES = 14 << 20
PROFILED_RUNS = 50


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
        Runs, warm-up and shapes, for each engine; one stream. The warm-up is for the first loading; the others have a
        share of it.

    Returns
    -------
    dict
        Name to what was measured. An engine that fails does not keep the others from being measured.
    """
    if options.streams != 1:
        raise BackendError(f"{options.streams} streams", fix="Engines are timed side by side with one stream each.")
    comparison = _Comparison(package, dict(paths), options, _Schedule.of(options.runs))
    for placement in range(comparison.schedule.placements):
        spacer = Buffer(cuda(), placement * SPACER_BYTES)
        comparison.measure(placement)
        spacer.close()
    return {name: comparison.results[name] for name in paths}


@dataclass(frozen=True)
class _Schedule:
    """How often engines are loaded, take turns after each loading, and run in a turn."""

    placements: int
    rounds: int
    each: int

    @classmethod
    def of(cls, runs: int) -> _Schedule:
        """Spread at least this many runs of an engine."""
        placements = min(PLACEMENTS, runs)
        rounds = min(ROUNDS, -(-runs // placements))
        return cls(placements, rounds, -(-runs // (placements * rounds)))

    def __str__(self) -> str:
        return (
            "CUDA events around one inference at a time; engines take turns, "
            f"{self.rounds} rounds of {self.each} runs each, and are loaded anew {self.placements} times"
        )


@dataclass
class _Comparison:
    package: Literal["tensorrt", "tensorrt_rtx"]
    paths: dict[str, str]
    options: TimingOptions
    schedule: _Schedule
    turns: dict[str, list[_Turn]] = field(default_factory=dict)
    clocks: dict[str, Clocks] = field(default_factory=dict)
    results: dict[str, Measured] = field(default_factory=dict)

    def measure(self, placement: int) -> None:
        """Load all engines, let them take turns and forget them; the last time, profile them too."""
        contexts = self._load(placement)
        order = list(contexts)
        for _ in range(self.schedule.rounds):
            for name in order:
                self.turns.setdefault(name, []).append(_take_turn(contexts[name], self.schedule.each, placement))
                self.clocks.setdefault(name, Clocks(cuda())).read()
            order = order[1:] + order[:1]
        if placement == self.schedule.placements - 1:
            for name, context in contexts.items():
                beside = {"beside": [other for other in contexts if other != name]}
                conditions = _conditions(self.package, context, self.options) | beside | {"clock": str(self.schedule)}
                conditions |= self.clocks[name].conditions()
                self.results[name] = _measured(self.turns[name], context, conditions)
        for context in contexts.values():
            context.close()

    def _load(self, placement: int) -> dict[str, Context]:
        """Load what did not fail before, each time in another order."""
        names = [name for name in self.paths if name not in self.results]
        start = placement % max(len(names), 1)
        warm_up_s = self.options.warm_up_s / (self.schedule.placements if placement else 1)
        contexts: dict[str, Context] = {}
        for name in names[start:] + names[:start]:
            try:
                contexts[name] = _ready(self.package, self.paths[name], self.options, warm_up_s)
            except BackendError as error:  # noqa: PERF203 - one engine that fails must not stop the others
                self.results[name] = Measured(error=str(error))
        return contexts


def median_error_ms(timing: Timing) -> float | None:
    """Return the standard error of a median, in milliseconds: of the mean of the medians that each loading gave.

    None where the engine was loaded once. Two engines whose medians are closer than this cannot be told apart.
    """
    medians = timing.conditions.get("placement_medians_ms", ())
    return float(np.std(medians, ddof=1) / np.sqrt(len(medians))) if len(medians) > 1 else None


@dataclass(frozen=True)
class _Turn:
    """Some runs of one engine, measured one by one, and the seconds of as many back to back."""

    placement: int
    latencies_ms: tuple[float, ...]
    span_s: float


def _measured(turns: list[_Turn], context: Context, conditions: dict[str, Any]) -> Measured:
    latencies = [ms for turn in turns for ms in turn.latencies_ms]
    placed: dict[int, list[float]] = {}
    for turn in turns:
        placed.setdefault(turn.placement, []).extend(turn.latencies_ms)
    medians = [float(np.median(each)) for each in placed.values()]
    timing = Timing.of(
        np.array(latencies),
        span_s=sum(turn.span_s for turn in turns),
        warm_up_runs=len(turns),
        conditions=conditions | {"placement_medians_ms": medians},
    )
    # The profiler slows a context down for good, so it comes last.
    context.graph = None
    return Measured(timing, tuple(latencies), layer_times(context, PROFILED_RUNS), context.inspect())


def _ready(
    package: Literal["tensorrt", "tensorrt_rtx"], path: str, options: TimingOptions, warm_up_s: float
) -> Context:
    context = Context(EngineFile(package, path), options.shapes or {}, options.profile_index)
    context.fill()
    warm_up([context], warm_up_s)
    if options.cuda_graph:
        context.capture()
    return context


def _take_turn(context: Context, runs: int, placement: int) -> _Turn:
    """Measure some runs behind one that is not measured."""
    start, end = Event(context.engine.api), Event(context.engine.api)
    context.enqueue()
    context.stream.synchronize()
    latencies = []
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
    return _Turn(placement, tuple(latencies), time.perf_counter() - before)


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
